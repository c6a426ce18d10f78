import numpy as np
import pytest
from PIL import Image

from quadrat.errors import ImageError, PredictorError
from quadrat.predictors.model_input import InputAxes

PATCHES = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("axes", "layout"),
    [
        (("n", 3, 256, 256), "NCHW"),
        (("n", 256, 256, 6), "NHWC"),
        ((1, 3, None, None), "NCHW"),
        ((1, None, None, 3), "NHWC"),
        ((None, None, None, None), "NCHW"),
        ((None, None, 64, 64), "NCHW"),
        ((1, 4, 4, 4), "NCHW"),
    ],
)
def test_layout_is_found_from_the_shape(axes, layout):
    axes = tuple(length if isinstance(length, int) else None for length in axes)
    assert InputAxes.of(axes, None, None).layout == layout


def test_layout_of_the_configuration_holds(identity, predict):
    path = identity((None, None, None, None))
    np.testing.assert_array_equal(predict(PATCHES, path=path, layout="NHWC"), PATCHES.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "to_patch"), [(("n", 3, 8, 12), (0, 2, 3, 1)), (("n", 8, 12, 3), (0, 1, 2, 3))]
)
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint32, np.float64, bool], ids=lambda dtype: dtype.__name__
)
def test_model_is_given_the_patch_in_its_layout_and_type(identity, predict, shape, to_patch, dtype):
    patches = PATCHES.astype(dtype)
    given = predict(patches, path=identity(shape)).transpose(to_patch)
    np.testing.assert_array_equal(given, patches.astype(np.float32), strict=True)


def test_patches_that_overlap_in_memory_are_given_as_they_are(identity, predict):
    image = np.random.default_rng(1).integers(0, 256, (8, 40, 3), np.uint8)
    views = np.lib.stride_tricks.sliding_window_view(image, (8, 12), (0, 1))[0, ::4].transpose(0, 2, 3, 1)
    given = predict(views, path=identity()).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(given, [image[:, x : x + 12] for x in range(0, 29, 4)])


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize(
    ("configuration", "formula"),
    [
        ({"scale": 1 / 255}, lambda v: v / 255),
        ({"offset": -3}, lambda v: v - 3),
        ({"scale": [1, 2, 3], "offset": [4, 5, 6]}, lambda v: v * [1, 2, 3] + [4, 5, 6]),
        ({"normalize": {"mean": 128, "std": [1, 2, 4]}}, lambda v: (v - 128) / [1, 2, 4]),
        ({"scale": 1 / 255, "normalize": {"mean": MEAN, "std": STD}}, lambda v: (v / 255 - MEAN) / STD),
        ({"scale": 0.5, "offset": 1, "normalize": {"mean": 2, "std": 3}}, lambda v: (v * 0.5 + 1 - 2) / 3),
    ],
)
@pytest.mark.parametrize("shape", [("n", 3, 8, 12), ("n", 8, 12, 3)])
def test_samples_are_scaled_and_normalized_channel_by_channel(
    identity, predict, shape, configuration, formula
):
    given = predict(PATCHES, path=identity(shape), **configuration)
    given = given.transpose(0, 2, 3, 1) if shape[1] == 3 else given
    np.testing.assert_allclose(given, formula(PATCHES.astype(np.float64)), rtol=1e-5, atol=1e-5)


def test_scale_and_offset_of_the_file_are_used_where_they_are_asked_for(identity, predict, info):
    of = info(scales=(0.1, 0.2, 0.3), offsets=(1.0, 2.0, 3.0))
    given = predict(PATCHES, path=identity(), scale="file", offset="file", of=of).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(given, PATCHES * [0.1, 0.2, 0.3] + [1, 2, 3], rtol=1e-5)
    given = predict(PATCHES, path=identity(), scale="file", of=of).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(given, PATCHES * [0.1, 0.2, 0.3], rtol=1e-5)


def test_second_image_has_its_own_scale(identity, info):
    from quadrat.predictors import load_predictor

    predictor = load_predictor({"kind": "onnx", "path": identity(), "scale": "file"})
    for scale in (0.5, 4.0):
        predictor.check(info(scales=(scale,) * 3, offsets=(0.0,) * 3))
        np.testing.assert_array_equal(predictor.predict(PATCHES), PATCHES.transpose(0, 3, 1, 2) * scale)


def test_float16_model_is_given_float16(identity, predict):
    given = predict(PATCHES, path=identity(dtype="float16"), scale=1 / 3)
    expected = (PATCHES.transpose(0, 3, 1, 2) / 3).astype(np.float16)
    np.testing.assert_allclose(given, expected.astype(np.float32), rtol=2e-3)


def test_integer_model_is_given_integers(identity, predict):
    given = predict(PATCHES, path=identity(dtype="uint8"))
    np.testing.assert_array_equal(given, PATCHES.transpose(0, 3, 1, 2), strict=True)


# the model's own size


@pytest.mark.parametrize(
    "configuration", [{"shape": ("n", 3, 4, 6)}, {"shape": ("n", 3, None, None), "input_size": 4}]
)
def test_patch_is_resized_to_the_models_size(identity, predict, configuration):
    path = identity(configuration.pop("shape"))
    given = predict(PATCHES, path=path, resize="bilinear", **configuration)
    height, width = given.shape[2:]
    expected = [
        [
            np.asarray(
                Image.fromarray(channel.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
            )
            for channel in patch.transpose(2, 0, 1)
        ]
        for patch in PATCHES
    ]
    assert (height, width) == ((4, 4) if configuration else (4, 6))
    np.testing.assert_allclose(given, expected, atol=1e-3)


def test_integer_model_is_given_the_nearest_integers_of_a_resized_patch(identity, predict):
    given = predict(PATCHES, path=identity(("n", 3, 4, 6), "uint8"), resize="area")
    areas = PATCHES.reshape(3, 4, 2, 6, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(given, np.rint(areas).astype(np.uint8), strict=True)


@pytest.mark.parametrize("shape", [("n", 3, 4, 4), ("n", 4, 4, 3), (1, 3, 4, 4), (4, 3, 4, 4)])
def test_split_patch_is_the_mean_over_all_of_its_blocks(identity, predict, shape):
    means = predict(PATCHES, path=identity(shape), split=True, reduce="mean")
    np.testing.assert_allclose(means, PATCHES.mean(axis=(1, 2)), rtol=1e-6)


def test_blocks_of_a_split_patch_tile_it_in_row_major_order(identity, info):
    from quadrat.predictors.model_input import ModelInput
    from quadrat.predictors.session import ModelShape

    contract = ModelInput(ModelShape((None, 3, 4, 4), np.dtype(np.float32)), {"split": True})
    contract.check(info())
    blocks = np.empty((18, 3, 4, 4), np.float32)
    contract.fill(blocks, PATCHES)
    expected = [
        patch[y : y + 4, x : x + 4].transpose(2, 0, 1) for patch in PATCHES for y in (0, 4) for x in (0, 4, 8)
    ]
    np.testing.assert_array_equal(blocks, expected)


# what goes wrong


def refusal(error, predict, patches=PATCHES, **configuration):
    with pytest.raises(error) as caught:
        predict(patches, **configuration)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_image_of_other_channels_is_refused_with_what_the_model_takes(identity, predict):
    line = refusal(ImageError, predict, PATCHES[..., :1], path=identity())
    assert line == "the model takes 3 channels, but 1 of the image are read"


def test_image_of_a_type_that_the_model_cannot_hold_is_refused(identity, predict):
    line = refusal(ImageError, predict, PATCHES.astype(np.uint16), path=identity(dtype="uint8"))
    assert line == "the model takes uint8, but the image is uint16"


@pytest.mark.parametrize("key", ["scale", "offset"])
def test_image_without_scale_is_refused_where_the_files_is_wanted(identity, predict, key):
    line = refusal(ImageError, predict, path=identity(), **{key: "file"})
    assert line == "its file contains no scale and offset"


def test_list_of_another_length_than_the_channels_is_refused(identity, predict):
    line = refusal(ImageError, predict, path=identity(), scale=[1, 2])
    assert line == "scale has 2 values, but 3 channels of the image are read"


def test_patch_of_another_size_is_refused_with_the_ways_out(identity, predict):
    line = refusal(PredictorError, predict, path=identity(("n", 3, 4, 4)))
    assert line.startswith(
        "the model takes 4 x 4 px, but a patch is 8 x 12 px; split: true cuts it, resize: area"
    )


def test_patch_that_does_not_divide_into_blocks_is_refused(identity, predict):
    line = refusal(PredictorError, predict, path=identity(("n", 3, 5, 5)), split=True, reduce="mean")
    assert line.startswith("a patch of 8 x 12 px cannot be split into tiles of 5 x 5 px; change")


def test_scale_of_a_model_that_takes_integers_is_refused(identity, predict):
    line = refusal(PredictorError, predict, path=identity(dtype="uint8"), scale=2)
    assert line.startswith("the model takes uint8, but scale, offset and normalize need a model of floats")


@pytest.mark.parametrize("key", [{"split": True, "reduce": "mean"}, {"resize": "area"}])
def test_split_or_resize_without_a_size_is_refused(identity, predict, key):
    line = refusal(PredictorError, predict, path=identity(), **key)
    assert line.endswith("the model takes any size; set input_size (config.yaml: predictor: input_size)")


def test_input_size_that_the_model_does_not_take_is_refused(identity, predict):
    line = refusal(PredictorError, predict, path=identity(("n", 3, 4, 4)), input_size=8)
    assert line.startswith("input_size 8: the model takes 4 x 4 px")
