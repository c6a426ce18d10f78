"""Blocks of pixels that a reader yields, seen as the rows and columns of one grid."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from quadrat.grid import Window


@dataclass(frozen=True)
class Spans:
    """Starts and stops of blocks along one axis, in pixels; both ascend.

    Parameters
    ----------
    starts, stops : tuple of int

    Raises
    ------
    ValueError
        If starts or stops do not ascend.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]

    def __post_init__(self):
        if any(a >= b for spans in (self.starts, self.stops) for a, b in pairwise(spans)):
            raise ValueError("the blocks of a row or column do not ascend")

    def __len__(self) -> int:
        return len(self.starts)

    def size(self, index: int) -> int:
        """Length of a block in pixels."""
        return self.stops[index] - self.starts[index]

    @cached_property
    def largest(self) -> int:
        """Length of the longest block in pixels."""
        return max((self.size(index) for index in range(len(self))), default=0)

    def touching(self, start: int, stop: int) -> range:
        """Return the indices of the blocks that contain pixels of a span."""
        return range(bisect_right(self.stops, start), bisect_left(self.starts, stop))


@dataclass(frozen=True)
class BlockGrid:
    """Blocks in row-major order: every combination of a row and a column."""

    rows: Spans
    cols: Spans

    @classmethod
    def from_windows(cls, windows: Iterable[Window]) -> "BlockGrid":
        """Return the grid of the windows.

        Raises
        ------
        ValueError
            If the windows are not a grid in row-major order.
        """
        windows = list(windows)
        rows = sorted({(window.y, window.height) for window in windows})
        cols = sorted({(window.x, window.width) for window in windows})
        if windows != [Window(y, x, height, width) for y, height in rows for x, width in cols]:
            raise ValueError("the blocks are not a grid in row-major order")
        return cls(
            *(Spans(tuple(a for a, _ in axis), tuple(a + n for a, n in axis)) for axis in (rows, cols))
        )

    def windows(self) -> list[Window]:
        """Return the windows of all blocks."""
        rows, cols = self.rows, self.cols
        return [
            Window(y, x, bottom - y, right - x)
            for y, bottom in zip(rows.starts, rows.stops, strict=True)
            for x, right in zip(cols.starts, cols.stops, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)
