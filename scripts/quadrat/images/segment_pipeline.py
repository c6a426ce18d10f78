"""Segment pipeline: decodes every segment that a block needs, once, on threads, ahead of the consumer."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np

from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.budget import MB, require_memory
from quadrat.images.image import ImageInfo
from quadrat.images.segment_plan import SegmentPlan, Segments, Task


class SegmentTable(Segments, Protocol):
    """Segments of an image that can be read.

    Attributes
    ----------
    planar : bool
        Whether each plane holds a single channel.
    decode_bytes : int
        Memory that reading the segments of a task takes, their decoded pixels included.
    held_bytes : int
        Memory that the table itself takes in the end, whatever the number of threads.
    fill : int or float
        Value of the pixels of a segment that the file leaves out.
    """

    planar: bool
    decode_bytes: int
    held_bytes: int
    fill: int | float

    def read(self, plane: int, rows: range, cols: range) -> Iterator[tuple[range, int, np.ndarray | None]]:
        """Yield (rows, col, pixels) of segments that lie one below the other.

        Pixels are (height, width, channel), None if the file has none. They are valid until the next step of
        the iterator.
        """
        ...


class _OpenBlock(NamedTuple):
    """A block that is being filled, and where it lies in the image."""

    top: int
    bottom: int
    left: int
    right: int
    pixels: np.ndarray


class SegmentPipeline:
    """Fills a ring of block buffers from the segments of a table.

    Parameters
    ----------
    table : SegmentTable
    grid : BlockGrid
        Wanted blocks.
    info : ImageInfo
        Of the image.
    threads : int
        Threads that decode, at most.
    memory_mb : float or None
        Memory that buffers and decoding may take; threads and look-ahead are given up to fit it.
    wanted : iterable of Window, optional
        Parts of the blocks that are wanted; all by default.

    Attributes
    ----------
    segments_decoded : int
        Segments read so far.

    Raises
    ------
    MemoryBudgetError
        If one thread without look-ahead needs more memory.
    """

    def __init__(
        self,
        table: SegmentTable,
        grid: BlockGrid,
        info: ImageInfo,
        threads: int,
        memory_mb: float | None,
        wanted: Iterable[Window] | None = None,
    ):
        self._table, self._grid, self._info = table, grid, info
        self._plan = SegmentPlan(table, grid, wanted)
        self._block_size = grid.rows.largest * grid.cols.largest * info.channels
        self._buffers: list[np.ndarray] = []
        self._count_lock = Lock()
        self.segments_decoded = 0
        self._threads, self._ring = self._fit(threads, memory_mb)

    def _fit(self, threads: int, memory_mb: float | None) -> tuple[int, int]:
        """Return the number of threads and of buffers that the memory allows."""
        block_bytes = self._block_size * self._info.dtype.itemsize
        choices = [(use, self._plan.blocks_in_flight(use) + 1) for use in range(threads, 0, -1)]
        choices.append((1, choices[-1][1] - 1))  # without look-ahead
        choices = [(use, min(ring, len(self._grid))) for use, ring in choices]
        held, decoding = self._table.held_bytes, self._table.decode_bytes
        needed = [held + ring * block_bytes + use * decoding for use, ring in choices]
        require_memory(needed[-1], memory_mb, "decoding the image block by block")
        if memory_mb is None:
            return choices[0]
        return next(choice for choice, size in zip(choices, needed, strict=True) if size <= memory_mb * MB)

    def blocks(self) -> Generator[np.ndarray, None, None]:
        """Yield each block in row-major order while the next ones are decoded."""
        waiting: dict[int, list[Future]] = defaultdict(list)
        self._buffers = [np.empty(self._block_size, self._info.dtype) for _ in range(self._ring)]
        tasks = self._plan.tasks()
        task = next(tasks, None)
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="quadrat-decode")
        try:
            for block in range(len(self._grid)):
                # A buffer is free once the consumer asks for the block after the one it held.
                while task and self._index(task.block_rows[-1], task.block_cols[-1]) < block + self._ring:
                    future = pool.submit(self._decode, task)
                    for row in task.block_rows:
                        for col in task.block_cols:
                            waiting[self._index(row, col)].append(future)
                    task = next(tasks, None)
                for future in waiting.pop(block, ()):
                    future.result()
                yield self._finished(block)
        finally:
            pool.shutdown(cancel_futures=True)
            self._buffers = []

    def _index(self, row: int, col: int) -> int:
        return row * len(self._grid.cols) + col

    def _block(self, row: int, col: int) -> np.ndarray:
        """Return a block's buffer as (height, width, channel), whatever its layout in memory."""
        height, width, channels = self._grid.rows.size(row), self._grid.cols.size(col), self._info.channels
        flat = self._buffers[self._index(row, col) % self._ring][: height * width * channels]
        if self._table.planar:
            return flat.reshape(channels, height, width).transpose(1, 2, 0)
        return flat.reshape(height, width, channels)

    def _finished(self, index: int) -> np.ndarray:
        row, col = divmod(index, len(self._grid.cols))
        block = self._block(row, col)
        for axis, length, spans, place in (
            (0, self._info.height, self._grid.rows, row),
            (1, self._info.width, self._grid.cols, col),
        ):
            if spans.stops[place] > length:
                outside = max(0, length - spans.starts[place])
                block[(slice(None),) * axis + (slice(outside, None),)] = self._info.fill
        return block

    def _decode(self, task: Task) -> None:
        rows, cols = self._grid.rows, self._grid.cols
        blocks = [
            _OpenBlock(
                rows.starts[row], rows.stops[row], cols.starts[col], cols.stops[col], self._block(row, col)
            )
            for row in task.block_rows
            for col in task.block_cols
        ]
        channels = self._table.planes[task.plane]
        count = 0
        for segment_rows, col, pixels in self._table.read(task.plane, task.segment_rows, task.segment_cols):
            for block in blocks:
                self._paste(pixels, segment_rows, col, block, channels)
            count += len(segment_rows)
        with self._count_lock:
            self.segments_decoded += count

    def _paste(
        self, pixels, segment_rows: range, col: int, block: _OpenBlock, channels: tuple[int, ...]
    ) -> None:
        """Copy the pixels that neighbouring segments and a block share."""
        rows, cols = self._table.rows, self._table.cols
        y, x = rows.starts[segment_rows[0]], cols.starts[col]
        top, bottom = max(y, block.top), min(rows.stops[segment_rows[-1]], block.bottom)
        left, right = max(x, block.left), min(cols.stops[col], block.right)
        target = block.pixels[top - block.top : bottom - block.top, left - block.left : right - block.left]
        if pixels is None:
            shared = np.asarray(self._table.fill)
        else:
            shared = pixels[top - y : bottom - y, left - x : right - x]
        if not self._table.planar:
            target[...] = shared
            return
        for channel in channels:
            target[..., channel] = shared[..., 0] if shared.ndim else shared
