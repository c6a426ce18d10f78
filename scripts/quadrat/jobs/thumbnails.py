"""The thumbnail that a job saves for the map of its image, made of the pixels that it reads anyway."""

import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from quadrat.errors import ImageError, ResultsError
from quadrat.files.atomic import replace_file
from quadrat.files.inside import remove
from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.open import Image
from quadrat.images.thumbnail import ThumbnailMaker, join_thumbnails
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
        self._task, self._maker = task, None
        if task.thumbnail is not None:
            try:
                self._maker = ThumbnailMaker(image, task.thumbnail["channels"])
            except ImageError:
                return  # no level of it can be shown

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
        if not watched or not grid.ys:
            return
        part = self._task.grid_rows or range(grid.rows)
        down = info.downsample[0] / watched.info.downsample[0]
        tops = [*(int(y * down) for y in grid.ys), watched.info.height]
        watched.rows = range(tops[part.start], tops[part.stop])
        watched.completes = bool(wanted[part.start : part.stop].all())

    def save(self) -> None:
        """Save it, if the task has a place for it.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        task = self._task
        if task.thumbnail is None:
            return
        path = task.thumbnail["path"]
        if not self._maker or not self._maker.watched:
            replace_file(path, b"", task.results)
        elif task.rows:
            self._maker.means.save(path, task.results)
        else:
            self._maker.means.thumbnail().save(path, task.results)


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
        with suppress(FileNotFoundError):
            remove(part, task.results or os.path.dirname(part))
