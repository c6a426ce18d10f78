from statistics import fmean, median, pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.predictors import load_predictor

INTEGERS = [np.dtype(code) for code in "bBhHiIlL"]
FLOATS = [np.dtype(code) for code in "efd"]
PERCENTS = [0, 2.5, 5, 25, 50, 75, 99.9, 100]
ENDS = (-20, 133)

# What numpy says of the values of a patch, or of one of its channels.
TRUTHS = {
    "mean": np.mean,
    "std": np.std,
    "min": np.min,
    "max": np.max,
    "histogram": lambda values: np.histogram(values, 7, ENDS)[0],
} | {f"p{percent}": lambda values, percent=percent: np.percentile(values, percent) for percent in PERCENTS}


def statistics(patches, of, **options):
    return load_predictor({"kind": "statistics", "of": of} | options).predict(patches)


# means


@st.composite
def integer_patches(draw):
    dtype = draw(st.sampled_from(INTEGERS))
    limits = np.iinfo(dtype)
    shape = (draw(st.integers(1, 3)), *draw(st.sampled_from([(1, 1, 1), (7, 5, 3), (64, 64, 1)])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    low, high = draw(
        st.sampled_from(
            [(limits.min, limits.max), (limits.max - 1, limits.max), (limits.min, limits.min + 1)]
        )
    )
    return rng.integers(low, high, shape, dtype, endpoint=True)


def numpy_means(patches):
    wide = {"dtype": np.float64} if patches.dtype.kind == "f" else {}
    return np.array([np.mean(np.ascontiguousarray(patch), **wide) for patch in patches], np.float64)


@given(integer_patches())
def test_mean_of_integers_is_bit_for_bit_that_of_numpy(patches):
    predictions = load_predictor({"kind": "mean"}).predict(patches)
    assert predictions.dtype == np.float64
    assert predictions.tobytes() == numpy_means(patches).tobytes()


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, np.dtype(bool)], ids=str)
def test_mean_of_a_view_of_overlapping_patches_is_that_of_the_contiguous_patch(dtype):
    image = np.random.default_rng(1).integers(0, 100, (40, 90, 2)).astype(dtype) / dtype.type(1)
    image = image.astype(dtype)
    windows = np.lib.stride_tricks.sliding_window_view(image, (32, 32), (0, 1))[4, ::7].transpose(0, 2, 3, 1)
    assert load_predictor({"kind": "mean"}).predict(windows).tobytes() == numpy_means(windows).tobytes()


@pytest.mark.parametrize(
    "dtype", [np.uint32, np.int32, np.uint16, np.int64], ids=lambda dtype: dtype.__name__
)
@pytest.mark.parametrize("end", ["min", "max"])
def test_mean_of_a_full_patch_of_extremes_does_not_overflow(dtype, end):
    extreme = getattr(np.iinfo(dtype), end)
    patches = np.full((1, 512, 512, 4), extreme, dtype)
    patches[0, 0, 0, 0] = 1
    assert load_predictor({"kind": "mean"}).predict(patches).tobytes() == numpy_means(patches).tobytes()


@pytest.mark.parametrize("special", [0.0, 6e4, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_mean_of_floats_is_that_of_numpy(dtype, special):
    patches = np.random.default_rng(3).random((3, 32, 32, 3)).astype(dtype)
    patches[1, 5] = special
    np.testing.assert_array_equal(
        load_predictor({"kind": "mean"}).predict(patches), numpy_means(patches), strict=True
    )


@pytest.mark.parametrize("of", ["mean", "std", "p50"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_statistics_of_finite_floats_are_finite_and_not_rounded_to_their_type(dtype, of):
    largest = float(np.finfo(dtype).max) if dtype.itemsize < 8 else 1e150
    patches = np.empty((2, 64, 64, 1), dtype)
    patches[0] = largest
    patches[0, ::2] = largest / 4
    patches[1] = 100
    patches[1, :2] = 101  # a mean of 100.03125, which float16 does not have
    values = [[float(value) for value in patch.ravel()] for patch in patches]
    truth = {"mean": fmean, "std": pstdev, "p50": median}[of]
    found = statistics(patches, of)
    # numpy's median of float16 and float32 is of two neighbours in float64.
    np.testing.assert_allclose(found, [truth(of_patch) for of_patch in values], rtol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("per_channel", [False, True], ids=["over all", "per channel"])
def test_mean_of_floats_does_not_depend_on_the_batch_or_on_how_patches_lie_in_memory(dtype, per_channel):
    patches = (np.random.default_rng(4).random((5, 100, 100, 3)) * 1000).astype(dtype)
    together = statistics(patches, ["mean", "std"], per_channel=per_channel)
    for lying in (patches, np.asfortranarray(patches), patches[:, :, :, ::-1].copy()[:, :, :, ::-1]):
        alone = [statistics(lying[n : n + 1], ["mean", "std"], per_channel=per_channel)[0] for n in range(5)]
        assert np.array(alone).tobytes() == together.tobytes()


def test_mean_asks_for_no_batches():
    assert load_predictor({"kind": "mean"}).batch_size(1 << 20) is None


# the other statistics


def expected(patches, of, by_channel):
    """Return the statistics as a plain loop over patches and channels does, as (n, channel, k)."""
    samples = [
        [patch[..., c].copy() for c in range(patch.shape[2])] if by_channel else [patch.copy()]
        for patch in patches
    ]
    # As float64, since numpy's percentiles of small integers overflow between neighbours that lie far apart.
    values = [[sample.astype(float) for sample in of_patch] for of_patch in samples]
    return np.array(
        [[np.hstack([TRUTHS[name](value) for name in of]) for value in of_patch] for of_patch in values],
        float,
    )


def noise_patches(dtype, shape=(3, 40, 30, 3)):
    return np.random.default_rng(5).integers(0, 120, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, np.dtype(bool)], ids=str)
@pytest.mark.parametrize("of", ["min", "max", "p0", "p2.5", "p50", "p99.9", "p100"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["over all", "per channel"])
def test_statistic_equals_that_of_numpy(dtype, of, per_channel):
    patches = noise_patches(dtype)
    predictions = statistics(patches, of, per_channel=per_channel)
    truth = expected(patches, [of], per_channel)[..., 0]
    np.testing.assert_array_equal(predictions, truth if per_channel else truth[:, 0], strict=True)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, np.dtype(bool)], ids=str)
@pytest.mark.parametrize("per_channel", [False, True], ids=["over all", "per channel"])
def test_deviation_equals_that_of_numpy(dtype, per_channel):
    patches = noise_patches(dtype)
    predictions = statistics(patches, "std", per_channel=per_channel)
    contiguous = [
        patch.transpose(2, 0, 1).reshape(3, -1) if per_channel else patch.reshape(1, -1) for patch in patches
    ]
    truth = np.array([[np.std(row.copy(), dtype=float) for row in rows] for rows in contiguous], float)
    np.testing.assert_array_equal(predictions, truth if per_channel else truth[:, 0], strict=True)


@given(integer_patches(), st.lists(st.floats(0, 100), min_size=1, max_size=5, unique=True))
def test_percentiles_of_integers_are_bit_for_bit_those_of_numpy(patches, percents):
    names = [f"p{percent:.9f}".rstrip("0").rstrip(".") for percent in percents]
    predictions = statistics(patches, names, per_channel=True).reshape(len(patches), patches.shape[3], -1)
    exact = [float(name[1:]) for name in names]
    for patch, of_patch in zip(patches, predictions, strict=True):
        for channel, of_channel in enumerate(of_patch):
            truth = np.percentile(patch[..., channel].astype(float), exact)
            assert of_channel.tobytes() == truth.tobytes()


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS], ids=str)
@pytest.mark.parametrize("ends", [(0, 120), (0, 119), (-3.7, 55.5), (1e-3, 2e-3), (0, 1e9)])
@pytest.mark.parametrize("bins", [1, 10, 256])
def test_histogram_counts_what_that_of_numpy_counts(dtype, ends, bins):
    patches = noise_patches(dtype)
    predictions = statistics(patches, "histogram", bins=bins, range=ends)
    truth = np.array([np.histogram(patch.astype(float), bins, ends)[0] for patch in patches], float)
    np.testing.assert_array_equal(predictions.reshape(truth.shape), truth, strict=True)


def test_integers_that_lie_far_apart_are_sorted_instead_of_counted():
    patches = noise_patches(np.int32)
    patches[:, 0, 0] = np.iinfo(np.int32).min
    patches[:, 0, 1] = np.iinfo(np.int32).max
    of = ["p0", "p50", "p100", "histogram"]
    predictions = statistics(patches, of, bins=7, range=ENDS)
    np.testing.assert_array_equal(predictions, expected(patches, of, False)[:, 0])


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_statistics_of_a_patch_that_is_not_finite_are_those_of_numpy(special):
    patches = np.random.default_rng(3).random((3, 32, 32, 3)).astype(np.float32)
    patches[1, 5] = special
    of = ["mean", "std", "min", "max", "p50", "p100", "histogram"]
    with np.errstate(invalid="ignore"):
        truth = expected(patches, of, False)[:, 0]
    np.testing.assert_allclose(statistics(patches, of, bins=7, range=ENDS), truth, rtol=1e-6)


# masked arrays, whose samples without data do not count


ALL = ["mean", "std", "min", "max", "p0", "p2.5", "p50", "p99.9", "p100", "histogram"]


def masked_patches(dtype, share, shape=(4, 40, 30, 3)):
    rng = np.random.default_rng(6)
    patches = noise_patches(dtype, shape)
    mask = rng.random(shape) < share
    mask[0] = False  # a patch full of data among the others
    return np.ma.MaskedArray(patches, mask)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, np.dtype(bool)], ids=str)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("per_channel", [False, True], ids=["over all", "per channel"])
def test_statistics_of_masked_patches_are_those_of_numpy_of_the_samples_that_are_left(
    dtype, share, per_channel
):
    patches = masked_patches(dtype, share)
    options = {"per_channel": per_channel, "bins": 7, "range": ENDS, "ignore_nodata": True}
    predictions = statistics(patches, ALL, **options).reshape(4, 3 if per_channel else 1, -1)
    for patch, of_patch in zip(patches, predictions, strict=True):
        parts = patch.transpose(2, 0, 1) if per_channel else [patch]
        for part, found in zip(parts, of_patch, strict=True):
            left = part.compressed().astype(float)
            np.testing.assert_array_equal(found, np.hstack([TRUTHS[name](left) for name in ALL]))
            assert found[1] == pytest.approx(np.ma.std(part.astype(float)), rel=1e-9)
        # A patch's own values do not depend on the patches beside it.
        alone = statistics(patch[np.newaxis], ALL, **options)
        assert alone.tobytes() == of_patch.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_statistics_of_masked_samples_are_those_of_nan_functions(dtype):
    patches = masked_patches(dtype, 0.3)
    holes = patches.astype(float).filled(np.nan)
    of = ["mean", "std", "min", "max", "p50"]
    found = statistics(patches, of, per_channel=True, ignore_nodata=True).reshape(4, 3, 5)
    truth = [np.nanmean, np.nanstd, np.nanmin, np.nanmax, np.nanmedian]
    np.testing.assert_allclose(found, np.stack([one(holes, axis=(1, 2)) for one in truth], -1), rtol=1e-12)


@pytest.mark.parametrize("per_channel", [False, True], ids=["over all", "per channel"])
def test_statistics_without_any_sample_are_nan_and_counts_are_0(per_channel):
    patches = masked_patches(np.uint8, 0.5)
    patches[1:3] = np.ma.masked
    options = {"per_channel": per_channel, "bins": 7, "range": ENDS, "ignore_nodata": True}
    predictions = statistics(patches, ALL, **options).reshape(4, -1, 16)
    assert np.isnan(predictions[1:3, :, :9]).all()
    assert not predictions[1:3, :, 9:].any()
    assert np.isfinite(predictions[[0, 3]]).all()
    assert np.isnan(statistics(patches, "mean", ignore_nodata=True)).tolist() == [False, True, True, False]


def test_masked_patches_with_no_masked_sample_have_the_statistics_of_plain_ones():
    patches = noise_patches(np.uint16)
    for mask in (np.ma.nomask, np.zeros(patches.shape, bool)):
        masked = statistics(np.ma.MaskedArray(patches, mask), ["mean", "std"], ignore_nodata=True)
        assert masked.tobytes() == statistics(patches, ["mean", "std"]).tobytes()


# their order and shape


@pytest.mark.parametrize("per_channel", [False, True], ids=["over all", "per channel"])
def test_values_stand_in_the_order_asked_for_channel_by_channel(per_channel):
    patches = noise_patches(np.uint8)
    of = ["p50", "histogram", "mean", "max", "std", "min", "p5"]
    predictions = statistics(patches, of, per_channel=per_channel, bins=7, range=ENDS)
    truth = expected(patches, of, per_channel).reshape(len(patches), -1)
    np.testing.assert_allclose(predictions, truth, rtol=1e-12)


@pytest.mark.parametrize("of", ["mean", "p50"])
def test_one_value_is_a_number_and_a_channel_is_always_a_vector(of):
    patches = noise_patches(np.uint8, (4, 8, 8, 1))
    assert statistics(patches, of).shape == (4,)
    assert statistics(patches, [of]).shape == (4,)
    assert statistics(patches, of, per_channel=True).shape == (4, 1)


def test_mean_is_the_default():
    patches = noise_patches(np.uint8)
    by_name = load_predictor({"kind": "mean"})
    assert by_name.describe() == load_predictor({"kind": "statistics"}).describe()
    np.testing.assert_array_equal(by_name.predict(patches), numpy_means(patches))


def test_description_shows_the_statistics_and_the_bins():
    predictor = load_predictor(
        {"kind": "statistics", "of": ["mean", "histogram"], "bins": 4, "range": [0, 256]}
    )
    assert predictor.describe() == {
        "kind": "statistics",
        "of": ["mean", "histogram"],
        "per_channel": False,
        "bins": 4,
        "range": [0, 256],
    }
