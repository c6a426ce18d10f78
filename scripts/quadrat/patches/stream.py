"""The stream of patches: an image, block by block, cut into the patches of its grid."""

from collections.abc import Generator, Iterator
from itertools import compress, groupby
from typing import NamedTuple

import numpy as np

from quadrat.errors import ImageError
from quadrat.grid import PatchGrid, Window
from quadrat.images.budget import require_memory
from quadrat.images.image import ImageInfo, Reader

# Approximate bytes of a block: enough work for every thread, and little memory beside the job's other needs.
BLOCK_BYTES = 1 << 24

# The least number of cells in a group of grid rows; no batch contains patches of two groups.
GROUP_CELLS = 64


# An image of a million by a million pixels has four million patches of the usual size.
MOST_PATCHES = 100_000_000
# Memory of the windows, flags and origins of a patch, besides its pixels.
BYTES_PER_PATCH = 150

# Grid row, grid column, and window.
Position = tuple[int, int, Window]


class PatchBatch(NamedTuple):
    """Successive patches of a grid, predicted or skipped.

    Attributes
    ----------
    positions : list of (row, col, Window)
        Grid row, grid column, and window in pixels of the level that is read, in row-major order.
    patches : (n, height, width, channel) array
        Pixels of the ones that are predicted.
    reasons : list of (str or None)
        Why each position is skipped; None where it is predicted.
    """

    positions: list[Position]
    patches: np.ndarray
    reasons: list[str | None]

    @property
    def predicted(self) -> list[Position]:
        """Positions of `patches`."""
        return [place for place, reason in zip(self.positions, self.reasons, strict=True) if reason is None]


class Block(NamedTuple):
    """Neighbouring grid cells of one row that are read together."""

    row: int
    cols: range
    window: Window


def require_listable(grid: PatchGrid, memory_mb: float | None) -> None:
    """Refuse a grid of too many patches, before they are listed.

    Parameters
    ----------
    grid : PatchGrid
    memory_mb : float or None
        Memory in megabytes that may be taken; None for no limit.

    Raises
    ------
    ImageError
        If the grid has too many patches for any machine.
    MemoryBudgetError
        If the patches need more memory than given.
    """
    if len(grid) > MOST_PATCHES:
        raise ImageError(
            f"it claims to be {grid.width:,} x {grid.height:,} px, which makes {len(grid):,} patches; "
            f"at most {MOST_PATCHES:,} are allowed (config.yaml: patch_size, stride)"
        )
    require_memory(len(grid) * BYTES_PER_PATCH, memory_mb, f"keeping track of {len(grid):,} patches")


def plan_blocks(grid: PatchGrid, info: ImageInfo, wanted: np.ndarray | None = None) -> list[Block]:
    """Cut a grid into blocks so that no stored segment belongs to two of them, if possible.

    If the segments of the file do not end at lines of the grid, a block is a whole grid row, and the reader
    keeps the segments that two rows share. Otherwise rows are cut into blocks of about 16 MiB, and memory
    does not grow with the width of the image.

    Parameters
    ----------
    grid : PatchGrid
    info : ImageInfo
    wanted : (rows, cols) bool array, optional
        Patches that are wanted; all by default. Rows and columns of blocks without one are left out.

    Returns
    -------
    list of Block
        In row-major order.
    """
    xs, ys = grid.xs, grid.ys
    if not xs:
        return []
    wanted = np.ones((len(ys), len(xs)), bool) if wanted is None else wanted
    if not wanted.any():
        return []
    columns = np.flatnonzero(wanted.any(axis=0)).tolist()
    groups = [range(columns[0], columns[-1] + 1)]
    if not _share_segments(ys, grid.patch_size, info.segment_height):
        column_bytes = grid.patch_size * info.channels * info.dtype.itemsize
        width = BLOCK_BYTES // column_bytes
        groups = _column_groups(groups[0], xs, grid.patch_size, info.segment_width, width)
        groups = [cols for cols in groups if wanted[:, cols.start : cols.stop].any()]
    blocks = []
    for row in np.flatnonzero(wanted.any(axis=1)).tolist():
        y = ys[row]
        for cols in groups:
            x, last = xs[cols[0]], xs[cols[-1]]
            height = grid.extent(y, grid.height)
            blocks.append(Block(row, cols, Window(y, x, height, last + grid.extent(last, grid.width) - x)))
    return blocks


def stream_patches(
    reader: Reader, grid: PatchGrid, threads: int, wanted: np.ndarray | None = None
) -> Generator[PatchBatch, None, None]:
    """Yield the patches of an image in row-major order while the next ones are decoded.

    Parameters
    ----------
    reader : Reader
    grid : PatchGrid
        Laid over the level that the reader reads.
    threads : int
        Threads that decode.
    wanted : (rows, cols) bool array, optional
        Patches that are yielded; all by default. Segments without pixels of these patches are not decoded.

    Yields
    ------
    PatchBatch
        Views of the reader's buffers, valid until the next one.
    """
    blocks = plan_blocks(grid, reader.info, wanted)
    wanted = np.ones((grid.rows, grid.cols), bool) if wanted is None else wanted
    windows = None
    if not wanted[wanted.any(axis=1)].all():
        windows = list(compress(grid.windows(), wanted.flat))
    arrays = reader.read_blocks([block.window for block in blocks], threads, windows)
    for block, array in zip(blocks, arrays, strict=True):
        yield from _cut(block, array, grid, wanted[block.row])


def rows_together(cols: int) -> int:
    """Return the grid rows of a group: a whole image and its groups one by one have the same batches."""
    return -(-GROUP_CELLS // cols)


def stream_batches(runs: Iterator[PatchBatch], size: int, cols: int) -> Iterator[PatchBatch]:
    """Yield patches in contiguous batches, skipped ones among the predicted.

    The content of a batch depends on grid, skips and `size` alone, never on blocks, so that predictions that
    depend on their batch are the same on every machine.

    Parameters
    ----------
    runs : iterator of PatchBatch
        Patches in row-major order; each run lies in one grid row, and is predicted or skipped as a whole.
    size : int
        Predicted patches in a batch. A batch is cut where it would mix patches of different sizes, or of two
        groups of grid rows.
    cols : int
        Columns of the grid.

    Yields
    ------
    PatchBatch
        `patches` is C-contiguous, and reused for the next batch; empty if a group of rows is skipped.
    """
    positions: list[Position] = []
    reasons: list[str | None] = []
    buffer, count, group = np.empty((0,)), 0, 0
    for run in runs:
        patch_shape, its_group = run.patches.shape[1:], run.positions[0][0] // rows_together(cols)
        is_of_other_shape = len(run.patches) > 0 and buffer.shape[1:] != patch_shape
        if positions and (its_group != group or is_of_other_shape):
            yield PatchBatch(positions, buffer[:count], reasons)
            positions, reasons, count = [], [], 0
        if is_of_other_shape:
            buffer = np.empty((size, *patch_shape), run.patches.dtype)
        group = its_group
        if not len(run.patches):
            positions += run.positions
            reasons += run.reasons
            continue
        start = 0
        while start < len(run.positions):
            take = min(size - count, len(run.positions) - start)
            part = slice(start, start + take)
            buffer[count : count + take] = run.patches[part]
            positions += run.positions[part]
            reasons += run.reasons[part]
            start, count = start + take, count + take
            if count == size:
                yield PatchBatch(positions, buffer, reasons)
                positions, reasons, count = [], [], 0
    if positions:
        yield PatchBatch(positions, buffer[:count], reasons)


def _share_segments(origins: list[int], patch_size: int, segment: int) -> bool:
    """Return whether two neighbouring patches along an axis need the same segment."""
    ends = ((origin + patch_size - 1) // segment for origin in origins)
    return any(end >= following // segment for end, following in zip(ends, origins[1:], strict=False))


def _column_groups(cols: range, xs: list[int], patch_size: int, segment: int, width: int) -> list[range]:
    groups, first = [], cols.start
    for col in cols[1:]:
        is_wide_enough = xs[col] - xs[first] >= width
        if is_wide_enough and not _share_segments(xs[col - 1 : col + 1], patch_size, segment):
            groups.append(range(first, col))
            first = col
    return [*groups, range(first, cols.stop)]


def _cut(block: Block, array: np.ndarray, grid: PatchGrid, wanted: np.ndarray) -> Iterator[PatchBatch]:
    """Cut a block where the size or distance of its patches changes, or at a patch that is not wanted."""
    xs = grid.xs
    regular = [col for col in block.cols if xs[col] == col * grid.stride]
    cells = [(col, wanted[col], grid.extent(xs[col], grid.width), col in regular) for col in block.cols]
    for (is_wanted, width, _), group in groupby(cells, key=lambda cell: cell[1:]):
        if not is_wanted:
            continue
        cols = [cell[0] for cell in group]
        x = xs[cols[0]] - block.window.x
        y_step, x_step, channel_step = array.strides
        patches = np.lib.stride_tricks.as_strided(
            array[:, x:],
            (len(cols), block.window.height, width, array.shape[2]),
            (grid.stride * x_step, y_step, x_step, channel_step),
            writeable=False,
        )
        positions = [
            (block.row, col, Window(block.window.y, xs[col], block.window.height, width)) for col in cols
        ]
        yield PatchBatch(positions, patches, [None] * len(cols))
