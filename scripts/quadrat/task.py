"""The task of one job, as a value that costs nothing to import."""

from dataclasses import dataclass, field
from typing import Any

from quadrat.reading import Reading


@dataclass(frozen=True)
class ImageTask:
    """All that the job of one image needs to know.

    Attributes
    ----------
    filename, path, version, content_id : str
        The image, as planned.
    reading : Reading
        Which of its pixels are read, and how they are cut into patches.
    predictor : dict
        Configuration of the predictor.
    output : str
        Parquet to write.
    predictor_files : dict of str to list of int
        Path and mark of each file that the predictor is made from, as they were when its version was found.
    regions : dict or None
        Where patches are predicted: the `path` of a file of polygons, its content `hash`, empty where it is
        missing, and whether they are `in_pixels` of level 0 or in a CRS. None for everywhere.
    threads : int
        Threads of the job.
    memory_mb : int or None
        Memory of the job in MB; None where it has no bound.
    """

    filename: str
    path: str
    version: str
    content_id: str
    reading: Reading
    predictor: dict[str, Any]
    output: str
    predictor_files: dict[str, list[int]] = field(default_factory=dict)
    regions: dict[str, Any] | None = None
    threads: int = 1
    memory_mb: int | None = None

    def identity(self) -> dict[str, Any]:
        """Give what the footer holds whatever becomes of the image."""
        return {"filename": self.filename, "version": self.version, "content_id": self.content_id}
