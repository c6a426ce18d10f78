import numpy as np
import pytest

from quadrat.grid import PatchGrid, Window
from quadrat.images.image import ImageInfo
from quadrat.patches.skips import PatchRules, Skips
from quadrat.patches.stream import PatchBatch


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


def test_patches_are_yielded_without_those_that_a_rule_skips():
    grid, patches = PatchGrid(10, 60, 10, 10), np.zeros((6, 10, 10, 2), np.uint8)
    patches[[0, 1, 3], ..., 1] = 255
    run = PatchBatch([(0, col, Window(0, 10 * col, 10, 10)) for col in range(6)], patches)
    skips = Skips(grid)
    kept = list(PatchRules({"nodata": 1.0}, info(), 1).predicted(iter([run]), skips))
    assert [[col for _, col, _ in run.positions] for run in kept] == [[0, 1], [3]]
    assert [run.patches.shape for run in kept] == [(2, 10, 10, 1), (1, 10, 10, 1)]
    assert skips.reasons(range(6)) == [None, None, "nodata", None, "nodata", "nodata"]
    assert skips.wanted.tolist() == [[True, True, False, True, False, False]]


def test_first_reason_of_a_patch_is_reported_and_counted():
    skips = Skips(PatchGrid(20, 20, 10, 10))
    skips.add("outside", np.array([[True, False], [False, False]]))
    skips.add("background", np.array([[True, True], [False, False]]))
    skips.skip("nodata", 1, 1)
    assert skips.reasons(range(4)) == ["outside", "background", None, "nodata"]
    assert skips.reasons(range(1, 3)) == ["background", None]
    assert skips.counts() == {
        "skipped": 3,
        "skipped_unscanned": 0,
        "skipped_outside": 1,
        "skipped_background": 1,
        "skipped_nodata": 1,
    }
