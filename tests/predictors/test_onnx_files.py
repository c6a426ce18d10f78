import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quadrat.errors import ConfigError
from quadrat.predictors.onnx_files import external_data


def tensor(name, location=None):
    """Make a tensor that is stored in a file of its own, where there is a location."""
    made = numpy_helper.from_array(np.arange(3, dtype=np.float32), name)
    if location:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "12"}.items():
            made.external_data.add(key=key, value=value)
    return made


def graph(nodes, weights=()):
    wanted = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    return helper.make_graph(nodes, "graph", [], [wanted], list(weights))


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a model and files beside it, and returns the model's path."""

    def write(made, *beside, **model):
        for name in beside:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(bytes(12))
        path = tmp_path / "model.onnx"
        path.write_bytes(helper.make_model(made, **model).SerializeToString())
        return str(path)

    return write


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        external_data(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_model_that_holds_its_weights_has_no_external_data(save):
    made = graph([helper.make_node("Identity", ["w"], ["y"])], [tensor("w")])
    assert external_data(save(made)) == []


def test_each_file_of_weights_is_found_once(save, tmp_path):
    weights = [tensor("w", "b.bin"), tensor("v", "more/a.bin"), tensor("u", "b.bin"), tensor("t")]
    path = save(graph([helper.make_node("Sum", list("wvut"), ["y"])], weights), "b.bin", "more/a.bin")
    assert external_data(path) == [str(tmp_path / "b.bin"), str(tmp_path / "more/a.bin")]


def test_weights_of_constants_branches_and_functions_are_found(save, tmp_path):
    branch = graph([helper.make_node("Identity", ["w"], ["y"])], [tensor("w", "branch.bin")])
    constant = helper.make_node("Constant", [], ["c"], value=tensor("c", "constant.bin"))
    nodes = [constant, helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    inner = helper.make_node("Constant", [], ["z"], value=tensor("z", "function.bin"))
    function = helper.make_function("own", "Own", [], ["z"], [inner], [helper.make_opsetid("", 17)])
    names = ["branch.bin", "constant.bin", "function.bin"]
    path = save(graph(nodes), *names, functions=[function])
    assert external_data(path) == [str(tmp_path / name) for name in names]


def test_files_are_those_that_onnx_writes(tmp_path):
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.random((50, 50), np.float32), name) for name in "wv"]
    made = helper.make_model(graph([helper.make_node("Add", ["w", "v"], ["y"])], weights))
    options = {"save_as_external_data": True, "size_threshold": 0, "convert_attribute": True}
    onnx.save(made, tmp_path / "one.onnx", all_tensors_to_one_file=True, location="one.data", **options)
    assert external_data(str(tmp_path / "one.onnx")) == [str(tmp_path / "one.data")]


@pytest.mark.parametrize("location", ["../weights.bin", "/weights.bin", "a/../../weights.bin"])
def test_weights_outside_the_folder_of_the_model_are_refused(save, location):
    made = graph([helper.make_node("Identity", ["w"], ["y"])], [tensor("w", location)])
    assert f"keeps weights in {location}; move them into the model's folder" in refusal(save(made))


def test_missing_weights_are_refused_by_name(save, tmp_path):
    made = graph([helper.make_node("Identity", ["w"], ["y"])], [tensor("w", "weights.bin")])
    assert refusal(save(made)).startswith(
        f"{tmp_path}/weights.bin: no such file; the model keeps weights there"
    )


@pytest.mark.parametrize(
    "content", [b"", b"not a model, but some words", bytes(50), b"\xff" * 50], ids=range(4)
)
def test_file_that_is_no_onnx_model_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert refusal(str(path)) == (
        f"{path} is not an ONNX model, or only a part of one; name one (config.yaml: predictor: path)"
    )


def test_model_that_was_cut_short_is_refused(save):
    path = save(graph([helper.make_node("Identity", ["w"], ["y"])], [tensor("w")]))
    with open(path, "rb+") as file:
        file.truncate(40)
    assert "is not an ONNX model" in refusal(path)


@pytest.mark.parametrize("unknown", [b"\xf9\x01" + bytes(8), b"\xfd\x01" + bytes(4)], ids=["64", "32"])
def test_numbers_of_64_and_32_bits_are_passed_over(save, tmp_path, unknown):
    path = save(graph([helper.make_node("Identity", ["w"], ["y"])], [tensor("w", "w.bin")]), "w.bin")
    with open(path, "rb+") as file:
        content = unknown + file.read()  # field 31, which no model has yet
        file.seek(0)
        file.write(content)
    onnx.load(path, load_external_data=False)
    assert external_data(path) == [str(tmp_path / "w.bin")]
