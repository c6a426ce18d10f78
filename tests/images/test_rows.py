import numpy as np
import pytest

from comparison import assert_reads
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.image import ImageInfo
from quadrat.images.rows import StripePipeline

IMAGE = np.arange(100 * 70 * 2, dtype=np.uint16).reshape(100, 70, 2)


class Downwards:
    """A source that notes which rows were read, and has an image as a reader would."""

    def __init__(self, planar=False):
        self.info = ImageInfo("test", 100, 70, 2, np.dtype(np.uint16), 1, 70, nodata=(9, 9))
        self.rows, self._planar = [], planar

    def read_rows(self, top, bottom, left, right, out):
        self.rows += range(top, bottom)
        out[...] = IMAGE[top:bottom, left:right]

    def read_blocks(self, windows, threads):
        return StripePipeline(self, BlockGrid.from_windows(windows), self.info, self._planar).blocks()


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("height", "stride"), [(32, 32), (32, 10), (32, 45), (120, 120)])
def test_blocks_are_slices_and_each_row_is_read_once_downwards(planar, height, stride):
    source = Downwards(planar)
    windows = [Window(y, x, height, 40) for y in range(0, 100, stride) for x in (5, 45)]
    assert_reads(source, IMAGE, windows)
    assert source.rows == sorted(set(source.rows))


def test_an_error_while_reading_ahead_reaches_the_consumer():
    source = Downwards()
    source.read_rows = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(source.read_blocks([Window(0, 0, 10, 10)], 1))


def test_no_blocks_read_nothing():
    source = Downwards()
    assert list(source.read_blocks([], 1)) == []
    assert source.rows == []
