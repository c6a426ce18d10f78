"""Grid rows: the rows of a result, in the order of the grid, skipped patches among the predicted ones."""

import numpy as np

from quadrat.grid import PatchGrid, Window
from quadrat.images.image import ImageInfo
from quadrat.patches.skips import Skips
from quadrat.results.writer import PredictionWriter


class GridRows:
    """Writes one row for each patch of a grid, or of a shard of it.

    Parameters
    ----------
    writer : PredictionWriter
    grid : PatchGrid
    info : ImageInfo
        Of the image, as the grid was laid over it.
    skips : Skips
        Known, when rows are added, for all patches up to the last of them.
    """

    def __init__(self, writer: PredictionWriter, grid: PatchGrid, info: ImageInfo, skips: Skips):
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
        cells, reasons = self._until(row * len(self._across) + col + 1)
        self._writer.append(cells, predictions, reasons)

    def finish(self) -> None:
        """Write the skipped patches after the last prediction."""
        self._writer.skip(*self._until(self._skips.rows.stop * len(self._across)))

    def _until(self, stop: int) -> tuple[list[tuple[int, int, Window]], list[str | None]]:
        """Return the next cells up to one, and why each of them is skipped."""
        cells = range(self._next, stop)
        self._next = stop
        return [self._cell(index) for index in cells], self._skips.reasons(cells)

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
