"""The task of one job, as a value that costs nothing to import."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ImageTask:
    """All that the job of one image needs to know.

    Attributes
    ----------
    filename, path, version, content_id : str
        The image, as planned.
    patch_size, stride : int
        In pixels of the level that is read.
    edge : str
        What becomes of patches that do not fit.
    channels : list of int or None
        Channels to read, counted from 1.
    level : int
        Pyramid level to read.
    plane : dict of str to int, or None
        Which plane of a stack to read, counted from 1.
    predictor : dict
        Configuration of the predictor.
    predictor_files : dict of str to list of int
        Path and mark of each file that the predictor is made from, as they were when its version was found.
    output : str
        Parquet to write.
    threads : int
        Threads of the job.
    memory_mb : int or None
        Memory of the job in MB; None where it has no bound.
    """

    filename: str
    path: str
    version: str
    content_id: str
    patch_size: int
    stride: int
    edge: str
    channels: list[int] | None
    level: int
    plane: dict[str, int] | None
    predictor: dict[str, Any]
    predictor_files: dict[str, list[int]]
    output: str
    threads: int
    memory_mb: int | None = None

    def identity(self) -> dict[str, Any]:
        """Give what the footer holds whatever becomes of the image."""
        return {"filename": self.filename, "version": self.version, "content_id": self.content_id}
