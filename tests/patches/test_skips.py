import numpy as np
import pytest

from quadrat.grid import PatchGrid, Window
from quadrat.images.image import ImageInfo
from quadrat.images.nodata import is_nodata
from quadrat.patches import skips
from quadrat.patches.skips import PatchRules, with_known_skips
from quadrat.patches.stream import PatchBatch, stream_batches, stream_patches


def info(channels=1, dtype=np.uint8, **header):
    return ImageInfo("test", 100, 100, channels, np.dtype(dtype), 1, 100, **header)


@pytest.mark.parametrize(
    ("bound", "empty", "reason"),
    [(1.0, 100, "nodata"), (1.0, 99, None), (0.3, 30, "nodata"), (0.3, 29, None)],
)
def test_patch_is_skipped_from_the_share_of_nodata_on(bound, empty, reason):
    patch = np.ones((10, 10, 2), np.uint8)
    patch.reshape(100, 2)[:empty] = 0
    patch.reshape(100, 2)[empty:, 0] = 0  # in one channel of two: a value as others
    assert PatchRules({"nodata": bound}, info(2, nodata=(0, 0)), None).reason(patch) == reason
    assert PatchRules({"nodata": bound}, info(2), None).reason(patch) is None


@pytest.mark.parametrize("share", [1.0, 0.75, 0.5, 1e-6])
@pytest.mark.parametrize("validity", [None, 2])
def test_patch_is_skipped_whatever_pixels_of_it_are_nodata(share, validity):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (31, 7), (33, 64), (200, 3)):
        for holes in (0, 1e-3, share, 1 - 1e-3, 1):
            patch = rng.integers(1, 9, (*shape, 3), np.uint8)
            patch[rng.random(shape) < holes, :2] = 0
            patch[rng.random(shape) < holes, 2] = 0
            empty = (patch[..., :2] == 0).all(axis=2)
            empty |= validity is not None and patch[..., 2] == 0
            rules = PatchRules({"nodata": share}, info(2, nodata=(0, 0)), validity)
            assert rules.reason(patch) == ("nodata" if empty.mean() >= share else None)


def test_few_rows_of_a_patch_full_of_data_are_looked_at(monkeypatch):
    looked_at = []

    def count(samples, value):
        looked_at.append(samples.size)
        return is_nodata(samples, value)

    monkeypatch.setattr(skips, "is_nodata", count)
    patch = np.ones((512, 512, 1), np.uint8)
    patch[:300] = 0  # the edge of a scene
    assert PatchRules({"nodata": 1.0}, info(1, nodata=(0,)), None).reason(patch) is None
    assert sum(looked_at) == 16 * 512
    assert PatchRules({"nodata": 1.0}, info(1, nodata=(0,)), None).reason(np.zeros_like(patch)) == "nodata"
    assert sum(looked_at) == 16 * 512 + patch.size


def test_alpha_needs_no_nodata_value_of_its_own():
    opaque = np.dstack([np.zeros((4, 4, 2), np.uint8), np.full((4, 4), 255, np.uint8)])
    assert PatchRules({"nodata": 1.0}, info(3, nodata=(0, 0, None)), 2).reason(opaque) == "nodata"
    assert PatchRules({"nodata": 1.0}, info(3, nodata=(0, 0, None)), None).reason(opaque) is None
    assert PatchRules({"nodata": 1.0}, info(3, nodata=(0, 0, 0)), 2).reason(opaque) is None


def test_masked_patches_hide_nodata_pixels_that_are_not_valid_and_padding():
    patches = np.arange(1, 1 + 2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    patches[0, 0, 0, 0] = 99  # the nodata value of the first channel
    patches[0, 1, 1, 2] = 0  # not valid
    positions = [(24, 23, Window(96, 92, 4, 4)), (24, 24, Window(96, 98, 4, 4))]
    rules = PatchRules({}, info(2, nodata=(99, None)), 2, masks=True)
    (run,) = rules.applied(iter([PatchBatch(positions, patches, 2 * [None])]))
    hidden = np.zeros((2, 4, 4, 2), bool)
    hidden[0, 0, 0, 0] = hidden[0, 1, 1] = hidden[1, :, 2:] = True
    np.testing.assert_array_equal(run.patches.mask, hidden)
    np.testing.assert_array_equal(run.patches.data, patches[..., :2])


def test_masks_of_patches_that_overlap_are_made_of_few_patches_at_a_time(array_reader):
    grid, pixels = PatchGrid(100, 100, 90, 1), np.arange(10_000).reshape(100, 100, 1)
    rules = PatchRules({}, ImageInfo("test", 100, 100, 1, np.dtype(int), 1, 100), None, masks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skips, "BLOCK_BYTES", 3 * 90 * 90 * 8)
        runs = list(rules.applied(stream_patches(array_reader(pixels), grid, 1)))
    assert {len(run.patches) for run in runs} == {3, 2}
    assert [place[:2] for run in runs for place in run.positions] == list(np.ndindex(11, 11))


def test_nodata_may_be_nan_or_a_value_that_is_not_exact():
    for nodata, dtype in ((np.nan, np.float32), (-3.4028234663852886e38, np.float32), (-9999, np.int16)):
        patch = np.full((4, 4, 1), nodata, dtype)
        assert PatchRules({"nodata": 1.0}, info(1, dtype, nodata=(nodata,)), None).reason(patch) == "nodata"


def test_channel_of_validity_counts_and_is_no_pixel():
    patch = np.dstack([np.full((10, 10), 7, np.uint8), np.zeros((10, 10), np.uint8)])
    assert PatchRules({"nodata": 1.0}, info(1), 1).reason(patch) == "nodata"
    assert PatchRules({"background": {"std_below": 1.0}}, info(1), 1).reason(patch) == "background"


@pytest.mark.parametrize(
    ("background", "reason"),
    [
        ({"std_below": 2.1}, "background"),
        ({"std_below": 2.0}, None),
        ({"mean_above": 9.9}, "background"),
        ({"mean_above": 10.0}, None),
    ],
)
def test_patch_of_little_variance_or_great_brightness_is_background(background, reason):
    patch = np.array([8, 12] * 8, np.uint8).reshape(4, 4, 1)
    assert PatchRules({"background": background}, info(), None).reason(patch) == reason


def test_patches_that_a_rule_skips_flow_with_their_reason_among_the_others():
    patches = np.zeros((6, 10, 10, 2), np.uint8)
    patches[[0, 1, 3], ..., 1] = 255
    patches[3, ..., 0] = [0, 9] * 5
    positions = [(0, col, Window(0, 10 * col, 10, 10)) for col in range(6)]
    rules = PatchRules({"nodata": 1.0, "background": {"std_below": 1.0}}, info(), 1)
    runs = list(rules.applied(iter([PatchBatch(positions, patches, 6 * [None])])))
    background, nodata = 2 * ["background"], 2 * ["nodata"]
    assert [run.reasons for run in runs] == [background, ["nodata"], [None], nodata]
    assert [position for run in runs for position in run.positions] == positions
    assert [run.patches.shape for run in runs] == [
        (0, 10, 10, 1),
        (0, 10, 10, 1),
        (1, 10, 10, 1),
        (0, 10, 10, 1),
    ]
    np.testing.assert_array_equal(runs[2].patches, patches[3:4, ..., :1])
    assert [run.predicted for run in runs] == [[], [], positions[3:4], []]


@pytest.mark.parametrize("size", [None, 1, 3, 100])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("rows", [range(8), range(2, 5)], ids=["image", "shard"])
def test_patches_known_to_be_skipped_flow_in_row_major_order_among_the_others(
    array_reader, size, share, rows
):
    grid, pixels = PatchGrid(75, 45, 10, 10, "partial"), np.arange(75 * 45).reshape(75, 45, 1)
    draw = np.random.default_rng(0).random((grid.rows, grid.cols))
    known = np.where(draw < share / 2, "outside", np.where(draw < share, "background", None))
    wanted = np.array([[known[row, col] is None and row in rows for col in range(5)] for row in range(8)])
    runs = with_known_skips(stream_patches(array_reader(pixels), grid, 1, wanted), grid, known, rows)
    flown = []
    for run in stream_batches(runs, size, grid.cols) if size else runs:
        patches = iter(run.patches.copy())
        flown += [
            (*place, reason, None if reason else next(patches))
            for place, reason in zip(run.positions, run.reasons, strict=True)
        ]
        assert not list(patches)
    assert [cell[:2] for cell in flown] == [(row, col) for row in rows for col in range(5)]
    for row, col, window, reason, patch in flown:
        y, x, height, width = window
        assert (y, x) == (10 * row, 10 * col)
        assert reason == known[row, col]
        if reason is None:
            np.testing.assert_array_equal(patch, pixels[y : y + 10, x : x + 10])
        assert (height, width) == pixels[y : y + 10, x : x + 10, 0].shape
