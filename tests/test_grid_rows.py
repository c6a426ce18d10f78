import numpy as np
import pytest

from quadrat.grid import PatchGrid
from quadrat.grid_rows import GridRows
from quadrat.skipping import Skips


class Rows:
    """A writer that keeps what it is given."""

    def __init__(self):
        self.rows = []

    def append(self, positions, predictions):
        self.rows += [(*place, value, None) for place, value in zip(positions, predictions, strict=True)]

    def skip(self, positions, reasons):
        self.rows += [(*place, None, reason) for place, reason in zip(positions, reasons, strict=True)]


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("edge", ["drop", "partial"])
def test_rows_are_the_grid_in_order_with_predictions_and_reasons_in_place(batch, share, edge):
    grid = PatchGrid(45, 75, 10, 10, edge)
    skips = Skips(grid)
    skips.add("outside", np.random.default_rng(0).random((grid.rows, grid.cols)) < share)
    cells = [(index // grid.cols, index % grid.cols, window) for index, window in enumerate(grid.windows())]
    wanted = [cell for cell, is_wanted in zip(cells, skips.wanted.flat, strict=True) if is_wanted]
    writer = Rows()
    rows = GridRows(writer, grid, 2.0, skips)
    for start in range(0, len(wanted), batch):
        part = wanted[start : start + batch]
        rows.add(part, np.array([100 * row + col for row, col, _ in part]))
    rows.finish()
    assert writer.rows == [
        (
            row,
            col,
            tuple(2 * size for size in window),
            *((100 * row + col, None) if kept else (None, "outside")),
        )
        for (row, col, window), kept in zip(cells, skips.wanted.flat, strict=True)
    ]
