"""Grid rows: the rows of a result, in the order of the grid, skipped patches among the predicted ones."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from quadrat.grid import PatchGrid, Window
from quadrat.images.image import ImageInfo
from quadrat.patches.skips import Skips
from quadrat.results.writer import RowWriter


class GridRows:
    """Gives a writer a row for each patch of a grid, or of a shard of it.

    Parameters
    ----------
    writer : RowWriter
    grid : PatchGrid
    info : ImageInfo
        Of the image, as the grid was laid over it.
    skips : Skips
        Known, when rows are added, for all patches up to the last of them.
    """

    def __init__(self, writer: RowWriter, grid: PatchGrid, info: ImageInfo, skips: Skips):
        self._writer, self._skips = writer, skips
        height, width = info.full_size
        self._down = _spans(grid, grid.ys, grid.height, info.downsample[0], height)
        self._across = _spans(grid, grid.xs, grid.width, info.downsample[1], width)
        self._next = skips.rows.start * len(self._across)

    def add(self, positions: list[tuple[int, int, Window]], predictions: np.ndarray) -> None:
        """Write predictions, and the skipped patches before and between them.

        Parameters
        ----------
        positions : list of (row, col, Window)
            Of the patches that are predicted, in row-major order.
        predictions : (n, ...) array
        """
        row, col, _ = positions[-1]
        done = 0
        for is_skipped, cells, reasons in self._runs(row * len(self._across) + col + 1):
            if is_skipped:
                self._writer.skip(cells, reasons)
            else:
                self._writer.append(cells, predictions[done : done + len(cells)])
                done += len(cells)

    def finish(self) -> None:
        """Write the skipped patches after the last prediction."""
        for _, cells, reasons in self._runs(self._skips.rows.stop * len(self._across)):
            self._writer.skip(cells, reasons)

    def _runs(self, stop: int) -> Iterator[tuple[bool, list[tuple[int, int, Window]], list[str]]]:
        """Yield neighbouring cells, up to one, that are all skipped or all not, and why."""
        cells = range(self._next, stop)
        self._next = stop
        with_reasons = zip(cells, self._skips.reasons(cells), strict=True)
        for is_skipped, group in groupby(with_reasons, key=lambda cell: cell[1] is not None):
            indices, reasons = zip(*group, strict=True)
            yield is_skipped, [self._cell(index) for index in indices], list(filter(None, reasons))

    def _cell(self, index: int) -> tuple[int, int, Window]:
        """Return row, column and window in level-0 pixels of a patch."""
        row, col = divmod(index, len(self._across))
        (y, height), (x, width) = self._down[row], self._across[col]
        return row, col, Window(y, x, height, width)


def _spans(
    grid: PatchGrid, origins: list[int], length: int, scale: float, full_length: int
) -> list[tuple[int, int]]:
    """Return where each patch begins along an axis, and its size, in level-0 pixels.

    A level whose size was rounded up covers more than the image; a padded patch alone may reach past it.
    """
    spans = []
    for origin in origins:
        extent, start = grid.extent(origin, length), round(origin * scale)
        size = round(extent * scale)
        spans.append((start, min(size, full_length - start) if origin + extent <= length else size))
    return spans
