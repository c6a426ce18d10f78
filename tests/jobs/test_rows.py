from dataclasses import replace

import numpy as np
import pytest

from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo
from quadrat.jobs.rows import to_level_0

# Of a reader that is not asked for pixels.
INFO = ImageInfo("TIFF", 45, 75, 1, np.dtype(np.uint8), 1, 75, level=1, level_count=2)


def windows_of_level_0(grid, info):
    positions = [(row, col, None) for row in range(grid.rows) for col in range(grid.cols)]
    found = to_level_0(grid, info)(positions)
    assert [position[:2] for position in found] == [position[:2] for position in positions]
    return [window for _, _, window in found]


@pytest.mark.parametrize(
    ("edge", "bottom", "right"), [("drop", 80, 60), ("partial", 89, 149), ("pad", 100, 160)]
)
def test_patches_end_with_the_image_where_the_size_of_the_level_was_rounded_up(edge, bottom, right):
    info = replace(INFO, downsample=(2.0, 2.0), full_size=(89, 149))
    grid = PatchGrid(45, 75, 10, 10, edge)
    windows = windows_of_level_0(grid, info)
    assert max(window.y + window.height for window in windows) == bottom
    assert max(window.x + window.width for window in windows) == (140 if edge == "drop" else right)
    assert {window.height for window in windows[: grid.cols]} == {20}


def test_axes_of_a_level_have_scales_of_their_own():
    info = replace(INFO, downsample=(2.5, 3.0), full_size=(112, 225))
    grid = PatchGrid(45, 75, 10, 10)
    assert windows_of_level_0(grid, info)[grid.cols + 2] == (25, 60, 25, 30)
