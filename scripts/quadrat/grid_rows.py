"""Grid rows: the rows of a result, in the order of the grid, skipped patches among the predicted ones."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from quadrat.grid import PatchGrid, Window
from quadrat.skipping import Skips
from quadrat.store import PredictionWriter


class GridRows:
    """Gives a writer a row for each patch of a grid, or of a shard of it.

    Parameters
    ----------
    writer : PredictionWriter
    grid : PatchGrid
    downsample : float
        Level-0 pixels per pixel of the grid.
    skips : Skips
        Known, when rows are added, for all patches up to the last of them.
    """

    def __init__(self, writer: PredictionWriter, grid: PatchGrid, downsample: float, skips: Skips):
        self._writer, self._grid, self._downsample, self._skips = writer, grid, downsample, skips
        self._ys, self._xs = grid.ys, grid.xs
        self._next = skips.rows.start * len(self._xs)

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
        for is_skipped, cells, reasons in self._runs(row * len(self._xs) + col + 1):
            if is_skipped:
                self._writer.skip(cells, reasons)
            else:
                self._writer.append(cells, predictions[done : done + len(cells)])
                done += len(cells)

    def finish(self) -> None:
        """Write the skipped patches after the last prediction."""
        for _, cells, reasons in self._runs(self._skips.rows.stop * len(self._xs)):
            self._writer.skip(cells, reasons)

    def _runs(self, stop: int) -> Iterator[tuple[bool, list[tuple[int, int, Window]], list[str | None]]]:
        """Yield neighbouring cells, up to one, that are all skipped or all not, and why."""
        cells = range(self._next, stop)
        self._next = stop
        told = zip(cells, self._skips.reasons(cells), strict=True)
        for is_skipped, group in groupby(told, key=lambda cell: cell[1] is not None):
            indices, reasons = zip(*group, strict=True)
            yield is_skipped, [self._cell(index) for index in indices], list(reasons)

    def _cell(self, index: int) -> tuple[int, int, Window]:
        """Give row, column and window in level-0 pixels of a patch."""
        row, col = divmod(index, len(self._xs))
        y, x = self._ys[row], self._xs[col]
        sizes = y, x, self._grid.extent(y, self._grid.height), self._grid.extent(x, self._grid.width)
        return row, col, Window(*(round(size * self._downsample) for size in sizes))
