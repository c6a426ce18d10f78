from itertools import compress, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.grid import EDGES, PatchGrid
from quadrat.patches import stream
from quadrat.patches.skips import with_known_skips
from quadrat.patches.stream import plan_blocks, rows_together, stream_batches, stream_patches

FILL = 7


@st.composite
def cases(draw):
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    channels = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.float32]))
    pixels = np.arange(height * width * channels).reshape(height, width, channels).astype(dtype)
    segment = draw(st.integers(1, 64)), draw(st.integers(1, 64))
    grid = PatchGrid(
        height, width, draw(st.integers(1, 25)), draw(st.integers(1, 30)), draw(st.sampled_from(EDGES))
    )
    return pixels, segment, grid


block_bytes = st.sampled_from([1, 300, 2000, 1 << 24])


@pytest.fixture(scope="module")
def stream_with(array_reader):
    """Return a function that streams an array in blocks of some bytes, and keeps copies of what it yields."""

    def stream_all(pixels, segment, grid, most_bytes, batch_size=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream, "BLOCK_BYTES", most_bytes)
            reader = array_reader(pixels, segment, nodata=(FILL,) * pixels.shape[2])
            runs = stream_patches(reader, grid, threads=1)
            if batch_size:
                runs = stream_batches(runs, batch_size, max(1, grid.cols))
            return [(run.positions, run.patches.copy()) for run in runs]

    return stream_all


def expected_patches(pixels, grid):
    """Slice the loaded image, filled up on all sides where patches reach past it."""
    size = grid.patch_size
    filled = np.pad(pixels, ((0, size), (0, size), (0, 0)), constant_values=FILL)
    return [filled[y : y + height, x : x + width] for y, x, height, width in grid.windows()]


def each_patch(runs):
    return [patch for _, patches in runs for patch in patches]


@given(cases(), block_bytes)
def test_patches_are_slices_of_the_loaded_image(stream_with, case, most_bytes):
    pixels, segment, grid = case
    patches = each_patch(stream_with(pixels, segment, grid, most_bytes))
    expected = expected_patches(pixels, grid)
    assert len(patches) == len(expected)
    for patch, slice_ in zip(patches, expected, strict=True):
        np.testing.assert_array_equal(patch, slice_)
        assert patch.dtype == pixels.dtype


@given(cases(), block_bytes, st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_wanted_patches_and_no_others_are_read(array_reader, case, most_bytes, batch_size, seed):
    pixels, segment, grid = case
    wanted = np.random.default_rng(seed).random((grid.rows, grid.cols)) < 0.3
    expected = list(compress(zip(grid.windows(), expected_patches(pixels, grid), strict=True), wanted.flat))
    reader = array_reader(pixels, segment, nodata=(FILL,) * pixels.shape[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BLOCK_BYTES", most_bytes)
        runs = stream_patches(reader, grid, 1, wanted)
        found = [
            (window, pixels.copy())
            for run in stream_batches(runs, batch_size, max(1, grid.cols))
            for (_, _, window), pixels in zip(run.positions, run.patches, strict=True)
        ]
        rows = {grid.ys.index(block.y) for block in reader.blocks}
    assert rows == set(np.flatnonzero(wanted.any(axis=1)))
    for (window, patch), (expected_window, slice_) in zip(found, expected, strict=True):
        assert window == expected_window
        np.testing.assert_array_equal(patch, slice_)


@given(cases(), block_bytes)
def test_positions_are_the_grid_in_row_major_order(stream_with, case, most_bytes):
    pixels, segment, grid = case
    positions = [
        position for positions, _ in stream_with(pixels, segment, grid, most_bytes) for position in positions
    ]
    cells = [(row, col) for row in range(grid.rows) for col in range(grid.cols)]
    assert [position[:2] for position in positions] == cells
    assert [position[2] for position in positions] == list(grid.windows())


@given(cases(), block_bytes, st.integers(1, 9))
def test_batches_hold_the_same_patches_in_order(stream_with, case, most_bytes, batch_size):
    pixels, segment, grid = case
    batches = stream_with(pixels, segment, grid, most_bytes, batch_size)
    for patch, slice_ in zip(each_patch(batches), expected_patches(pixels, grid), strict=True):
        np.testing.assert_array_equal(patch, slice_)
    assert all(len(positions) == len(patches) for positions, patches in batches)


@given(cases(), st.integers(1, 9))
def test_batches_do_not_depend_on_blocks(stream_with, case, batch_size):
    pixels, segment, grid = case
    shapes = {
        tuple(
            (tuple(positions), patches.shape)
            for positions, patches in stream_with(pixels, segment, grid, most_bytes, batch_size)
        )
        for most_bytes in (1, 300, 2000, 1 << 24)
    }
    assert len(shapes) == 1


@given(cases(), st.integers(1, 9))
def test_batches_do_not_depend_on_segments(stream_with, case, batch_size):
    pixels, _, grid = case
    shapes = {
        tuple(patches.shape for _, patches in stream_with(pixels, segment, grid, 300, batch_size))
        for segment in ((1, 60), (16, 16), (64, 64))
    }
    assert len(shapes) == 1


@given(cases(), st.integers(1, 9))
def test_batch_is_full_unless_the_next_patch_has_another_size_or_group_of_rows(stream_with, case, batch_size):
    pixels, segment, grid = case
    together = rows_together(max(1, grid.cols))
    for batch, following in pairwise(stream_with(pixels, segment, grid, 300, batch_size)):
        groups = [positions[0][0] // together for positions, _ in (batch, following)]
        sizes = [patches.shape[1:] for _, patches in (batch, following)]
        assert len(batch[0]) == batch_size or sizes[0] != sizes[1] or groups[0] != groups[1]


@given(cases(), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_batches_are_those_of_a_stream_without_the_skipped_patches(array_reader, case, batch_size, seed):
    pixels, segment, grid = case
    known = np.where(np.random.default_rng(seed).random((grid.rows, grid.cols)) < 0.5, "outside", None)

    def batches(with_skipped):
        runs = stream_patches(array_reader(pixels, segment), grid, 1, known == None)  # noqa: E711
        if with_skipped:
            runs = with_known_skips(runs, grid, known, range(grid.rows))
        found = stream_batches(runs, batch_size, max(1, grid.cols))
        return [(run.predicted, run.patches.tolist()) for run in found if len(run.patches)]

    assert batches(with_skipped=True) == batches(with_skipped=False)


def test_batch_is_contiguous(array_reader):
    reader = array_reader(np.zeros((64, 64, 3), np.uint8))
    for run in stream_batches(stream_patches(reader, PatchGrid(64, 64, 16, 8), 1), 5, cols=7):
        assert run.patches.flags.c_contiguous


def test_batches_of_a_group_of_rows_are_those_of_the_whole_image(array_reader):
    grid = PatchGrid(100, 50, 5, 5)
    together = rows_together(grid.cols)
    assert together * grid.cols >= 64
    reader = array_reader(np.zeros((100, 50, 1), np.uint8))
    runs = list(stream_patches(reader, grid, 1))
    whole = [run.positions for run in stream_batches(iter(runs), 9, grid.cols)]
    parts = []
    for first in range(0, grid.rows, together):
        group = [run for run in runs if first <= run.positions[0][0] < first + together]
        parts += [run.positions for run in stream_batches(iter(group), 9, grid.cols)]
    assert whole == parts


def test_patches_cannot_be_written_to_where_they_are_views_of_the_block(array_reader):
    reader = array_reader(np.zeros((64, 64, 1), np.uint8))
    run = next(stream_patches(reader, PatchGrid(64, 64, 32, 16), 1))
    with pytest.raises(ValueError, match="read-only"):
        run.patches[...] = 1


@given(cases(), block_bytes)
def test_no_two_blocks_share_a_segment_unless_they_are_whole_rows(array_reader, case, most_bytes):
    pixels, segment, grid = case
    info = array_reader(pixels, segment).info
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BLOCK_BYTES", most_bytes)
        blocks = plan_blocks(grid, info)
    seen = set()
    for block in blocks:
        y, x, height, width = block.window
        touched = {
            (row, col)
            for row in range(y // segment[0], (min(y + height, grid.height) - 1) // segment[0] + 1)
            for col in range(x // segment[1], (min(x + width, grid.width) - 1) // segment[1] + 1)
        }
        assert not touched & seen or block.cols == range(grid.cols)
        seen |= touched


def test_wide_image_is_read_in_blocks_of_about_16_mib_where_segments_fit_the_grid(array_reader):
    grid = PatchGrid(512, 100_000)
    pixels = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (512, 100_000, 3))
    blocks = plan_blocks(grid, array_reader(pixels, (256, 256)).info)
    assert len(blocks) > 5
    assert max(block.window.width for block in blocks) * 512 * 3 < 1.1 * 2**24


def test_image_without_a_patch_is_not_read(array_reader):
    reader = array_reader(np.zeros((10, 10, 1), np.uint8))
    assert list(stream_patches(reader, PatchGrid(10, 10, 16, 16), 1)) == []
    assert reader.blocks == []
