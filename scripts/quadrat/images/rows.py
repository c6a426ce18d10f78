"""Stripes: the blocks of a source that yields its rows once, from top to bottom."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Protocol

import numpy as np

from quadrat.images.blocks import BlockGrid, Spans
from quadrat.images.image import ImageInfo


class RowSource(Protocol):
    """Pixels that can be read only downwards."""

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`; `top` never lies above an earlier `bottom`."""
        ...


def fresh_rows(blocks: Spans, height: int) -> list[range]:
    """Return the rows of pixels that are read for each row of blocks, without the rows of earlier ones.

    Parameters
    ----------
    blocks : Spans
        Rows of blocks.
    height : int
        Of the image in pixels.
    """
    fresh, read_to = [], 0
    for top, bottom in zip(blocks.starts, blocks.stops, strict=True):
        bottom = min(bottom, height)
        fresh.append(range(max(top, min(read_to, bottom)), bottom))
        read_to = max(read_to, bottom)
    return fresh


class StripePipeline:
    """Reads one row of blocks ahead of its consumer, on a thread, and each row of pixels once.

    Parameters
    ----------
    source : RowSource
    grid : BlockGrid
        Wanted blocks.
    info : ImageInfo
        Of the image.
    planar : bool
        Whether the source fills (channel, height, width) arrays instead of (height, width, channel).
    """

    def __init__(self, source: RowSource, grid: BlockGrid, info: ImageInfo, planar: bool = False):
        self._source, self._grid, self._info, self._planar = source, grid, info, planar
        self._previous = np.empty(0)
        self._buffers: list[np.ndarray] = []
        self._fresh = fresh_rows(grid.rows, info.height)

    def memory_bytes(self) -> int:
        """Return the size of the buffers: one stripe is read while another is consumed."""
        row_bytes = self._row_pixels * self._info.channels * self._info.dtype.itemsize
        return min(2, len(self._grid.rows)) * self._grid.rows.largest * row_bytes

    @property
    def _row_pixels(self) -> int:
        cols = self._grid.cols
        return cols.stops[-1] - cols.starts[0] if len(cols) else 0

    def blocks(self) -> Generator[np.ndarray, None, None]:
        """Yield each block in row-major order."""
        grid = self._grid
        if not len(grid):
            return
        with ThreadPoolExecutor(1, thread_name_prefix="quadrat-stripes") as pool:
            ahead = pool.submit(self._stripe, 0)
            for row in range(len(grid.rows)):
                stripe = ahead.result()
                if row + 1 < len(grid.rows):
                    ahead = pool.submit(self._stripe, row + 1)
                for start, stop in zip(grid.cols.starts, grid.cols.stops, strict=True):
                    yield stripe[:, start - grid.cols.starts[0] : stop - grid.cols.starts[0]]

    def _buffer(self, row: int) -> np.ndarray:
        """Return the stripe's array as (height, width, channel), whatever its layout in memory."""
        if len(self._buffers) < 2:
            size = self._grid.rows.largest * self._row_pixels * self._info.channels
            self._buffers.append(np.empty(size, self._info.dtype))
        height, width, channels = self._grid.rows.size(row), self._row_pixels, self._info.channels
        flat = self._buffers[row % 2][: height * width * channels]
        if self._planar:
            return flat.reshape(channels, height, width).transpose(1, 2, 0)
        return flat.reshape(height, width, channels)

    def _stripe(self, row: int) -> np.ndarray:
        rows, cols, info = self._grid.rows, self._grid.cols, self._info
        stripe, top, left = self._buffer(row), rows.starts[row], cols.starts[0]
        bottom, right = min(rows.stops[row], info.height), min(cols.stops[-1], info.width)
        fresh = self._fresh[row].start
        if fresh > top:
            above = rows.starts[row - 1]
            stripe[: fresh - top] = self._previous[top - above : fresh - above]
        if fresh < bottom:
            self._source.read_rows(
                fresh, bottom, left, right, stripe[fresh - top : bottom - top, : right - left]
            )
        stripe[bottom - top :] = info.fill
        stripe[:, right - left :] = info.fill
        self._previous = stripe
        return stripe


def blocks_made_of(
    arrays: Generator[np.ndarray, None, None], pipeline: StripePipeline
) -> Generator[np.ndarray, None, None]:
    """Yield the blocks of a pipeline whose source takes arrays of another reader, which ends with them."""
    with closing(arrays):
        yield from pipeline.blocks()
        for _ in arrays:  # the reader may end with pixels that no block needs
            pass
