import pytest

from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid, Spans


def test_a_span_touches_the_blocks_that_hold_its_pixels():
    spans = Spans((0, 300, 600), (512, 812, 1112))
    assert spans.touching(0, 1) == range(1)
    assert spans.touching(300, 301) == range(2)
    assert spans.touching(511, 513) == range(2)
    assert spans.touching(600, 812) == range(1, 3)
    assert not spans.touching(1112, 1200)


def test_a_span_between_blocks_touches_none():
    assert not Spans((0, 700), (512, 1212)).touching(512, 700)


def test_windows_in_row_major_order_are_a_grid():
    windows = [Window(y, x, 10, width) for y in (0, 20) for x, width in ((0, 5), (7, 3))]
    grid = BlockGrid.from_windows(windows)
    assert len(grid) == 4
    assert grid.rows == Spans((0, 20), (10, 30))
    assert grid.cols == Spans((0, 7), (5, 10))


def test_no_windows_are_an_empty_grid():
    assert len(BlockGrid.from_windows([])) == 0


@pytest.mark.parametrize(
    "windows",
    [
        [Window(20, 0, 10, 5), Window(0, 0, 10, 5)],
        [Window(0, 0, 10, 5), Window(0, 5, 10, 5), Window(10, 0, 10, 5)],
        [Window(0, 0, 30, 5), Window(10, 0, 10, 5)],
    ],
)
def test_windows_that_are_no_grid_are_refused(windows):
    with pytest.raises(ValueError, match="blocks"):
        BlockGrid.from_windows(windows)
