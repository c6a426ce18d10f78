"""Segment plan: which segments are decoded for which blocks, and in what order."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np

from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid, Spans

# Segments that decode to less share a task: handing a task to a thread costs as much as decoding 100 kB.
TASK_BYTES = 1 << 21


class Segments(Protocol):
    """The places of the segments of an image.

    Attributes
    ----------
    rows, cols : Spans
        Of the segments in pixels, cut at the image.
    planes : tuple of tuple of int
        For each stored plane, the channels of the result that it fills. An image whose channels are
        interleaved is one plane that fills them all.
    segment_bytes : int
        Size of the largest segment, decoded.
    """

    rows: Spans
    cols: Spans
    planes: tuple[tuple[int, ...], ...]
    segment_bytes: int


class Task(NamedTuple):
    """Segments of one plane that a thread decodes in one go, and the blocks that all of them touch."""

    plane: int
    segment_rows: range
    segment_cols: range
    block_rows: range
    block_cols: range


def segments_together(segment_bytes: int) -> int:
    """Return how many segments of a decoded size share a task, at most."""
    return max(1, TASK_BYTES // max(1, segment_bytes))


class _Run(NamedTuple):
    """Neighbouring rows or columns of segments that touch the same rows or columns of blocks."""

    segments: range
    blocks: range


def _runs(segments: Spans, blocks: Spans, longest: int) -> list[_Run]:
    touched = (
        (index, blocks.touching(start, stop))
        for index, (start, stop) in enumerate(zip(segments.starts, segments.stops, strict=True))
    )
    runs = []
    for touches, members in groupby(touched, key=lambda pair: pair[1]):
        if not touches:
            continue
        indices = [index for index, _ in members]
        span = range(indices[0], indices[-1] + 1)
        runs += [_Run(span[start : start + longest], touches) for start in range(0, len(span), longest)]
    return runs


class SegmentPlan:
    """Tasks in the order in which their first block is wanted; segments that no block needs have no task.

    Parameters
    ----------
    segments : Segments
    grid : BlockGrid
        Wanted blocks.
    windows : iterable of Window, optional
        Parts of the blocks that are wanted; all by default.
    """

    def __init__(self, segments: Segments, grid: BlockGrid, windows: Iterable[Window] | None = None):
        self._wanted = None if windows is None else _touched(segments, windows)
        self._grid, self._planes = grid, range(len(segments.planes))
        longest = segments_together(segments.segment_bytes)
        self._col_runs = _runs(segments.cols, grid.cols, longest)
        is_single_file = sum(len(run.segments) for run in self._col_runs) == 1
        self._row_runs = _runs(segments.rows, grid.rows, longest if is_single_file else 1)

    def tasks(self) -> Iterator[Task]:
        """Yield every task once."""
        cols = {
            col: [run for run in self._col_runs if run.blocks.start == col]
            for col in range(len(self._grid.cols))
        }
        for _, rows in groupby(self._row_runs, key=lambda run: run.blocks.start):
            its_rows = list(rows)
            for starting in cols.values():
                for row in its_rows:
                    for col in starting:
                        for part in self._wanted_parts(row.segments, col.segments):
                            for plane in self._planes:
                                yield Task(plane, *part, row.blocks, col.blocks)

    def _wanted_parts(self, rows: range, cols: range) -> Iterator[tuple[range, range]]:
        """Yield rows and columns of the wanted segments among neighbours in one row or one column."""
        if self._wanted is None:
            yield rows, cols
            return
        flags = self._wanted[rows.start : rows.stop, cols.start : cols.stop].ravel()
        for is_wanted, members in groupby(range(len(flags)), key=flags.__getitem__):
            if is_wanted:
                first, *others = members
                part = slice(first, first + len(others) + 1)
                yield (rows, cols[part]) if len(rows) == 1 else (rows[part], cols)

    def blocks_in_flight(self, threads: int) -> int:
        """Return how many neighbouring blocks must be open for `threads` tasks to run at once."""
        rows, cols = self._row_runs, len(self._grid.cols)
        if not rows or not self._col_runs:
            return 1
        if cols > 1 and all(len(run.blocks) == 1 for run in rows + self._col_runs):
            tasks_per_block = max(1, len(rows) * len(self._col_runs) * len(self._planes) // len(self._grid))
            return -(-threads // tasks_per_block)
        abreast = min(len(rows), -(-threads // (len(self._col_runs) * len(self._planes))))
        spans = zip(rows, rows[abreast - 1 :], strict=False)
        return cols * max(last.blocks[-1] - first.blocks[0] + 1 for first, last in spans)


def _touched(segments: Segments, windows: Iterable[Window]) -> np.ndarray:
    """Return for each (row, col) of the segments whether it contains pixels of a window."""
    touched = np.zeros((len(segments.rows), len(segments.cols)), bool)
    for y, x, height, width in windows:
        rows, cols = segments.rows.touching(y, y + height), segments.cols.touching(x, x + width)
        touched[rows.start : rows.stop, cols.start : cols.stop] = True
    return touched
