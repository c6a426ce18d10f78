import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from quadrat.errors import PredictorError
from quadrat.predictors.onnx import OnnxSession

BATCH = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)


@pytest.fixture
def two_outputs(write_onnx):
    nodes = [helper.make_node("Neg", ["x"], ["negative"]), helper.make_node("Abs", ["x"], ["positive"])]
    return write_onnx(
        nodes, ["n", 3, "h", "w"], [(name, TensorProto.FLOAT, 4) for name in ("negative", "positive")]
    )


@pytest.mark.parametrize(("output", "sign"), [("negative", -1), (1, -1), ("positive", 1), (2, 1)])
def test_output_is_chosen_by_name_or_number(two_outputs, output, sign):
    np.testing.assert_array_equal(OnnxSession(two_outputs, output).run(BATCH), sign * BATCH)


@pytest.mark.parametrize(
    ("output", "message"),
    [(None, "no output is chosen"), ("logits", "the model has no output logits"), (3, "3")],
)
def test_output_that_is_not_there_is_refused_with_those_that_are(two_outputs, output, message):
    with pytest.raises(PredictorError, match=rf"{message}; choose one of negative, positive \(config\.yaml"):
        OnnxSession(two_outputs, output)


def test_shape_and_type_are_those_of_the_model(write_onnx):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = write_onnx(nodes, ["n", 3, 64, None], [("y", TensorProto.FLOAT16, 4)], dtype="float16")
    session = OnnxSession(path)
    assert session.shape.axes == (None, 3, 64, None)
    assert session.shape.dtype == np.float16
    assert session.device == "cpu"


@pytest.mark.parametrize("to", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_precision_is_given_as_float32(write_onnx, to):
    path = write_onnx([helper.make_node("Cast", ["x"], ["y"], to=to)], ["n", 3, 4, 5], [("y", to, 4)])
    given = OnnxSession(path).run(BATCH)
    dtype = helper.tensor_dtype_to_np_dtype(to)
    np.testing.assert_array_equal(given, BATCH.astype(dtype).astype(np.float32), strict=True)


def test_scene_of_another_shape_is_refused_with_the_models_words(write_onnx):
    path = write_onnx(
        [helper.make_node("Identity", ["x"], ["y"])], ["n", 3, 64, 64], [("y", TensorProto.FLOAT, 4)]
    )
    with pytest.raises(
        PredictorError, match=r"^the model failed; ONNX Runtime reports: Got invalid dimensions"
    ):
        OnnxSession(path).run(BATCH)


def test_file_that_is_no_model_is_refused_by_name(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(
        PredictorError, match=r"model\.onnx: cannot be loaded; ONNX Runtime reports: Protobuf parsing failed"
    ):
        OnnxSession(str(path))


def test_model_that_outputs_a_sequence_is_refused(write_onnx):
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["several"])]
    path = write_onnx(nodes, ["n", 3, None, None], [("several", TensorProto.FLOAT, 4)])
    model = onnx.load(path)
    of_sequence = helper.make_tensor_sequence_value_info("several", TensorProto.FLOAT, None)
    model.graph.output[0].CopyFrom(of_sequence)
    onnx.save(model, path)
    with pytest.raises(PredictorError, match=r"^output several of the model is a sequence of arrays; choose"):
        OnnxSession(path).run(BATCH)


def test_labels_that_a_model_outputs_are_text(write_onnx):
    nodes = [helper.make_node("Cast", ["x"], ["label"], to=TensorProto.STRING)]
    path = write_onnx(nodes, ["n", 3, None, None], [("label", TensorProto.STRING, 4)])
    predictions = OnnxSession(path).run(np.full((2, 3, 1, 1), 7, np.float32))
    np.testing.assert_array_equal(predictions, np.full((2, 3, 1, 1), "7"), strict=True)


def test_model_of_another_version_is_refused_without_places_in_the_source(identity):
    path = identity()
    model = onnx.load(path)
    model.ir_version = 99
    onnx.save(model, path)
    with pytest.raises(PredictorError, match=r"reports: Unsupported model IR version: 99"):
        OnnxSession(path)


def test_model_that_takes_no_image_is_refused_with_what_it_takes(tmp_path):
    for shapes in ([["n", 7]], [["n", 3, 4, 4], ["n", 2]]):
        inputs = [
            helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)
        ]
        nodes = [helper.make_node("Identity", ["x0"], ["y"])]
        graph = helper.make_graph(
            nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(PredictorError, match=r"takes x0 \(n, .*must take one array \(n, channel"):
            OnnxSession(str(tmp_path / "m.onnx"))


def test_missing_cuda_is_refused_only_where_it_is_asked_for_by_name(two_outputs, monkeypatch):
    runtime = sys.modules["onnxruntime"]
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert OnnxSession(two_outputs, 1, "auto").device == "cpu"
    with pytest.raises(
        PredictorError, match=r"device cuda: onnxruntime .* is built without CUDA; pip install"
    ):
        OnnxSession(two_outputs, 1, "cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_does_not_start_is_refused_only_where_it_is_asked_for_by_name(two_outputs, monkeypatch):
    # As onnxruntime-gpu tells on a machine whose driver does not work: its sessions then run on the CPU.
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(sys.modules["onnxruntime"], "get_available_providers", lambda: providers)
    assert OnnxSession(two_outputs, 1, "auto").device == "cpu"
    with pytest.raises(PredictorError, match=r"^device cuda: CUDA does not start here; see the log"):
        OnnxSession(two_outputs, 1, "cuda")
