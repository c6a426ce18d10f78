"""Comparison of what a reader gives with slices of the fully loaded image."""

from contextlib import ExitStack, contextmanager

import numpy as np
import tifffile

from quadrat.grid import PatchGrid, Window
from quadrat.images.open import open_image
from quadrat.images.reading import configured_reader, reader_with_validity


class open_reader(ExitStack):  # noqa: N801
    """A reader of an image, which is closed with it."""

    def __init__(self, path, channels=None, level=0, plane=None, memory_mb=None):
        super().__init__()
        with ExitStack() as held:
            image = held.enter_context(open_image(path, plane, memory_mb))
            self.reader = image.reader(level, channels)
            self.enter_context(held.pop_all())
        self.info, self.read_blocks = self.reader.info, self.reader.read_blocks

    @property
    def segments_decoded(self):
        return self.reader.segments_decoded


@contextmanager
def open_with_validity(path, reading, memory_mb=None):
    """Open what the configuration reads of an image, with its alpha or mask."""
    with open_image(path, reading.plane, memory_mb) as image:
        yield reader_with_validity(image, reading)


@contextmanager
def open_configured(path, reading, memory_mb=None):
    """Open what the configuration reads of an image."""
    with open_image(path, reading.plane, memory_mb) as image:
        yield configured_reader(image, reading)


def load_tiff(path, level=0):
    """Return a level as tifffile loads it, as (height, width, channel) array."""
    with tifffile.TiffFile(path, is_ndpi="ndpi" in path.name) as tif:
        page = tif.series[0].levels[level].pages[0].aspage()
        array, colormap = page.asarray(squeeze=False), page.colormap
    separate, _, height, width, samples = array.shape
    array = array[:, 0].transpose(1, 2, 0, 3).reshape(height, width, separate * samples)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        colors = colormap if "16_bit" in path.name else (colormap >> 8).astype(np.uint8)
        array = colors.T[array[..., 0]]
    return array


def row_blocks(info, patch_size, stride, edge):
    """Return a block for each grid row, as wide as its patches need."""
    grid = PatchGrid(info.height, info.width, patch_size, stride, edge)
    if not grid.xs:
        return []
    width = grid.xs[-1] + grid.extent(grid.xs[-1], info.width)
    return [Window(y, 0, grid.extent(y, info.height), width) for y in grid.ys]


def slice_of(image, window, fill):
    """Return the pixels of a window of a loaded image, `fill` outside."""
    block = np.full((window.height, window.width, image.shape[2]), fill, image.dtype)
    inside = image[window.y : window.y + window.height, window.x : window.x + window.width]
    block[: inside.shape[0], : inside.shape[1]] = inside
    return block


def assert_reads(reader, image, windows, threads=2):
    """Assert that the blocks of a reader are slices of the fully loaded image."""
    blocks = reader.read_blocks(windows, threads)
    for window, block in zip(windows, blocks, strict=True):
        expected = slice_of(image, window, reader.info.fill)
        assert block.dtype == expected.dtype
        np.testing.assert_array_equal(block, expected, err_msg=str(window))
