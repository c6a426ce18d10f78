import math

import numpy as np
import pytest

from quadrat.errors import PredictorError
from quadrat.predictors.model_output import ModelOutput

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 3, (4, 5)).astype(np.float32)
MAPS = RNG.normal(0, 3, (4, 5, 6, 7)).astype(np.float32)
NAMES = ["shadow", "water", "snow", "land", "cloud"]


def predictions(output, patches=4, layout="NCHW", **configuration):
    return ModelOutput(layout, configuration).predictions(output, patches)


def softmax(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


# shapes


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((4,), (4,)),
        ((4, 1), (4,)),
        ((4, 5), (4, 5)),
        ((4, 5, 1, 1), (4, 5)),
        ((4, 1, 1, 1), (4,)),
        ((4, 5, 6, 7),) * 2,
    ],
)
def test_output_is_kept_as_it_is_but_for_axes_of_length_1(shape, kept):
    output = RNG.normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(predictions(output), output.reshape(kept), strict=True)


def test_type_of_the_output_is_kept():
    output = np.arange(4, dtype=np.int64)
    np.testing.assert_array_equal(predictions(output), output, strict=True)


# activation


def test_softmax_is_over_the_classes():
    values = predictions(SCORES, activation="softmax")
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [softmax(scores) for scores in SCORES], rtol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_softmax_of_maps_is_over_the_classes_of_each_pixel(layout):
    output = MAPS if layout == "NCHW" else MAPS.transpose(0, 2, 3, 1)
    values = predictions(output, layout=layout, activation="softmax")
    assert values.shape == output.shape
    values = values if layout == "NCHW" else values.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(values[3, :, 2, 4], softmax(MAPS[3, :, 2, 4]), rtol=1e-5)
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-5)


def test_sigmoid_is_of_each_value():
    expected = [[sigmoid(score) for score in scores] for scores in SCORES]
    np.testing.assert_allclose(predictions(SCORES, activation="sigmoid"), expected, rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_activation_of_huge_values_does_not_overflow(activation):
    with np.errstate(over="raise", invalid="raise"):
        values = predictions(np.array([[-3e4, 3e4]], np.float32), 1, activation=activation)
    np.testing.assert_array_equal(values, [[0, 1]])


def test_softmax_of_a_single_class_is_refused():
    with pytest.raises(PredictorError, match="softmax of one class is 1 everywhere"):
        predictions(SCORES[:, :1], activation="softmax")


# maps


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_mean_of_maps_is_a_value_a_class(layout):
    output = MAPS if layout == "NCHW" else MAPS.transpose(0, 2, 3, 1)
    values = predictions(output, layout=layout, reduce="mean")
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, MAPS.astype(np.float64).mean(axis=(2, 3)), rtol=1e-5, atol=1e-6)


def test_max_of_maps_is_the_largest_value_of_a_class():
    np.testing.assert_array_equal(predictions(MAPS, reduce="max"), MAPS.max(axis=(2, 3)))


def test_fraction_of_maps_is_the_share_of_pixels_whose_class_it_is():
    expected = [np.bincount(one.reshape(5, -1).argmax(axis=0), minlength=5) / 42 for one in MAPS]
    np.testing.assert_allclose(predictions(MAPS, reduce="fraction"), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 1, 6, 7), (4, 6, 7)])
def test_fraction_of_a_map_of_one_class_is_the_share_of_pixels_above_a_half(shape):
    output = MAPS[:, 0].reshape(shape)
    expected = [sum(sigmoid(score) > 0.5 for score in one.ravel()) / 42 for one in output]
    np.testing.assert_allclose(
        predictions(output, activation="sigmoid", reduce="fraction"), expected, rtol=1e-6
    )


def test_fraction_of_a_map_of_class_numbers_has_a_share_for_each_label():
    output = RNG.integers(0, 4, (4, 6, 7))
    expected = [np.bincount(one.ravel(), minlength=5) / 42 for one in output]
    np.testing.assert_allclose(predictions(output, reduce="fraction", labels=NAMES), expected, rtol=1e-6)
    with pytest.raises(
        PredictorError, match="a map of class numbers; reduce: fraction needs one label per class"
    ):
        predictions(output, reduce="fraction")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
@pytest.mark.parametrize("number", [5, 100, -1])
def test_class_number_without_a_label_is_refused(dtype, number):
    if number < 0 and dtype is np.uint8:
        number = 255  # as ignored pixels are often written
    output = RNG.integers(0, 5, (4, 6, 7)).astype(dtype)
    output[2, 3, 4] = number
    expected = rf"outputs class number {number}, but the 5 labels name the numbers 0 to 4; .*: labels\)$"
    with pytest.raises(PredictorError, match=expected):
        predictions(output, reduce="fraction", labels=NAMES)


@pytest.mark.parametrize("classes", [1, 5])
def test_pixel_of_nan_is_of_no_class(classes):
    output = MAPS[:, :classes].copy()
    output[2, 0, 3, 4] = np.nan
    values = predictions(output, reduce="fraction").reshape(4, classes)
    assert np.isnan(values).all(axis=1).tolist() == [False, False, True, False]
    np.testing.assert_array_equal(
        values[[0, 1, 3]], predictions(MAPS[:, :classes], reduce="fraction").reshape(4, classes)[[0, 1, 3]]
    )


def test_fractions_of_a_patch_add_up_to_1():
    output = RNG.normal(size=(2, 3, 300, 300)).astype(np.float32)
    shares = predictions(output, 2, activation="softmax", reduce="mean")
    np.testing.assert_allclose(shares.sum(axis=1, dtype=np.float64), 1, atol=1e-6)


def test_blocks_of_a_patch_are_reduced_together():
    blocks = predictions(MAPS, 2, reduce="mean")
    np.testing.assert_allclose(blocks, MAPS.reshape(2, 2, 5, 6, 7).mean(axis=(1, 3, 4)), rtol=1e-4, atol=1e-6)
    scores = predictions(SCORES, 2, reduce="max")
    np.testing.assert_array_equal(scores, SCORES.reshape(2, 2, 5).max(axis=1))


# labels


def test_argmax_is_the_label_of_the_largest_value():
    labels = predictions(SCORES, argmax=True, labels=NAMES)
    assert labels.tolist() == [NAMES[list(scores).index(max(scores))] for scores in SCORES]


def test_argmax_without_labels_is_the_number_of_the_class():
    numbers = predictions(SCORES, argmax=True)
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [list(scores).index(max(scores)) for scores in SCORES]


def test_argmax_of_reduced_maps_is_the_class_of_the_patch():
    numbers = predictions(MAPS, argmax=True, reduce="mean")
    assert numbers.tolist() == MAPS.mean(axis=(2, 3)).argmax(axis=1).tolist()


def test_argmax_of_maps_that_are_not_reduced_is_refused():
    with pytest.raises(PredictorError, match=r"outputs \(6, 7, 5\) for a patch; reduce maps first"):
        predictions(MAPS, argmax=True)


def test_argmax_of_nan_is_refused():
    output = SCORES.copy()
    output[1, 3] = np.nan
    for labels in (None, NAMES):
        with pytest.raises(PredictorError, match="outputs NaN for a patch, so that no class is the largest"):
            predictions(output, argmax=True, labels=labels)


@pytest.mark.parametrize("configuration", [{}, {"reduce": "mean"}, {"argmax": True}])
def test_another_number_of_labels_than_classes_is_refused(configuration):
    output = MAPS if "reduce" in configuration else SCORES
    with pytest.raises(PredictorError, match="outputs 5 classes but 2 labels are given"):
        predictions(output, labels=["yes", "no"], **configuration)
