"""What is wrong with a file is reported in words about the file, not in those of Python or of a library."""

import pickle

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from corpus import RGB, truncated
from phrases import FORBIDDEN
from quadrat.errors import ImageError, PredictorError, QuadratError
from quadrat.images.open import open_image
from quadrat.predictors import load_predictor
from quadrat.predictors.files import files_of
from quadrat.results.writer import require_storable

VRT = (
    '<VRTDataset rasterXSize="80" rasterYSize="96"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    '<SourceFilename relativeToVRT="1">a.png</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
    "</VRTRasterBand></VRTDataset>"
)
OTHERS = {
    "empty": b"",
    "text": b"hello\n" * 50,
    "zeros": bytes(500),
    "page": b"<!DOCTYPE html><html></html>",
    "archive": b"PK\3\4" + bytes(50),
    "weights": b"\x02\0\0\0\0\0\0\0{}",
    "pickle": pickle.dumps({"weights": [1.5]}),
    "pickle_that_ends": pickle.dumps({"weights": [1.5]})[:10],
    "array": b"\x89HDF\r\n\x1a\n" + bytes(50),
    "pixels": b"\x93NUMPY\1\0" + bytes(50),
    "document": b"%PDF-1.4\n",
    "pointer": b"version https://git-lfs.github.com/spec/v1\n",
}


def broken_images(folder):
    """Yield the name and content of files that are cut, or no images.

    Files with flipped bits may end the process that decodes them; test_hostile.py reads them in jobs.
    """
    for kind in ("bmp", "gif", "webp"):
        path = folder / f"good.{kind}"
        Image.fromarray(RGB).save(path)
        for number, (_, content) in enumerate(truncated(path.read_bytes())):
            yield f"{number}.{kind}", content
    vrts = {
        "band": VRT.replace("Band>1", "Band>9"),
        "type": VRT.replace("Byte", "Bite"),
        "missing": VRT.replace("a.png", "b.png"),
        "itself": VRT.replace("a.png", "itself.vrt"),
        "size": VRT.replace("80", "0"),
        "half": VRT[:150],
        "source": VRT.replace("a.png", "text.png"),
        "server": VRT.replace("a.png", "http://localhost/a.png"),
    }
    yield from ((f"{name}.vrt", content.encode()) for name, content in vrts.items())
    for kind in ("png", "vrt", "mrxs"):
        yield from ((f"{name}.{kind}", content) for name, content in OTHERS.items())


def test_message_of_a_broken_image_is_about_the_file(tmp_path):
    messages = {}
    Image.fromarray(RGB).save(tmp_path / "a.png")
    for name, content in broken_images(tmp_path):
        (tmp_path / name).write_bytes(content)
        try:
            with open_image(tmp_path / name, memory_mb=500) as image:
                image.reader()
                if image.info.height * image.info.width < 1e7:
                    image.read()
        except ImageError as error:
            messages[name] = f"{error} ({error.hint})"
    assert len(messages) > 60
    assert {name: one for name, one in messages.items() if FORBIDDEN.search(one) or "\n" in one} == {}


def model(path, inputs, nodes, outputs):
    """Write an ONNX model of float arrays; outputs are (name, type)."""
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def broken_models(folder):
    """Yield a name and the configuration of a predictor that does not work."""
    for kind, ending in (("onnx", "onnx"), ("torch", "pt"), ("torch", "safetensors")):
        for name, content in OTHERS.items():
            path = folder / f"{name}.{ending}"
            path.write_bytes(content)
            yield path.name, {"kind": kind, "path": str(path)}
        yield f"missing.{ending}", {"kind": kind, "path": str(folder / "missing")}
        yield f"folder.{ending}", {"kind": kind, "path": str(folder)}
    image, floats = {"x": ["n", 3, None, None]}, TensorProto.FLOAT
    same = [helper.make_node("Identity", ["x"], ["y"])]
    first = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[0, 1, 2, 3], keepdims=0)]
    graphs = {
        "axes": ({"x": ["n", 3]}, same, [("y", floats)]),
        "inputs": (image | {"z": [1]}, same, [("y", floats)]),
        "size": ({"x": ["n", 3, 24, 24]}, same, [("y", floats)]),
        "unknown": (image, [helper.make_node("Nonsense", ["x"], ["y"])], [("y", floats)]),
        "failing": (image, [helper.make_node("MatMul", ["x", "x"], ["y"])], [("y", floats)]),
        "outputs": (
            image,
            [*same, helper.make_node("Identity", ["x"], ["z"])],
            [("y", floats), ("z", floats)],
        ),
        "scalar": (image, first, [("y", floats)]),
    }
    for name, graph in graphs.items():
        model(folder / f"{name}_of.onnx", *graph)
        yield f"{name}_of.onnx", {"kind": "onnx", "path": str(folder / f"{name}_of.onnx")}
    returned = {
        "nothing": "None",
        "dict": "{'a': 1}",
        "set": "{1, 2}",
        "complex": "1j",
        "bytes": "b'ab'",
        "date": "np.datetime64('2026-01-01')",
        "huge": "2**80",
        "generator": "(one for one in [1])",
        "lengths": "[[1], [1, 2]]",
        "empty": "[]",
        "mixed": "[1.5, None]",
        "both": "np.array([1.5, 'a'], object)",
        "records": "np.zeros(1, 'f4,f4')",
        "precise": "np.longdouble(1)",
    }
    for name, value in returned.items():
        for function in ("predict_patch", "predict_batch"):
            path = folder / f"{name}_{function}.py"
            path.write_text(f"import numpy as np\ndef {function}(pixels):\n    return {value}\n")
            yield path.name, {"kind": "python", "path": str(path), "name": function}


def test_message_of_a_broken_model_is_about_the_model(tmp_path):
    patches = np.zeros((5, 32, 16, 3), np.uint8)
    messages = {}
    for name, configuration in broken_models(tmp_path):
        try:
            files_of(configuration)
            require_storable(load_predictor(configuration).predict(patches))
            messages[name] = "it works"
        except (QuadratError, PredictorError) as error:
            messages[name] = str(error).replace(str(tmp_path), "")
    is_wrong = {
        name: one == "it works" or FORBIDDEN.search(one) or "\n" in one for name, one in messages.items()
    }
    assert {name: one for name, one in messages.items() if is_wrong[name]} == {}
    assert len(messages) > 60
