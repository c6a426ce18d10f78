"""The public library against numpy and against the results of the workflow's jobs."""

import doctest
import gc
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import pyvips
import tifffile
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import quadrat
from documents import blocks, cell_values
from quadrat import PatchGrid, QuadratError, iter_patches, library, predict_image
from quadrat.files.hashing import hash_file
from quadrat.images import open as images_open
from quadrat.jobs import predict as jobs
from quadrat.results.merge import merge_predictions

PROJECT = Path(__file__).resolve().parents[1]
PAGE = "docs/library.md"
SIZE = 32
SMALL = {"patch_size": SIZE}


@pytest.fixture
def by_job(make_task):
    """Return a function that predicts an image as the workflow's job does, and returns its result."""

    def run(path, predictor, **changes):
        task = make_task(path, predictor=predictor, **changes)
        jobs.predict_image(task)
        return pq.ParquetFile(task.output).read()

    return run


def assert_same(table, result):
    assert table.schema == result.schema
    assert table.equals(result)
    assert len(result)


# predict_image


@pytest.fixture
def write_kind(tmp_path, write_model):
    """Return a function from the name of a case to the configuration of a predictor."""

    def write(case):
        if case == "statistics":
            ends = {"bins": 4, "range": [0, 256]}
            return {"kind": "statistics", "of": ["mean", "p5", "histogram"], "per_channel": True} | ends
        if case in ("onnx", "torch"):
            matrix = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
            path = tmp_path / f"model.{case}"
            globals()[f"write_{case}"](path, matrix)
            return {"kind": case, "path": str(path), "argmax": True, "labels": ["land", "water"]}
        write_model("def scaled(value):\n    return value / 2\n", "helping.py")
        called = f"def {case}(patches, gain):\n    return gain * scaled({SOURCES[case]})\n"
        path = write_model(f"from helping import scaled\n{called}")
        return {"kind": "python", "path": path, "name": case, "options": {"gain": 3}}

    return write


SOURCES = {"predict_patch": "patches.max()", "predict_batch": "patches.max(axis=(1, 2))"}


def write_onnx(path, matrix):
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["scores"]),
    ]
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, None, None])
    given = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "model", [taken], [given], [numpy_helper.from_array(matrix, "matrix")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_torch(path, matrix):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

    class Scores(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3)) @ torch.from_numpy(matrix)

    torch.jit.trace(Scores(), torch.zeros(1, 3, SIZE, SIZE)).save(path)


@pytest.mark.parametrize("case", ["statistics", "predict_patch", "predict_batch", "onnx", "torch"])
def test_table_is_the_result_of_the_job_for_each_kind_of_predictor(case, write_kind, write_tiff, by_job):
    path, predictor = write_tiff("a.tif").path, write_kind(case)
    table = predict_image(path, predictor, **SMALL, stride=24, edge="shift")
    assert_same(table, by_job(path, predictor, stride=24, edge="shift"))
    assert table.num_rows == len(PatchGrid(100, 140, SIZE, 24, "shift"))


def test_mean_is_the_default(write_tiff):
    image = write_tiff("a.tif")
    means = [np.mean(image.pixels[y : y + SIZE, x : x + SIZE]) for y in (0, 32, 64) for x in (0, 32, 64, 96)]
    assert predict_image(image.path, **SMALL)["prediction"].to_pylist() == means


def test_function_predicts_as_the_same_function_in_a_file(write_tiff, write_model, by_job):
    path = write_tiff("a.tif").path
    file = write_model("def predict_patch(patch):\n    return patch.max(axis=(0, 1))\n")
    result = by_job(path, {"kind": "python", "path": file, "name": "predict_patch"})

    def brightest(patch):
        return patch.max(axis=(0, 1))

    def predict_batch(patches):
        return patches.max(axis=(1, 2))

    class Model:
        def predict_batch(self, patches):
            return predict_batch(patches)

    for function in (brightest, predict_batch, Model, Model().predict_batch):
        assert_same(predict_image(path, function, **SMALL), result)


def test_skipped_patches_have_their_reason_as_in_the_job(images, by_job):
    pixels = np.random.default_rng(0).integers(1, 200, (96, 96), np.uint8)
    pixels[:32, :64], pixels[64:, 64:] = 0, 90
    tifffile.imwrite(images / "a.tif", pixels, extratags=[(42113, "s", 2, "0", True)])
    regions = images / "regions"
    regions.mkdir()
    square = [[[0, 0], [96, 0], [96, 60], [0, 60], [0, 0]]]
    (regions / "a.tif.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": square}))
    keys = {"skip": {"nodata": 1.0, "background": {"std_below": 1}}}

    table = predict_image(images / "a.tif", **SMALL, **keys, regions=regions)
    file = str(regions / "a.tif.geojson")
    drawn = {"path": file, "hash": hash_file(file), "in_pixels": True}
    assert_same(table, by_job(images / "a.tif", {"kind": "mean"}, **keys, regions=drawn))
    assert table["skipped"].to_pylist() == ["nodata", "nodata", None, None, None, None, *["outside"] * 3]
    assert predict_image(images / "a.tif", **SMALL, **keys)["skipped"].to_pylist()[-1] == "background"
    named = predict_image(images / "a.tif", **SMALL, regions={"path": regions, "classes": ["Tumor"]})
    assert named["skipped"].to_pylist() == ["outside"] * 9


def test_metadata_describe_the_result(write_tiff):
    table = predict_image(write_tiff("a.tif").path, lambda patch: patch.max(axis=(0, 1)), **SMALL)
    described = json.loads(table.schema.metadata[b"quadrat"])
    assert described["prediction_shape"] == [3]
    assert described["grid"]["rows"] == 3
    assert described["image"]["width"] == 140


def test_each_model_gets_the_module_beside_its_own_file(tmp_path, write_tiff):
    path, before = write_tiff("a.tif").path, [*sys.path]
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "weights.py").write_text(f"VALUE = {value}\n")
        (folder / "my_model.py").write_text(
            "def predict_patch(patch):\n    from weights import VALUE\n    return VALUE\n"
        )
        model = {"kind": "python", "path": folder / "my_model.py", "name": "predict_patch"}
        assert set(predict_image(path, model, **SMALL)["prediction"].to_pylist()) == {value}
    assert sys.path == before


def test_threads_of_torch_are_those_of_before(write_kind, write_tiff):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        predict_image(write_tiff("a.tif").path, write_kind("torch"), **SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def switches():
    umask = os.umask(0)
    os.umask(umask)
    return umask, pyvips.cache_get_max(), [*sys.path], dict(os.environ), [*warnings.filters]


def test_switches_of_the_process_are_those_of_before(images, noise, write_kind):
    Image.fromarray(noise(40, 40)).save(images / "a.png")
    before = switches()
    assert before[1] > 0
    predict_image(images / "a.png", write_kind("predict_patch"), **SMALL)
    assert switches() == before


# iter_patches


@pytest.mark.parametrize("edge", ["drop", "pad", "partial", "shift"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16), "compression": "zlib"}], ids=["strips", "tiles"])
def test_kept_patches_are_the_slices_of_the_loaded_image(edge, options, write_tiff):
    image = write_tiff("a.tif", **options)
    padded = np.pad(image.pixels, [(0, SIZE), (0, SIZE), (0, 0)])
    grid = PatchGrid(100, 140, SIZE, 24, edge)
    patches = list(iter_patches(image.path, **SMALL, stride=24, edge=edge))
    assert [patch.window for patch in patches] == list(grid.windows())
    cells = [(patch.row, patch.col) for patch in patches]
    assert cells == [(row, col) for row in range(grid.rows) for col in range(grid.cols)]
    for patch in patches:
        y, x, height, width = patch.window
        np.testing.assert_array_equal(patch.pixels, padded[y : y + height, x : x + width])
        assert patch.pixels.base is None
        assert patch.pixels.flags.writeable


def test_patches_are_those_that_a_function_gets(write_tiff):
    path = write_tiff("a.tif").path
    for channels in (None, (3, 1), [2]):
        seen = []
        predict_image(path, lambda patch: seen.append(patch.copy()) or 0, **SMALL, channels=channels)  # noqa: B023
        patches = [patch.pixels for patch in iter_patches(path, **SMALL, channels=channels)]
        assert len(patches) == 12
        assert all(map(np.array_equal, patches, seen))
    assert patches[0].shape == (SIZE, SIZE)


def test_skipped_patches_are_left_out(images):
    pixels = np.random.default_rng(0).integers(1, 200, (64, 64), np.uint8)
    pixels[32:, :32] = 7
    Image.fromarray(pixels).save(images / "a.png")
    patches = list(iter_patches(images / "a.png", **SMALL, skip={"background": {"std_below": 1}}))
    assert [(patch.row, patch.col) for patch in patches] == [(0, 0), (0, 1), (1, 1)]
    np.testing.assert_array_equal(patches[2].pixels, pixels[32:, 32:])


def test_windows_are_in_pixels_of_the_level_that_is_read(images, noise):
    full, half = noise(128, 128), noise(64, 64, seed=1)
    with tifffile.TiffWriter(images / "a.tif") as file:
        file.write(full, subifds=1, tile=(16, 16))
        file.write(half, subfiletype=1, tile=(16, 16))
    patches = list(iter_patches(images / "a.tif", **SMALL, level=1))
    assert [tuple(patch.window)[:2] for patch in patches] == [(0, 0), (0, 32), (32, 0), (32, 32)]
    np.testing.assert_array_equal(patches[3].pixels, half[32:, 32:])
    table = predict_image(images / "a.tif", level=np.int64(1), **SMALL)
    assert table["y"].to_pylist() == [0, 0, 64, 64]


def test_larger_pixels_are_means_of_those_that_they_cover(images, noise):
    pixels = noise(64, 64).astype(np.float32)
    tifffile.imwrite(images / "a.tif", pixels, resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    (patch,) = iter_patches(images / "a.tif", **SMALL, mpp=1.0)
    np.testing.assert_allclose(patch.pixels, pixels.reshape(32, 2, 32, 2).mean(axis=(1, 3)), rtol=1e-6)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_image_is_closed_when_the_rest_is_not_asked_for(name, images, noise):
    Image.fromarray(noise(100, 100)).save(images / name)

    def is_open():
        links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
        return any(link.samefile(images / name) for link in links)

    patches = iter_patches(images / name, **SMALL)
    next(patches)
    assert is_open()
    patches.close()
    gc.collect()
    assert not is_open()


@pytest.mark.parametrize("skip", [None, {"nodata": 1.0}])
def test_threads_end_with_the_prediction_while_its_error_is_kept(skip, images, noise):
    tifffile.imwrite(images / "a.tif", noise(1024, 256), tile=(16, 16), compression="zlib")
    before = set(threading.enumerate())
    with pytest.raises(QuadratError) as kept:
        predict_image(images / "a.tif", lambda patch: 1 / 0, **SMALL, skip=skip)
    assert not set(threading.enumerate()) - before, kept


# bad input


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"patchsize": 64}, "patchsize: unknown key; did you mean patch_size?"),
        ({"images": "a"}, "images: unknown key; the keys are patch_size, "),
        ({"patch_size": 2.5}, "patch_size is 2.5; it must be a whole number of pixels, at least 1"),
        ({"skip": object()}, "skip: expected str, bytes or os.PathLike object, not object; use a value"),
        ({"channels": (1, 9)}, "a.tif: channel 9 does not exist; the image has 3"),
        ({"mpp": 0.5}, "a.tif: its metadata do not contain the micrometres per pixel"),
        ({"regions": "nowhere"}, "regions nowhere: no such file or folder"),
        ({"predictor": None}, "predictor is null; it must be mean, or a mapping"),
        ({"predictor": "median"}, "predictor is median; it must be mean, or a mapping"),
        ({"predictor": {"kind": "onnx", "path": Path("no.onnx")}}, "no.onnx: no such file"),
        ({"predictor": {"kind": "statistics", "of": "histogram"}}, "bins and range"),
        ({"predictor": lambda patch: 1 / 0}, "patch row 0, col 0: ZeroDivisionError: division by zero"),
        ({"predictor": lambda patch: None}, "predictions are None; return numbers"),
        ({"predictor": object}, "predictor: class object has 0 of the methods predict_patch"),
    ],
)
def test_bad_input_is_refused_in_one_clear_line(keys, line, write_tiff, tmp_path):
    with pytest.raises(QuadratError) as refused:
        predict_image(write_tiff("a.tif").path, **SMALL | keys)
    assert line in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_iter_patches_takes_no_predictor_and_checks_before_the_first_patch(write_tiff):
    with pytest.raises(QuadratError, match="predictor: unknown key"):
        iter_patches(write_tiff("a.tif").path, predictor="mean")


@pytest.mark.parametrize("content", [None, b"", b"not an image"], ids=["missing", "empty", "text"])
def test_file_that_is_no_image_is_refused_by_its_name(content, tmp_path):
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    for read in (predict_image, lambda path: next(iter_patches(path))):
        with pytest.raises(QuadratError, match=r"^\S+/a\.tif: "):
            read(path)


# what the package offers


def pixels_of(name):
    path = PROJECT / "examples/first_run/images" / name
    return tifffile.imread(path) if name.endswith(".tif") else np.asarray(Image.open(path))


def cut(pixels, size):
    rows, cols = (length // size for length in pixels.shape[:2])
    places = [(row * size, col * size) for row in range(rows) for col in range(cols)]
    return [pixels[y : y + size, x : x + size] for y, x in places]


def test_page_shows_predictions_and_patches_as_numpy_gives_them(monkeypatch):
    monkeypatch.chdir(PROJECT)
    predicted, by_functions, patches, opened, _ = blocks("python", PAGE)
    fields, elevation = pixels_of("fields.png"), pixels_of("survey/elevation.tif")

    listed, table = cell_values(predicted)
    assert listed == [patch.mean() for patch in cut(fields, 512)]
    assert table["prediction"].tolist() == listed
    greenness, ends = cell_values(by_functions)
    assert greenness == [patch[..., 1].mean() - patch.mean() for patch in cut(fields, 256)[:2]]
    assert ends == [cut(fields, 512)[0].min(), cut(fields, 512)[0].max()]

    count, place, mean = cell_values(patches)
    rough = [index for index, patch in enumerate(cut(elevation, 256)) if patch.std() >= 4]
    assert count == len(rough) < 24
    assert place[:2] == divmod(rough[-1], 6)
    assert mean == cut(elevation, 256)[rough[-1]].mean()

    known, (shape, mean), coarse = cell_values(opened)
    assert known == ("EPSG:32612", 1)
    assert (shape, mean) == ((512, 512, 1), elevation[:512, 1024:].mean())
    assert coarse == (1024 // 4, 1536 // 4, 1)


def test_page_shows_how_results_are_read(write_result, make_settings, tmp_path, monkeypatch):
    merge_predictions([write_result("fields.png", [0.5, 2.0])], [], make_settings().as_dict(), {}, print)
    monkeypatch.chdir(tmp_path)
    (listed,) = cell_values(blocks("python", PAGE)[-1])
    assert listed == [0.5, 2.0]


def test_importing_quadrat_imports_no_other_package():
    code = "import sys; before = {*sys.modules}; import quadrat; print(*({*sys.modules} - before))"
    command = [sys.executable, "-c", code]
    path = {"PYTHONPATH": str(Path(quadrat.__file__).parents[1])}
    loaded = subprocess.run(command, env=path, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) == {"quadrat", "quadrat._version"}


def test_all_names_of_the_package_are_there():
    assert dir(quadrat) == sorted(quadrat.__all__)
    assert all(getattr(quadrat, name).__doc__ for name in quadrat.__all__)
    with pytest.raises(AttributeError, match="no attribute 'open_picture'"):
        quadrat.open_picture  # noqa: B018


@pytest.mark.parametrize("module", [quadrat, library, images_open], ids=lambda module: module.__name__)
def test_examples_of_docstrings_show_what_they_give(module, monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert doctest.testmod(module).attempted
    assert not doctest.testmod(module).failed
