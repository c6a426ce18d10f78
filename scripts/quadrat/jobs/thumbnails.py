"""The thumbnail that a job saves for the map of its image, made of the pixels that it reads anyway."""

import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from quadrat.errors import ImageError, ResultsError
from quadrat.files.atomic import discard, replace_file
from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.open import Image
from quadrat.images.thumbnail import ThumbnailMaker, WatchedReader, join_thumbnails
from quadrat.jobs.task import ImageTask


class JobThumbnail:
    """The thumbnail of the image of a task, or of a shard of it.

    If it cannot be made of what the job reads, an empty file is saved in its place. It marks that the image
    is to be drawn, and the job that draws it reads the image.

    Parameters
    ----------
    task : ImageTask
    image : Image
    """

    def __init__(self, task: ImageTask, image: Image):
        self._task, self._wanted = task, task.thumbnail
        self._maker: ThumbnailMaker | None = None
        if self._wanted:
            with suppress(ImageError):  # no level of it can be shown
                self._maker = ThumbnailMaker(image, self._wanted["channels"])

    def watch(self, reader: Reader, channels: Sequence[int] | None) -> Reader:
        """Return a reader for the prediction; see `ThumbnailMaker.watch`."""
        return self._maker.watch(reader, channels) if self._maker else reader

    def expect(self, grid: PatchGrid, info: ImageInfo, wanted: np.ndarray) -> None:
        """Choose the pixels that are added: from the first grid row of the task to the first of the next.

        Parameters
        ----------
        grid : PatchGrid
        info : ImageInfo
            Of the image, as the grid was laid over it.
        wanted : (rows, cols) bool array
            Patches that are read. Unless all are, nothing else is read for the thumbnail.
        """
        watched = self._maker and self._maker.watched
        if not len(grid):
            self._wanted = None  # nothing is drawn of it
        elif watched:
            self._choose(watched, grid, info, wanted)

    def _choose(self, watched: WatchedReader, grid: PatchGrid, info: ImageInfo, wanted: np.ndarray) -> None:
        part = self._task.grid_rows or range(grid.rows)
        down = info.downsample[0] / watched.info.downsample[0]
        tops = [*(int(y * down) for y in grid.ys), watched.info.height]
        watched.rows = range(tops[part.start], tops[part.stop])
        watched.completes = bool(wanted[part.start : part.stop].all())

    def save(self) -> None:
        """Save it, if the image is to be drawn.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        if self._wanted is None:
            return
        path, results = self._wanted["path"], self._task.results
        if self._maker is None or self._maker.watched is None:
            replace_file(path, b"", results)
        elif self._task.rows:
            self._maker.means.save(path, results)
        else:
            self._maker.means.thumbnail().save(path, results)


def join_thumbnail(task: ImageTask) -> None:
    """Save the thumbnail of an image whose shards have each saved their part.

    Parameters
    ----------
    task : ImageTask
    """
    if task.thumbnail is None:
        return
    path, parts = task.thumbnail["path"], task.thumbnail["shards"]
    try:
        join_thumbnails(parts).save(path, task.results)
    except ResultsError:  # a shard of an earlier run, which had none to save
        replace_file(path, b"", task.results)
    for part in parts:
        discard(part, task.results or os.path.dirname(part))
