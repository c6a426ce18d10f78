"""The task of one job, as a value that costs nothing to import."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quadrat.settings import ReadSettings

if TYPE_CHECKING:
    from quadrat.results.writer import PredictionWriter


@dataclass(frozen=True)
class ImageTask:
    """Everything that the job of one image, or of a shard of it, needs.

    Attributes
    ----------
    filename, path, version, content_id : str
        The image, as planned.
    reading : ReadSettings
        Which of its pixels are read, and how they are cut into patches.
    predictor : dict
        Configuration of the predictor.
    output : str
        Parquet to write.
    predictor_files, image_files : dict of str to list of int
        Path, and size and mtime (ns), of the files of the predictor or the image, as they were when its
        version was found. The files of an image without shards need not be known: one job reads it, and
        notices a change.
    regions : dict or None
        Where patches are predicted: the `path` of a file of polygons, its content `hash`, empty if it is
        missing, and whether they are `in_pixels` of level 0 or in a CRS. None for everywhere.
    rows : list of int or None
        First and last grid row of a shard; None for the whole image.
    shards : list of str
        Paths of the shards that are to be joined, from the top of the image; empty unless it has some.
    thumbnail : dict or None
        The `path` to save a thumbnail at, the `channels` that it shows, or None for the first, and the paths
        that `shards` saved their parts at. None if no map is wanted.
    results : str or None
        The results folder; None for an output that is in none.
    threads : int
        Threads of the job.
    memory_mb : int or None
        Memory of the job in MB; None if it has no bound.
    """

    filename: str
    path: str
    version: str
    content_id: str
    reading: ReadSettings
    predictor: dict[str, Any]
    output: str
    predictor_files: dict[str, list[int]] = field(default_factory=dict)
    regions: dict[str, Any] | None = None
    image_files: dict[str, list[int]] = field(default_factory=dict)
    rows: list[int] | None = None
    shards: list[str] = field(default_factory=list)
    thumbnail: dict[str, Any] | None = None
    results: str | None = None
    threads: int = 1
    memory_mb: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return the part of the footer that every outcome of the job has."""
        known = {"filename": self.filename, "version": self.version, "content_id": self.content_id}
        return known if self.rows is None else known | {"grid_rows": self.rows}

    @property
    def grid_rows(self) -> range | None:
        """The grid rows of a shard; None for the whole image."""
        return None if self.rows is None else range(self.rows[0], self.rows[1] + 1)

    @property
    def rule(self) -> str:
        """The rule whose job it is."""
        return "predict_image" if self.rows is None else "predict_shard"

    def writer(self) -> "PredictionWriter":
        """Return the writer of the output."""
        from quadrat.results.writer import PredictionWriter

        return PredictionWriter(self.output, self.results)
