from dataclasses import replace

import numpy as np
import pytest

from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo
from quadrat.jobs.rows import GridRows
from quadrat.patches.skips import Skips

# Of a reader that is not asked for pixels.
INFO = ImageInfo("TIFF", 45, 75, 1, np.dtype(np.uint8), 1, 75, level=1, level_count=2)


class Rows:
    """A writer that keeps what it is given."""

    def __init__(self):
        self.rows = []

    def append(self, positions, predictions, reasons):
        following = iter(predictions)
        self.rows += [
            (*place, None if reason else next(following), reason)
            for place, reason in zip(positions, reasons, strict=True)
        ]

    def skip(self, positions, reasons):
        self.rows += [(*place, None, reason) for place, reason in zip(positions, reasons, strict=True)]


@pytest.mark.parametrize(
    ("edge", "bottom", "right"), [("drop", 80, 60), ("partial", 89, 149), ("pad", 100, 160)]
)
def test_patches_end_with_the_image_where_the_size_of_the_level_was_rounded_up(edge, bottom, right):
    info = replace(INFO, downsample=(2.0, 2.0), full_size=(89, 149))
    rows, grid = Rows(), PatchGrid(45, 75, 10, 10, edge)
    GridRows(rows, grid, info, Skips(grid)).add([(grid.rows - 1, grid.cols - 1, None)], np.zeros(len(grid)))
    windows = [window for _, _, window, *_ in rows.rows]
    assert max(window.y + window.height for window in windows) == bottom
    assert max(window.x + window.width for window in windows) == (140 if edge == "drop" else right)
    assert {window.height for window in windows[: grid.cols]} == {20}


def test_axes_of_a_level_have_scales_of_their_own():
    info = replace(INFO, downsample=(2.5, 3.0), full_size=(112, 225))
    rows, grid = Rows(), PatchGrid(45, 75, 10, 10)
    GridRows(rows, grid, info, Skips(grid)).add([(1, 2, None)], np.zeros(len(grid)))
    assert rows.rows[-1][2] == (25, 60, 25, 30)


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("edge", ["drop", "partial"])
def test_rows_are_the_grid_in_order_with_predictions_and_reasons_in_place(batch, share, edge):
    grid = PatchGrid(45, 75, 10, 10, edge)
    skips = Skips(grid)
    skips.add("outside", np.random.default_rng(0).random((grid.rows, grid.cols)) < share)
    cells = [(index // grid.cols, index % grid.cols, window) for index, window in enumerate(grid.windows())]
    wanted = [cell for cell, is_wanted in zip(cells, skips.wanted.flat, strict=True) if is_wanted]
    info = replace(INFO, downsample=(2.0, 2.0), full_size=(90, 150))
    writer = Rows()
    rows = GridRows(writer, grid, info, skips)
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
