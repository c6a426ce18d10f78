import sys

import numpy as np
import pytest

from quadrat.errors import PredictorError
from quadrat.predictors import load_predictor

INTEGERS = [np.dtype(code) for code in "bBhHiIlL"]
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def _own_sys_path(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def load(write_model):
    """Return a function from a user's source to its predictor."""

    def make(source, name="predict_patch", **configuration):
        return load_predictor({"kind": "python", "path": write_model(source), "name": name} | configuration)

    return make


# python: what takes what


def test_function_of_a_patch_is_called_with_each_patch(load):
    predictor = load("def predict_patch(patch):\n    return patch[0, 0, 0]\n")
    np.testing.assert_array_equal(predictor.predict(PIXELS), PIXELS[:, 0, 0, 0])


def test_function_of_a_batch_is_called_with_all_patches(load):
    predictor = load("def predict_batch(patches):\n    return patches[:, 0, 0, 0]\n", "predict_batch")
    np.testing.assert_array_equal(predictor.predict(PIXELS), PIXELS[:, 0, 0, 0])


def test_patch_of_one_channel_is_an_array_of_two_axes(load):
    predictor = load("def predict_patch(patch):\n    return list(patch.shape)\n")
    assert predictor.predict(PIXELS[..., :1]).tolist() == [[8, 8]] * 5
    assert predictor.predict(PIXELS).tolist() == [[8, 8, 3]] * 5


def test_batch_of_one_channel_keeps_its_four_axes(load):
    source = "def predict_batch(patches):\n    return [list(patches.shape)] * len(patches)\n"
    assert load(source, "predict_batch").predict(PIXELS[..., :1])[0].tolist() == [5, 8, 8, 1]


@pytest.mark.parametrize("method", ["predict_patch", "predict_batch"])
def test_class_is_made_once_with_its_options(load, method):
    source = f"""
import numpy as np

class Model:
    made = 0

    def __init__(self, gain):
        Model.made += 1
        self.gain = gain

    def {method}(self, pixels):
        axes = (-3, -2, -1)
        return pixels.max(axis=axes) * self.gain + Model.made / 10
"""
    predictor = load(source, "Model", options={"gain": 2.5})
    expected = PIXELS.max(axis=(1, 2, 3)) * 2.5 + 0.1
    for _ in range(2):
        np.testing.assert_array_equal(predictor.predict(PIXELS), expected)


def test_function_is_called_with_its_options(load):
    predictor = load(
        "def predict_patch(patch, gain):\n    return patch.max() * gain\n", options={"gain": 0.5}
    )
    np.testing.assert_array_equal(predictor.predict(PIXELS), PIXELS.max(axis=(1, 2, 3)) * 0.5)


def test_modules_beside_the_file_can_be_imported(load, write_model):
    write_model("GAIN = 3\n", "own_constants.py")
    predictor = load("import own_constants\ndef predict_patch(patch):\n    return own_constants.GAIN\n")
    assert predictor.predict(PIXELS).tolist() == [3] * 5


def test_module_beside_the_file_hides_no_library(load, write_model):
    write_model("raise ImportError('the wrong one')\n", "colorsys.py")
    sys.modules.pop("colorsys", None)
    load("import colorsys\ndef predict_patch(patch):\n    return 1\n")


# python: what comes back


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("np.float32(0.1)", np.full(5, 0.1, np.float32)),
        ("0.1", np.full(5, 0.1)),
        ("7", np.full(5, 7)),
        ("np.uint8(7)", np.full(5, 7, np.uint8)),
        ("True", np.full(5, True)),
        ("'cloud'", np.full(5, "cloud")),
        ("np.array([1, 2], np.float32)", np.full((5, 2), [1, 2], np.float32)),
        ("[1.5, 2.5, 3.5]", np.full((5, 3), [1.5, 2.5, 3.5])),
        ("np.eye(2, dtype=np.int16)", np.full((5, 2, 2), np.eye(2), np.int16)),
        ("('a', 'bb')", np.full((5, 2), ["a", "bb"])),
        ("np.array(['a', 'bb'], object)", np.full((5, 2), ["a", "bb"])),
        ("pd.Series([1.5, 2.5], dtype=object)", np.full((5, 2), [1.5, 2.5])),
    ],
)
def test_dtype_and_shape_of_predictions_are_kept(load, returned, expected):
    imports = "import numpy as np, pandas as pd"
    predictor = load(f"{imports}\ndef predict_patch(patch):\n    return {returned}\n")
    np.testing.assert_array_equal(predictor.predict(PIXELS), expected, strict=True)


@pytest.mark.parametrize("dtype", [*INTEGERS, np.dtype(np.float64), np.dtype(bool)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_numpy_mean_as_user_code_equals_the_built_in_mean(load, dtype, channels):
    patches = np.random.default_rng(2).integers(0, 2**7, (3, 33, 33, channels)).astype(dtype)
    user = load("import numpy as np\ndef predict_patch(patch):\n    return np.mean(patch)\n")
    assert user.predict(patches).tobytes() == load_predictor({"kind": "mean"}).predict(patches).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=["float16", "float32"])
def test_numpy_mean_in_float64_as_user_code_equals_the_built_in_mean(load, dtype):
    patches = np.random.default_rng(2).random((3, 33, 33, 3)).astype(dtype)
    mean = "np.mean(patch, dtype=np.float64)"
    user = load(f"import numpy as np\ndef predict_patch(patch):\n    return {mean}\n").predict(patches)
    assert user.tobytes() == load_predictor({"kind": "mean"}).predict(patches).tobytes()


# python: the size of a batch


@pytest.mark.parametrize(
    ("patch_bytes", "size"),
    [(512 * 512 * 3, 21), (512 * 512, 32), (1, 32), (512 * 512 * 4 * 200, 1)],
)
def test_batch_holds_16_mib_or_32_patches(load, patch_bytes, size):
    predictor = load("def predict_patch(patch):\n    return 1\n")
    assert predictor.batch_size(patch_bytes) == size


def test_batch_size_of_the_configuration_holds(load):
    assert load("def predict_patch(patch):\n    return 1\n", batch_size=5).batch_size(1 << 30) == 5


# python: what goes wrong


def test_missing_function_is_refused_by_name(load):
    with pytest.raises(PredictorError, match=r"my_model\.py has no predict_patch; define it or name another"):
        load("def predict(patch):\n    return 1\n")


def test_function_of_another_name_is_refused_with_the_names_that_hold(load):
    with pytest.raises(
        PredictorError, match=r"the function is called classify.* call it predict_patch or predict_batch"
    ):
        load("def classify(patch):\n    return 1\n", "classify")


@pytest.mark.parametrize(
    "body",
    ["pass", "\n    def predict_patch(self, p): return 1\n    def predict_batch(self, p): return 1"],
    ids=["neither", "both"],
)
def test_class_without_exactly_one_method_is_refused(load, body):
    with pytest.raises(
        PredictorError, match=r"class Model has [02] of the methods predict_patch and predict_batch"
    ):
        load(f"class Model:\n    {body}\n", "Model")


@pytest.mark.parametrize("name", ["missing.py", "model.txt", "missing.onnx"])
def test_missing_or_foreign_file_is_refused_by_name(tmp_path, name):
    with pytest.raises(PredictorError, match=name):
        load_predictor({"kind": "python", "path": str(tmp_path / name), "name": "predict_patch"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import no_such_library\n",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'",
        ),
        ("def predict_patch(:\n", "cannot be imported: SyntaxError"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_file_that_cannot_be_imported_is_refused_with_the_reason(load, source, message):
    with pytest.raises(PredictorError, match=message):
        load(source)


def test_class_that_cannot_be_made_is_refused_with_the_reason(load):
    source = "class Model:\n    def __init__(self): pass\n    def predict_patch(self, p): return 1\n"
    with pytest.raises(PredictorError, match=r"TypeError.*'gain'"):
        load(source, "Model", options={"gain": 1})


def test_exception_shows_which_patch_of_the_batch_it_was(load):
    predictor = load("def predict_patch(patch):\n    return 1 / (patch[0, 0, 0] != 77)\n")
    patches = np.zeros((5, 2, 2, 3), np.uint8)
    patches[3] = 77
    with np.errstate(all="raise"), pytest.raises(PredictorError) as caught:
        predictor.predict(patches)
    assert caught.value.patch == 3


def test_exception_of_a_batch_keeps_its_type_and_text_and_shows_its_line(load):
    predictor = load("def predict_batch(patches):\n    raise KeyError('weights')\n", "predict_batch")
    with pytest.raises(PredictorError, match=r"^KeyError: 'weights' \(my_model\.py, line 2\)$") as caught:
        predictor.predict(PIXELS)
    assert caught.value.patch is None
    assert isinstance(caught.value.__cause__, KeyError)


def test_predictions_of_different_shapes_are_refused(load):
    predictor = load("def predict_patch(patch):\n    return list(range(patch[0, 0, 0] % 3))\n")
    with pytest.raises(
        PredictorError, match=r"have several shapes, such as \(0,\) and \(1,\); return one shape"
    ):
        predictor.predict(np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(3, axis=3))


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        ("raise ValueError", "ValueError"),
        (r"raise ValueError('one\ntwo')", "ValueError: one two"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_exception_of_any_kind_is_one_line(load, raised, message):
    predictor = load(f"def predict_patch(patch):\n    {raised}\n")
    with pytest.raises(PredictorError) as caught:
        predictor.predict(PIXELS)
    assert str(caught.value) == f"{message} (my_model.py, line 2)"


def test_name_of_something_else_than_a_function_is_refused(load):
    with pytest.raises(PredictorError, match="predict_patch is a value of type int; name a function or a"):
        load("predict_patch = 3\n")


@pytest.mark.parametrize(
    "returned", ["patches[:-1, 0, 0, 0]", "0.5", "[]", "patches.mean()", "None", "{1: 2}"]
)
def test_wrong_number_of_predictions_is_refused(load, returned):
    predictor = load(f"def predict_batch(patches):\n    return {returned}\n", "predict_batch")
    with pytest.raises(PredictorError, match=r"for 5 patches; it must be (an array of shape )?\(5, \.\.\.\)"):
        predictor.predict(PIXELS)


def test_description_holds_the_name_and_the_options(load):
    predictor = load("def predict_patch(patch, gain):\n    return 1\n", options={"gain": 2})
    assert predictor.describe() == {"kind": "python", "name": "predict_patch", "options": {"gain": 2}}
