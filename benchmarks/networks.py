"""A small network, and ways to predict each patch of an image by it: quadrat's, its limits, and two loops.

``python benchmarks/networks.py NETWORK.onnx`` writes the network, which lies beside the images. As peers do,
each way takes a path and a number of threads, gives a prediction a patch in row-major order, or nothing, and
imports only what it needs.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from layouts import PATCH

NETWORK = "network.onnx"
CHANNELS = (3, 16, 32, 64)
# Of a batch of the careful loop: larger ones took more memory and no less time.
BATCH = 4
ROWS_AHEAD = 2


def write_network(path: Path) -> None:
    """Write a regression network: three convolutions of stride 2, and the mean over the patch."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    rng, nodes, weights, before = np.random.default_rng(1), [], [], "pixels"
    for layer, (inputs, outputs) in enumerate(pairwise(CHANNELS)):
        kernel = rng.normal(0, (9 * inputs) ** -0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"kernel{layer}"))
        nodes.append(
            helper.make_node(
                "Conv", [before, f"kernel{layer}"], [f"conv{layer}"], strides=[2, 2], pads=[1, 1, 1, 1]
            )
        )
        nodes.append(helper.make_node("Relu", [f"conv{layer}"], [f"relu{layer}"]))
        before = f"relu{layer}"
    nodes.append(helper.make_node("ReduceMean", [before], ["prediction"], axes=[1, 2, 3], keepdims=0))
    floats = onnx.TensorProto.FLOAT
    taken = helper.make_tensor_value_info("pixels", floats, ["n", CHANNELS[0], PATCH, PATCH])
    given = helper.make_tensor_value_info("prediction", floats, ["n"])
    graph = helper.make_graph(nodes, "network", [taken], [given], weights)
    opset = [helper.make_opsetid("", 17)]
    unfinished = path.with_stem("unfinished")
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), unfinished)
    os.replace(unfinished, path)


def network_job(path: str, threads: int) -> Iterator[float]:
    """Run quadrat's whole job of an image: hash it, stream it, predict its patches, store the result."""
    from own import predict_stored

    return predict_stored(path, threads, {"kind": "onnx", "path": _network(path), "scale": 1 / 255})


def inference(path: str, threads: int) -> list[float]:
    """Run the network as often as the image has patches, on one that is ready: no predictor can do less."""
    import numpy as np
    import tifffile

    with tifffile.TiffFile(path) as tif:
        height, width = tif.pages.first.shape[:2]
    patch = np.random.default_rng(0).random((1, CHANNELS[0], PATCH, PATCH), np.float32)
    session = _session(path, 1)
    calls = (height // PATCH) * (width // PATCH)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda _: session.run(None, {"pixels": patch}), range(calls)):
            pass
    return []


def plain_network_loop(path: str, threads: int) -> list[float]:
    """Load the image with Pillow, and run the network patch by patch: what most would write first."""
    import numpy as np
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as image:
        pixels = np.asarray(image)
    session = _session(path, threads)
    predictions = []
    for y in range(0, pixels.shape[0] - PATCH + 1, PATCH):
        for x in range(0, pixels.shape[1] - PATCH + 1, PATCH):
            patch = pixels[y : y + PATCH, x : x + PATCH].transpose(2, 0, 1).astype(np.float32) / 255
            predictions.append(float(session.run(None, {"pixels": patch[np.newaxis]})[0][0]))
    return predictions


def careful_network_loop(path: str, threads: int) -> list[float]:
    """Read rows of patches with rasterio on a thread that is ahead, and run the network on batches."""
    import queue
    import threading

    import numpy as np

    rows: queue.Queue = queue.Queue(ROWS_AHEAD)
    threading.Thread(target=_read_rows, args=(path, threads, rows), daemon=True).start()
    session, predictions = _session(path, threads), []
    batch = np.empty((BATCH, CHANNELS[0], PATCH, PATCH), np.float32)
    while (row := rows.get()) is not None:
        patches = [row[:, :, x : x + PATCH] for x in range(0, row.shape[2] - PATCH + 1, PATCH)]
        for start in range(0, len(patches), BATCH):
            some = patches[start : start + BATCH]
            for index, patch in enumerate(some):
                np.multiply(patch, np.float32(1 / 255), out=batch[index])
            predictions += session.run(None, {"pixels": batch[: len(some)]})[0].tolist()
    return predictions


def _read_rows(path: str, threads: int, rows) -> None:
    import warnings

    import rasterio
    from rasterio.windows import Window

    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    with rasterio.open(path, num_threads=threads) as dataset:
        for y in range(0, dataset.height - PATCH + 1, PATCH):
            rows.put(dataset.read(window=Window(0, y, dataset.width, PATCH)))
    rows.put(None)


def _session(path: str, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(_network(path), options, providers=["CPUExecutionProvider"])


def _network(path: str) -> str:
    return os.path.join(os.path.dirname(path), NETWORK)


if __name__ == "__main__":
    write_network(Path(sys.argv[1]))
