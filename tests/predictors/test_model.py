import threading
import time

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from comparison import open_reader
from quadrat.errors import PredictorError
from quadrat.grid import PatchGrid
from quadrat.patches.stream import stream_patches
from quadrat.predictors import load_predictor
from quadrat.predictors.model import ModelPredictor
from quadrat.predictors.session import ModelShape

PATCHES = np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), np.uint8)


def plain_loop(path, patches):
    session = onnxruntime.InferenceSession(path)
    return [
        session.run(None, {"x": patch.transpose(2, 0, 1)[np.newaxis].astype(np.float32)})[0][0]
        for patch in patches
    ]


def test_predictions_are_those_of_a_plain_loop(network, predict):
    scores = predict(PATCHES, path=network)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, plain_loop(network, PATCHES), rtol=1e-5, atol=1e-4)


def test_size_of_a_batch_changes_predictions_by_less_than_1e_5(network, predict):
    scores = [predict(PATCHES, path=network, scale=1 / 255, batch_size=size) for size in (1, 3, 20, 64)]
    for others in scores[1:]:
        np.testing.assert_allclose(others, scores[0], atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, None])
def test_threads_do_not_change_a_bit(network, predict, size):
    configuration = {"path": network} | ({"batch_size": size} if size else {})
    bits = {predict(PATCHES, threads, **configuration).tobytes() for threads in (1, 2, 3, 5)}
    assert len(bits) == 1


def test_prediction_of_a_patch_does_not_depend_on_its_neighbours(network, predict):
    changed = PATCHES.copy()
    changed[np.arange(20) != 7] = 0
    for size in (1, 4):
        scores = [predict(patches, path=network, batch_size=size)[7] for patches in (PATCHES, changed)]
        np.testing.assert_array_equal(*scores)


def test_patches_are_not_written_to(network, predict):
    patches = PATCHES.copy()
    patches.flags.writeable = False
    predict(patches, path=network, scale=2)
    np.testing.assert_array_equal(patches, PATCHES)


def test_patches_of_several_sizes_follow_each_other(network, info):
    predictor = load_predictor({"kind": "onnx", "path": network}, 2)
    predictor.check(info())
    for patches in (PATCHES, PATCHES[:3, :20], PATCHES[:, :, :9], PATCHES):
        np.testing.assert_allclose(
            predictor.predict(patches), plain_loop(network, patches), rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize("size", [1, 3, 32])
def test_model_of_a_fixed_batch_is_always_given_as_many(write_onnx, predict, size):
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)]
    path = write_onnx(nodes, [size, 3, 40, 40], [("y", TensorProto.FLOAT, 1)])
    np.testing.assert_allclose(predict(PATCHES, path=path), PATCHES.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_batch_size_that_a_model_does_not_take_is_refused(write_onnx, predict):
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)]
    path = write_onnx(nodes, [4, 3, 40, 40], [("y", TensorProto.FLOAT, 1)])
    with pytest.raises(PredictorError, match=r"^batch_size 3: the model takes 4 at once \(config\.yaml: "):
        predict(PATCHES, path=path, batch_size=3)


@pytest.fixture
def single_only(write_onnx):
    """Return the path of a model that declares any batch, and gives one vector whatever it is given."""
    shape = numpy_helper.from_array(np.array([1, 3 * 40 * 40], np.int64))
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["y"], axes=[1], keepdims=0),
    ]
    return write_onnx(nodes, ["n", 3, 40, 40], [("y", TensorProto.FLOAT, 1)])


@pytest.fixture
def silent_single_only(write_onnx):
    """Return the path of one that does not fail on a batch, but gives a single prediction for all of it."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[0, 1, 2, 3], keepdims=1)]
    return write_onnx(nodes, ["n", 3, 40, 40], [("y", TensorProto.FLOAT, 4)])


@pytest.mark.parametrize("model", ["single_only", "silent_single_only"])
def test_model_that_fails_on_a_batch_is_called_patch_by_patch_with_a_warning(model, request, info, capfd):
    predictor = load_predictor({"kind": "onnx", "path": request.getfixturevalue(model), "batch_size": 8}, 2)
    predictor.check(info())
    for patches in (PATCHES, PATCHES[:5]):
        np.testing.assert_allclose(predictor.predict(patches), patches.mean(axis=(1, 2, 3)), rtol=1e-5)
    warning = "declares batches of any size but fails on them, so it is called tile by tile"
    assert capfd.readouterr().err.count(warning) == 1
    assert warning in predictor.describe()["note"]


def test_model_that_takes_batches_has_no_note(network, info):
    predictor = load_predictor({"kind": "onnx", "path": network, "batch_size": 8})
    predictor.check(info())
    predictor.predict(PATCHES)
    assert "note" not in predictor.describe()


def test_model_that_fails_on_everything_is_refused_with_its_own_words(write_onnx, predict):
    weights = {"matrix": np.zeros((7, 2), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "matrix"], ["y"])]
    path = write_onnx(nodes, ["n", 3, None, None], [("y", TensorProto.FLOAT, 4)], weights=weights)
    for size in (1, 4):
        with pytest.raises(
            PredictorError, match=r"^the model failed; ONNX Runtime reports: MatMul node\. .*: MatMul dim"
        ) as caught:
            predict(PATCHES, path=path, batch_size=size)
        assert "\n" not in str(caught.value)


def test_error_shows_which_patch_of_the_batch_it_was(write_onnx, predict):
    # The first pixel of a patch is an index into an array of one element.
    nodes = [
        helper.make_node("Constant", [], ["first"], value=numpy_helper.from_array(np.array([0], np.int64))),
        helper.make_node("Constant", [], ["line"], value=numpy_helper.from_array(np.array([-1], np.int64))),
        helper.make_node("Reshape", ["x", "line"], ["flat"]),
        helper.make_node("Gather", ["flat", "first"], ["pixel"]),
        helper.make_node("Cast", ["pixel"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["first", "index"], ["y"]),
    ]
    path = write_onnx(nodes, [1, 3, 40, 40], [("y", TensorProto.INT64, 1)])
    patches = np.zeros_like(PATCHES)
    assert predict(patches, path=path).tolist() == [0] * 20
    patches[7] = 5
    with pytest.raises(PredictorError, match=r"indices element out of data bounds, idx=5") as caught:
        predict(patches, path=path)
    assert caught.value.patch == 7


def test_description_shows_the_contract_device_and_library_and_no_path(network):
    predictor = load_predictor({"kind": "onnx", "path": network, "scale": 0.5, "labels": ["a", "b"]})
    assert predictor.describe() == {
        "kind": "onnx",
        "scale": 0.5,
        "labels": ["a", "b"],
        "device": "cpu",
        "software": {"onnxruntime": onnxruntime.__version__},
    }


class CountingSession:
    """Counts the calls that are made at once, and the blocks of each."""

    shape = ModelShape((None, None, None, None), np.dtype(np.float32))
    device, software = "cpu", {}

    def __init__(self):
        self.sizes, self.threads = [], set()

    def run(self, batch):
        self.sizes.append(len(batch))
        self.threads.add(threading.get_ident())
        return batch.mean(axis=(1, 2, 3))


@pytest.mark.parametrize(
    ("size", "calls"), [(512, [1, 1, 1, 1]), (256, [1, 1, 1, 1]), (200, [2, 2]), (32, [4])]
)
def test_call_holds_as_many_patches_as_1_mib(info, size, calls):
    session = CountingSession()
    predictor = ModelPredictor(session, {"kind": "onnx"}, 1)
    predictor.check(info())
    predictor.predict(np.zeros((4, size, size, 3), np.uint8))
    assert session.sizes[-len(calls) :] == calls


def test_model_is_called_on_no_more_threads_than_the_job_has(info):
    for threads in (1, 3):
        session = CountingSession()
        predictor = ModelPredictor(session, {"kind": "onnx"}, threads)
        predictor.check(info())
        predictor.predict(np.zeros((32, 256, 256, 3), np.uint8))
        assert len(session.threads) <= threads


@pytest.mark.parametrize("threads", [1, 2])
def test_next_patches_are_decoded_while_the_model_runs(write_tiff, network, info, threads):
    image = write_tiff("a.tif", height=640, width=320, tile=(64, 64), compression="zlib")
    with open_reader(image.path) as reader:
        runs = stream_patches(reader, PatchGrid(640, 320, 64, 64), threads)
        next(runs)
        needed, deadline = 320 // 64, time.monotonic() + 20
        # Nobody asks for a second row of patches, as nobody does while the model works on the first.
        while reader.segments_decoded <= needed and time.monotonic() < deadline:
            time.sleep(0.01)
        assert reader.segments_decoded > needed
