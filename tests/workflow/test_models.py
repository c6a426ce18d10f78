"""A model of the user's is run as a job, and is part of what results are named by."""

import csv

import pytest

from quadrat import predict_image
from studies import write_image, write_network


def expected(pixels, weight):
    return [
        pixels[y : y + 32, x : x + 32].mean(axis=(0, 1)).sum() * weight
        for y in (0, 32, 64)
        for x in (0, 32, 64, 96)
    ]


def test_images_are_predicted_again_when_the_weights_of_their_model_change(study):
    pixels = write_image(study.images / "a.tif", 1)
    model = {"kind": "onnx", "path": "network.onnx"}
    study.configure(predictor=model, retries=0)
    write_network(study.path / "network.onnx", [0.5] * 3)
    first = study.run()
    assert (first.code, first.predicted) == (0, 1), first.output
    assert study.dictionary["a.tif"] == pytest.approx(expected(pixels, 0.5), rel=1e-5)
    placed = model | {"path": study.path / "network.onnx"}
    table, result = predict_image(study.images / "a.tif", placed, patch_size=32), study.result("a.tif")
    assert table.schema == result.schema
    assert table.equals(result)
    whole = (study.path / "network.onnx").read_bytes()

    (study.path / "weights.data").unlink()  # onnx appends to it
    write_network(study.path / "network.onnx", [0.25] * 3)
    assert (study.path / "network.onnx").read_bytes() == whole
    second = study.run()
    assert (second.code, second.predicted) == (0, 1), second.output
    assert study.dictionary["a.tif"] == pytest.approx(expected(pixels, 0.25), rel=1e-5)


def test_gpu_that_is_asked_for_and_missing_is_the_failure_of_each_image(study):
    write_image(study.images / "a.tif", 1)
    study.configure(predictor={"kind": "onnx", "path": "network.onnx", "device": "cuda"}, retries=0)
    write_network(study.path / "network.onnx", [0.5] * 3)
    run = study.run()
    assert run.code == 1
    assert "gpu=1" in run.log
    with (study.results / "images.tsv").open(newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["message"].startswith("device cuda: onnxruntime")
