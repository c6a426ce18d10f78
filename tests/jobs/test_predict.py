import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
import rasterio
import tifffile
from onnx import TensorProto, helper
from rasterio.transform import Affine
from xxhash import xxh3_128_hexdigest

from quadrat.errors import FileChangedError, ImageError, MemoryBudgetError, PredictorError
from quadrat.files.hashing import hash_file, join_hashes, stat_token
from quadrat.grid import PatchGrid
from quadrat.images.open import Image
from quadrat.jobs import predict
from quadrat.jobs.predict import predict_image
from quadrat.results.schema import read_footer

SIZE = 32


@pytest.fixture
def run(make_task):
    """Return a function that predicts an image, and returns its table and its footer."""

    def predict_and_read(path, **changes):
        task = make_task(path, **changes)
        predict_image(task)
        return pd.read_parquet(task.output), read_footer(task.output)[0]

    return predict_and_read


def full_patches(pixels):
    height, width = pixels.shape[:2]
    return [
        pixels[y : y + SIZE, x : x + SIZE]
        for y in range(0, height - SIZE + 1, SIZE)
        for x in range(0, width - SIZE + 1, SIZE)
    ]


def test_mean_of_each_patch_is_that_of_the_loaded_image(write_tiff, run):
    image = write_tiff("a.tif", tile=(16, 16), compression="zlib")
    table, _ = run(image.path)
    assert table["prediction"].tolist() == [np.mean(patch) for patch in full_patches(image.pixels)]


@pytest.mark.parametrize("edge", ["drop", "pad", "partial", "shift"])
def test_rows_are_the_grid(write_tiff, run, edge):
    image = write_tiff("a.tif")
    table, footer = run(image.path, edge=edge, stride=24)
    grid = PatchGrid(100, 140, SIZE, 24, edge)
    assert table[["y", "x", "height", "width"]].to_numpy().tolist() == [list(w) for w in grid.windows()]
    assert table[["row", "col"]].to_numpy().tolist() == [
        [row, col] for row in range(grid.rows) for col in range(grid.cols)
    ]
    assert table["skipped"].isna().all()
    assert footer["grid"] == {
        "patch_size": SIZE,
        "stride": 24,
        "edge": edge,
        "rows": grid.rows,
        "cols": grid.cols,
    }
    assert footer["counts"]["dropped"] == grid.dropped


def test_smaller_patches_of_the_edge_are_predicted_as_they_are(write_tiff, run, user_code):
    image = write_tiff("a.tif")
    model = user_code(
        "def predict_patch(patch):\n    return [patch.shape[0], patch.shape[1], int(patch.sum())]\n"
    )
    table, _ = run(image.path, edge="partial", predictor=model)
    for row in table.itertuples():
        patch = image.pixels[row.y : row.y + SIZE, row.x : row.x + SIZE]
        assert list(row.prediction) == [*patch.shape[:2], int(patch.sum())]
    assert len(table) == 4 * 5


def test_user_code_sees_each_patch_in_any_size_of_batch(write_tiff, run, user_code):
    image = write_tiff("a.tif")
    source = "def predict_batch(patches):\n    return patches.max(axis=(1, 2, 3))\n"
    expected = [patch.max() for patch in full_patches(image.pixels)]
    for size in (1, 3, 100):
        table, _ = run(image.path, predictor=user_code(source, "predict_batch", batch_size=size))
        assert table["prediction"].tolist() == expected


def test_threads_do_not_change_a_byte(write_tiff, make_task):
    image = write_tiff("a.tif", tile=(16, 16), compression="zlib")
    contents = set()
    for threads in (1, 3):
        task = make_task(image.path, threads=threads)
        predict_image(task)
        contents.add(Path(task.output).read_bytes())
    assert len(contents) == 1


def test_channels_of_the_configuration_are_read_in_their_order(write_tiff, run, user_code):
    image = write_tiff("a.tif")
    model = user_code("def predict_patch(patch):\n    return patch[0, 0].astype(float)\n")
    table, footer = run(image.path, channels=[3, 1], predictor=model)
    assert [list(value) for value in table["prediction"]] == [
        patch[0, 0, [2, 0]].tolist() for patch in full_patches(image.pixels)
    ]
    assert footer["channels"] == [3, 1]
    assert footer["image"]["channels"] == 2


def test_plane_of_the_configuration_is_read_and_reported(images, run, noise):
    stack = noise(3, 100, 140)
    tifffile.imwrite(images / "a.tif", stack, photometric="minisblack", compression="zlib")
    table, footer = run(images / "a.tif", plane={"z": 2})
    assert table["prediction"].tolist() == [np.mean(patch) for patch in full_patches(stack[1])]
    assert footer["plane"] == {"z": 2}
    assert any("number 2 is read" in note for note in footer["image"]["notes"])


def test_hash_of_a_vrt_is_that_of_all_its_files(write_tiff, images, run):
    source = write_tiff("a.tif")
    vrt = images / "a.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="140" rasterYSize="100"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    table, footer = run(vrt)
    assert table["prediction"].tolist() == [np.mean(patch) for patch in full_patches(source.pixels[..., 0])]
    hashes = [xxh3_128_hexdigest(path.read_bytes()) for path in (vrt, source.path)]
    assert footer["content_hash"] == xxh3_128_hexdigest("".join(hashes).encode())


def test_world_file_is_the_place_in_the_footer_and_part_of_the_hash(write_tiff, run):
    image = write_tiff("a.tif")
    alone = run(image.path)[1]
    image.path.with_suffix(".tfw").write_text("10\n0\n0\n-10\n500005\n3999995\n")
    footer = run(image.path)[1]
    assert footer["image"] == alone["image"] | {"transform": [10, 0, 5e5, 0, -10, 4e6]}
    assert alone["content_hash"] == hash_file(image.path)
    hashes = [hash_file(image.path), hash_file(image.path.with_suffix(".tfw"))]
    assert footer["content_hash"] == join_hashes(hashes)


def test_world_file_that_is_written_to_meanwhile_stores_nothing(write_tiff, make_task, monkeypatch):
    image = write_tiff("a.tif")
    world_file = image.path.with_suffix(".tfw")
    world_file.write_text("10\n0\n0\n-10\n500005\n3999995\n")
    write = predict.write_predictions

    def change(*arguments):
        world_file.write_text("20\n0\n0\n-20\n500005\n3999995.5\n")
        return write(*arguments)

    monkeypatch.setattr(predict, "write_predictions", change)
    task = make_task(image.path)
    with pytest.raises(FileChangedError, match=r"a\.tfw was written to during the run"):
        predict_image(task)
    assert not os.path.exists(task.output)


def image_of(reader):
    """Return an open image whose only reader this is."""
    return Image("array", SimpleNamespace(reader=lambda *_: reader, close=lambda: None))


def test_source_of_a_vrt_that_is_written_to_meanwhile_stores_nothing(
    write_tiff, images, make_task, monkeypatch, array_reader
):
    source = write_tiff("a.tif").path
    vrt = images / "a.vrt"
    vrt.write_text('<VRTDataset><SourceFilename relativeToVRT="1">a.tif</SourceFilename></VRTDataset>')

    def write_and_open(*_):
        source.write_bytes(b"other")
        return image_of(array_reader(np.zeros((64, 64, 1), np.uint8)))

    monkeypatch.setattr(predict, "open_image", write_and_open)
    task = make_task(vrt)
    with pytest.raises(FileChangedError, match=r"a\.tif was written to during the run"):
        predict_image(task)
    assert not Path(task.output).exists()


def test_footer_shows_what_the_result_was_made_from(write_tiff, run):
    image = write_tiff("a.tif")
    _, footer = run(image.path, filename="north/ü.tif")
    assert (footer["filename"], footer["version"], footer["content_id"]) == (
        "north/ü.tif",
        "0123456789ab",
        "1-2",
    )
    assert footer["content_hash"] == xxh3_128_hexdigest(image.path.read_bytes())
    found = {name: footer["image"][name] for name in ("format", "height", "width", "channels", "dtype")}
    assert found == {"format": "TIFF", "height": 100, "width": 140, "channels": 3, "dtype": "uint8"}
    assert footer["predictor"] == {"kind": "statistics", "of": ["mean"], "per_channel": False}
    assert footer["software"]["numpy"] == np.__version__
    assert "tifffile" in footer["software"]
    assert footer["counts"]["patches"] == footer["rows"] == 12


def test_windows_of_a_pyramid_level_are_reported_in_pixels_of_level_0(
    make_task, run, array_reader, monkeypatch, write_tiff
):
    image = write_tiff("a.tif")
    reader = array_reader(
        np.zeros((70, 100, 1), np.uint8), level=1, level_count=2, downsample=(4.0, 4.0), full_size=(280, 400)
    )
    monkeypatch.setattr(predict, "open_image", lambda *_: image_of(reader))
    table, footer = run(image.path, level=1)
    assert table[["row", "col", "y", "x", "height", "width"]].to_numpy().tolist()[-1] == [
        1,
        2,
        128,
        256,
        128,
        128,
    ]
    assert (footer["image"]["level"], footer["image"]["downsample"]) == (1, [4.0, 4.0])


def test_rows_of_a_level_of_a_narrow_image_lie_where_its_pixels_come_from(images, run):
    height, width = 3000, 70
    pixels = np.repeat(np.arange(height, dtype=np.uint16)[:, None], width, axis=1)
    with tifffile.TiffWriter(images / "a.tif") as tif:
        tif.write(pixels, tile=(64, 64), subifds=2, photometric="minisblack")
        for factor in (4, 16):
            level = pixels[: height // factor * factor : factor, : width // factor * factor : factor]
            tif.write(level, tile=(64, 64), subfiletype=1, photometric="minisblack")
    table, footer = run(images / "a.tif", level=2, patch_size=1, stride=1)
    assert (table["y"] == table["prediction"]).all()  # each row's value is its number
    assert table["y"].max() == 2976
    assert footer["image"]["full_size"] == [height, width]


def test_windows_of_resampled_pixels_are_reported_in_pixels_of_level_0(write_tiff, run):
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 micrometres
    image = write_tiff("a.tif", height=130, width=200, **resolution)
    table, footer = run(image.path, mpp=1.0, edge="shift")
    halves = image.pixels.reshape(65, 2, 100, 2, 3).mean(axis=(1, 3))
    ys, xs = [0, 32, 33], [0, 32, 64, 68]
    assert table[["y", "x", "height", "width"]].to_numpy().tolist() == [
        [2 * y, 2 * x, 64, 64] for y in ys for x in xs
    ]
    expected = [np.rint(halves[y : y + SIZE, x : x + SIZE]).mean() for y in ys for x in xs]
    assert table["prediction"].tolist() == expected
    assert footer["image"]["downsample"] == [2.0, 2.0]


def test_nan_and_infinite_predictions_are_kept_and_counted(write_tiff, run, user_code):
    image = write_tiff("a.tif", height=32, width=32 * 4)
    values = "values = iter([np.nan, 1.0, np.inf, np.nan])\n"
    source = f"{values}def predict_patch(patch):\n    return [next(values), 0.0]\n"
    table, footer = run(image.path, predictor=user_code(source))
    np.testing.assert_array_equal([value[0] for value in table["prediction"]], [np.nan, 1, np.inf, np.nan])
    assert (footer["counts"]["nan"], footer["counts"]["infinite"]) == (2, 1)


def test_image_smaller_than_a_patch_has_an_empty_result(write_tiff, run):
    table, footer = run(write_tiff("a.tif", height=20, width=200).path)
    assert len(table) == 0
    assert "failure" not in footer
    assert {name: count for name, count in footer["counts"].items() if count} == {"dropped": 1}


# models


@pytest.fixture
def network(tmp_path):
    """Return the path of an ONNX model of three channels: the mean of each over the patch."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, None, None])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    model = helper.make_model(
        helper.make_graph(nodes, "network", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.save(model, tmp_path / "network.onnx")
    return {"kind": "onnx", "path": str(tmp_path / "network.onnx")}


def test_model_predicts_each_patch(write_tiff, run, network):
    image = write_tiff("a.tif")
    table, footer = run(image.path, predictor=network | {"scale": 0.5})
    expected = [patch.mean(axis=(0, 1)) * 0.5 for patch in full_patches(image.pixels)]
    np.testing.assert_allclose(np.stack(table["prediction"]), expected, rtol=1e-5)
    assert footer["predictor"]["device"] == "cpu"
    assert "onnxruntime" in footer["predictor"]["software"]


def test_threads_do_not_change_a_byte_of_what_a_model_predicts(write_tiff, make_task, network):
    image = write_tiff("a.tif", tile=(16, 16), compression="zlib")
    contents = set()
    for threads in (1, 1, 3):
        task = make_task(image.path, threads=threads, predictor=network)
        predict_image(task)
        contents.add(Path(task.output).read_bytes())
    assert len(contents) == 1


def test_labels_of_a_model_are_stored_as_text(write_tiff, run, network):
    image = write_tiff("a.tif")
    table, _ = run(image.path, predictor=network | {"argmax": True, "labels": ["red", "green", "blue"]})
    expected = [
        ["red", "green", "blue"][patch.mean(axis=(0, 1)).argmax()] for patch in full_patches(image.pixels)
    ]
    assert table["prediction"].tolist() == expected


def test_image_that_does_not_fit_its_model_fails_as_data_before_its_first_patch(write_tiff, run, network):
    table, footer = run(write_tiff("a.tif").path, predictor=network, channels=[1])
    assert len(table) == 0
    assert footer["failure"] == {
        "kind": "data",
        "message": "the model takes 3 channels, but 1 of the image are read",
        "hint": "choose them with channels in config.yaml",
    }


# what goes wrong


def _empty(path):
    path.write_bytes(b"")


def _text(path):
    path.write_text("not an image\n" * 20)


def _half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_empty, _text, _half])
def test_file_that_is_no_whole_image_has_an_empty_result_that_says_so(write_tiff, run, damage):
    image = write_tiff("a.tif")
    damage(image.path)
    table, footer = run(image.path)
    assert len(table) == 0
    assert footer["failure"]["kind"] == "data"
    assert footer["failure"]["message"]
    assert footer["content_hash"] == xxh3_128_hexdigest(image.path.read_bytes())
    assert footer["filename"] == "a.tif"


def test_image_that_the_disk_does_not_give_has_an_empty_result_that_says_so(write_tiff, run, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(predict, "hash_file", fail)
    table, footer = run(write_tiff("a.tif").path)
    assert len(table) == 0
    assert footer["failure"]["message"] == "cannot be read: Input/output error"
    assert footer["content_hash"] is None


def test_error_halfway_leaves_no_row_of_the_image(write_tiff, run, array_reader, monkeypatch):
    class Truncated(array_reader):
        def read_blocks(self, blocks, threads, wanted=None):
            yield next(super().read_blocks(blocks, threads))
            raise ImageError("truncated: segment 2 of 4", "copy it again")

    reader = Truncated(np.zeros((100, 100, 1), np.uint8), (7, 7))
    monkeypatch.setattr(predict, "open_image", lambda *_: image_of(reader))
    table, footer = run(write_tiff("a.tif").path)
    assert len(table) == 0
    assert footer["failure"] == {
        "kind": "data",
        "message": "truncated: segment 2 of 4",
        "hint": "copy it again",
    }


def test_channel_that_the_image_has_not_is_its_failure(write_tiff, run):
    _, footer = run(write_tiff("a.tif").path, channels=[4])
    assert footer["failure"]["kind"] == "data"
    assert "4" in footer["failure"]["message"]


@pytest.fixture
def refused(make_task):
    """Return a function that predicts an image in vain, and returns the error; nothing must be left."""

    def predict_in_vain(path, error, **changes):
        task = make_task(path, **changes)
        with pytest.raises(error) as caught:
            predict_image(task)
        assert not os.path.exists(os.path.dirname(task.output)) or not os.listdir(
            os.path.dirname(task.output)
        )
        return str(caught.value)

    return predict_in_vain


def test_predictor_that_raises_on_a_patch_shows_its_row_and_column(write_tiff, refused, user_code):
    source = "seen = []\ndef predict_patch(patch):\n    seen.append(0)\n    return [1 / (len(seen) != 7)]\n"
    line = refused(write_tiff("a.tif").path, PredictorError, predictor=user_code(source, batch_size=4))
    assert line == "patch row 1, col 2: ZeroDivisionError: division by zero (my_model.py, line 5)"


def test_predictor_that_raises_on_a_batch_shows_its_first_and_last_patch(write_tiff, refused, user_code):
    source = "def predict_batch(patches):\n    raise RuntimeError('no memory')\n"
    model = user_code(source, "predict_batch", batch_size=6)
    line = refused(write_tiff("a.tif").path, PredictorError, predictor=model)
    assert line == "a patch from row 0, col 0 to row 1, col 1: RuntimeError: no memory (my_model.py, line 3)"


def test_predictor_whose_predictions_change_their_type_is_refused_with_the_patch(
    write_tiff, refused, user_code
):
    source = (
        "seen = []\ndef predict_patch(patch):\n    seen.append(0)\n    return 'a' if len(seen) > 5 else 1\n"
    )
    line = refused(write_tiff("a.tif").path, PredictorError, predictor=user_code(source, batch_size=1))
    assert line.startswith("patch row 1, col 1: the prediction is text, but earlier ones are int64")


def test_predictor_that_cannot_be_loaded_leaves_nothing(write_tiff, refused, user_code):
    assert "NameError" in refused(write_tiff("a.tif").path, PredictorError, predictor=user_code("nonsense\n"))


def test_image_written_to_while_it_is_read_leaves_nothing(write_tiff, refused, user_code):
    image = write_tiff("a.tif")
    source = f"def predict_patch(patch):\n    open({str(image.path)!r}, 'ab').write(b'more')\n    return 1\n"
    line = refused(image.path, FileChangedError, predictor=user_code(source))
    assert line == f"{image.path} was written to during the run; run again"


def test_image_replaced_while_it_is_read_by_one_of_its_size_and_time_leaves_nothing(
    write_tiff, refused, user_code
):
    image, other = write_tiff("a.tif"), write_tiff("b.tif", seed=1)
    os.utime(other.path, ns=(image.path.stat().st_atime_ns, image.path.stat().st_mtime_ns))
    assert stat_token(os.stat(image.path))[:2] == stat_token(os.stat(other.path))[:2]
    source = (
        "import os\ndef predict_patch(patch):\n"
        f"    if os.path.exists({str(other.path)!r}):\n"
        f"        os.replace({str(other.path)!r}, {str(image.path)!r})\n    return 1\n"
    )
    line = refused(image.path, FileChangedError, predictor=user_code(source))
    assert line == f"{image.path} was replaced during the run; run again"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_predictor_file_written_to_since_it_was_planned_leaves_nothing(
    write_tiff, refused, write_model, when
):
    weights = Path(write_model("1", "weights.txt"))
    files = {str(weights): [*stat_token(os.stat(weights))[:2]]}
    source = "def predict_patch(patch):\n    return 1\n"
    if when == "before":
        weights.write_text("other")
    else:
        source = f"open({str(weights)!r}, 'w').write('other')\n{source}"
    model = {"kind": "python", "path": write_model(source), "name": "predict_patch"}
    line = refused(write_tiff("a.tif").path, FileChangedError, predictor=model, predictor_files=files)
    assert line == f"{weights} was written to during the run; run again"


@pytest.mark.parametrize(
    "damage", [lambda path: None, lambda path: path.write_bytes(b"")], ids=["whole", "broken"]
)
def test_image_replaced_after_its_content_was_planned_leaves_nothing(write_tiff, refused, damage):
    image = write_tiff("a.tif")
    damage(image.path)
    line = refused(image.path, FileChangedError, content_id=xxh3_128_hexdigest(b"what was planned"))
    assert line == "a.tif was replaced during the run; run again"


def test_image_whose_content_was_planned_by_its_hash_is_predicted(write_tiff, run):
    image = write_tiff("a.tif")
    table, _ = run(image.path, content_id=xxh3_128_hexdigest(image.path.read_bytes()))
    assert len(table) == 12


def test_broken_image_that_is_still_being_copied_is_not_recorded_as_broken(write_tiff, refused, monkeypatch):
    image = write_tiff("a.tif")

    def open_half(path, *_):
        with open(path, "ab") as file:
            file.write(b"more")
        raise ImageError("truncated")

    monkeypatch.setattr(predict, "open_image", open_half)
    refused(image.path, FileChangedError)


def test_image_that_does_not_fit_the_memory_leaves_nothing(write_one_strip, refused):
    refused(write_one_strip("a.tif"), MemoryBudgetError, memory_mb=1)


@pytest.fixture
def absurd_vrt(images):
    """Return the path of a VRT of a few bytes that claims more patches than can be listed."""
    path = images / "a.vrt"
    size = f'rasterXSize="100000" rasterYSize="{2**31 - 1}"'
    path.write_text(f'<VRTDataset {size}><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>')
    return path


def test_absurd_claim_of_a_vrt_is_its_failure_before_anything_is_listed(absurd_vrt, run):
    table, footer = run(absurd_vrt)
    assert table.empty
    patches = (100_000 // SIZE) * ((2**31 - 1) // SIZE)
    assert footer["failure"]["message"] == (
        f"it claims to be 100,000 x 2,147,483,647 px, which makes {patches:,} patches; "
        "at most 100,000,000 are allowed (config.yaml: patch_size, stride)"
    )


def test_more_patches_than_the_memory_can_list_are_refused(write_tiff, refused):
    image = write_tiff("a.tif", height=1000, width=1000, compression="zlib")
    refused(image.path, MemoryBudgetError, memory_mb=600, stride=1)


# skipped patches


@pytest.fixture
def write_holes(images, noise):
    """Return a function that writes an image of 3 x 4 patches, some of nodata and returns path and pixels."""

    def write(filename, cells, **options):
        path, pixels = images / filename, noise(3 * SIZE, 4 * SIZE, 1)[..., 0] + 1
        for row, col in cells:
            pixels[row * SIZE : (row + 1) * SIZE, col * SIZE : (col + 1) * SIZE] = 0
        tags = [(42113, "s", 0, "0", True)]
        tifffile.imwrite(path, pixels, extratags=tags, tile=(16, 16), **options)
        return SimpleNamespace(path=path, pixels=pixels)

    return write


REFUSES_NODATA = """
def predict_batch(patches):
    assert patches.any(axis=(1, 2, 3)).all()
    return patches.sum((1, 2, 3))
"""


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_patches_of_nodata_keep_their_rows_and_never_reach_the_model(write_holes, run, user_code, batch_size):
    holes = [(0, 0), (0, 3), (1, 1), (2, 2), (2, 3)]
    image = write_holes("a.tif", holes)
    model = user_code(REFUSES_NODATA, "predict_batch", batch_size=batch_size)
    table, footer = run(image.path, skip={"nodata": 1.0}, predictor=model)
    assert table[["y", "x"]].to_numpy().tolist() == [
        list(w[:2]) for w in PatchGrid(96, 128, 32, 32).windows()
    ]
    for row, patch in zip(table.itertuples(), full_patches(image.pixels), strict=True):
        is_hole = (row.row, row.col) in holes
        assert (row.skipped == "nodata") == is_hole
        assert pd.isna(row.prediction) if is_hole else row.prediction == patch.sum()
    counts = {name: count for name, count in footer["counts"].items() if count}
    assert counts == {"patches": 12, "skipped": 5, "skipped_nodata": 5}


def test_image_of_which_all_is_skipped_is_ok(write_holes, run):
    image = write_holes("a.tif", [(row, col) for row in range(3) for col in range(4)])
    table, footer = run(image.path, skip={"nodata": 1.0})
    assert len(table) == footer["counts"]["skipped"] == 12
    assert table["prediction"].isna().all()
    assert "failure" not in footer


# statistics that ignore nodata

OF = ["mean", "std", "min", "max", "p50", "histogram"]
IGNORING = {"kind": "statistics", "of": OF, "per_channel": True, "bins": 5, "range": [0, 256]}
IGNORING |= {"ignore_nodata": True}


@pytest.fixture
def write_gaps(images, noise):
    """Return a function that writes an image with gaps by alpha, a mask or a value, and returns its path."""

    def write(gaps, dtype="uint8", alpha="yes"):
        pixels, holes = noise(4, 100, 140, dtype=dtype), noise(100, 140, seed=1) < 40
        holes[:70, :40] = True  # two patches without data, and others with little
        holes[69, 39] = False
        pixels[3] = np.where(holes, 0, 200)
        options = {"value": {"nodata": 255, "count": 3}, "mask": {"count": 3}}
        options |= {"alpha": {"count": 4, "photometric": "rgb", "alpha": alpha}}
        profile = {"driver": "GTiff", "height": 100, "width": 140, "dtype": dtype} | options[gaps]
        profile |= {"transform": Affine(10, 0, 0, 0, -10, 0), "crs": "EPSG:32612"}
        if gaps == "value":
            pixels[:3, holes] = 255
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(images / "a.tif", "w", **profile) as image,
        ):
            image.write(pixels[: profile["count"]])
            if gaps == "mask":
                image.write_mask(np.where(holes, 0, 255).astype(np.uint8))
        return images / "a.tif"

    return write


def masked_truth(patch):
    """Return the statistics of a masked patch, (channel, height, width), by numpy's masked arrays."""
    values = []
    for channel in patch:
        left = channel.compressed().astype(float)
        counts = np.histogram(left, 5, (0, 256))[0]
        if left.size:
            values += [left.mean(), left.std(), left.min(), left.max(), np.median(left), *counts]
        else:
            values += [*[np.nan] * 5, *counts]
    return np.array(values)


@pytest.mark.parametrize("edge", ["drop", "pad", "partial", "shift"])
@pytest.mark.parametrize("gaps", ["value", "alpha", "mask"])
@pytest.mark.parametrize("channels", [None, [1, 2, 3], [3, 1]])
def test_statistics_ignore_the_samples_that_gdal_masks(write_gaps, run, edge, gaps, channels):
    path = write_gaps(gaps)
    table, footer = run(path, edge=edge, stride=24, channels=channels, predictor=IGNORING)
    with rasterio.open(path) as image:
        pixels = image.read(channels, masked=True)
        # GDAL has no mask for alpha itself.
        pixels[:, image.dataset_mask() == 0] = np.ma.masked
    for row, found in zip(table.itertuples(), table["prediction"], strict=True):
        patch = pixels[:, row.y : row.y + row.height, row.x : row.x + row.width]
        np.testing.assert_allclose(found, masked_truth(patch), rtol=1e-12, atol=1e-12)
    assert footer["counts"]["nan"] == sum(np.isnan(found).any() for found in table["prediction"]) > 0
    assert footer["predictor"]["ignore_nodata"] is True


@pytest.mark.parametrize("gaps", ["value", "alpha", "mask"])
def test_statistics_of_averaged_pixels_ignore_pixels_without_data(write_gaps, run, gaps):
    path = write_gaps(gaps, alpha="premultiplied")
    table, _ = run(path, gsd=20, edge="pad", channels=[2], predictor=IGNORING | {"of": "mean"})
    with rasterio.open(path) as image:
        pixels = image.read(2, masked=True)
        pixels[image.dataset_mask() == 0] = np.ma.masked
    averaged = np.ma.round(pixels.reshape(50, 2, 70, 2).mean(axis=(1, 3)))
    patches = [averaged[y : y + SIZE, x : x + SIZE] for y in (0, 32) for x in (0, 32, 64)]
    expected = [patch.mean() if patch.count() else np.nan for patch in patches]
    np.testing.assert_allclose([found[0] for found in table["prediction"]], expected, rtol=1e-12)


def test_padding_of_an_image_without_nodata_is_ignored_too(write_tiff, run):
    image = write_tiff("a.tif")
    table, _ = run(image.path, edge="pad", predictor={"kind": "statistics", "ignore_nodata": True})
    partial, _ = run(image.path, edge="partial", predictor={"kind": "mean"})
    assert table["prediction"].tolist() == partial["prediction"].tolist()


def test_given_value_decides_what_is_skipped_and_ignored(write_gaps, run):
    path = write_gaps("value")
    declared, _ = run(path, skip={"nodata": 1.0}, predictor=IGNORING)
    with rasterio.open(path, "r+") as image:
        image.nodata = 3
    given, _ = run(path, nodata=255, skip={"nodata": 1.0}, predictor=IGNORING)
    pd.testing.assert_frame_equal(given, declared)
    assert (given["skipped"] == "nodata").sum() == 2
    none, _ = run(path, nodata="none", skip={"nodata": 1.0}, predictor=IGNORING)
    plain, _ = run(path, predictor=IGNORING | {"ignore_nodata": False})
    pd.testing.assert_frame_equal(none, plain)


def test_threads_do_not_change_a_byte_of_statistics_that_ignore_nodata(write_gaps, make_task):
    path, contents = write_gaps("alpha"), set()
    for threads in (1, 3):
        task = make_task(path, threads=threads, predictor=IGNORING)
        predict_image(task)
        contents.add(Path(task.output).read_bytes())
    assert len(contents) == 1


def test_nan_is_counted_among_predictions_only(write_holes, run, user_code):
    image = write_holes("a.tif", [(0, 0)])
    model = user_code("def predict_patch(patch):\n    return float('nan')\n")
    _, footer = run(image.path, skip={"nodata": 1.0}, predictor=model)
    assert (footer["counts"]["nan"], footer["counts"]["skipped"]) == (11, 1)


def test_glass_of_a_slide_is_background_and_never_decoded(images, run, monkeypatch):
    path = images / "slide.tif"
    pixels = np.full((512, 512, 3), 240, np.uint8)
    pixels[128:256, 256:448] = (170, 60, 140)
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, subifds=1, **options)
        tif.write(pixels[::4, ::4], subfiletype=1, **options)
    decoded, stream = [], predict.stream_patches
    monkeypatch.setattr(
        predict, "stream_patches", lambda reader, *given: decoded.append(reader) or stream(reader, *given)
    )
    table, footer = run(path, patch_size=64, stride=64, skip={"background": {"tissue_below": 0.5}})
    tissue = table[table["skipped"].isna()]
    assert tissue[["y", "x"]].to_numpy().tolist() == [[y, x] for y in (128, 192) for x in (256, 320, 384)]
    assert tissue["prediction"].tolist() == 6 * [pytest.approx((170 + 60 + 140) / 3)]
    assert footer["counts"]["skipped_background"] == 64 - 6
    assert decoded[0].segments_decoded == 6


def test_patches_outside_the_regions_are_skipped_and_never_decoded(write_tiff, run, tmp_path, monkeypatch):
    image = write_tiff("a.tif", tile=(16, 16), compression="zlib")
    drawn = tmp_path / "a.tif.geojson"
    ring = [[40, 40], [90, 40], [90, 60], [40, 60], [40, 40]]
    drawn.write_text(
        json.dumps([{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}])
    )
    regions = {"path": str(drawn), "hash": hash_file(drawn), "in_pixels": True}
    readers, stream = [], predict.stream_patches
    monkeypatch.setattr(
        predict, "stream_patches", lambda reader, *given: readers.append(reader) or stream(reader, *given)
    )
    table, footer = run(image.path, regions=regions)
    inside = table[table["skipped"].isna()]
    assert inside[["row", "col"]].to_numpy().tolist() == [[1, 1], [1, 2]]
    assert inside["prediction"].tolist() == [full_patches(image.pixels)[index].mean() for index in (5, 6)]
    assert set(table["skipped"].dropna()) == {"outside"}
    assert (footer["counts"]["skipped_outside"], footer["regions"]) == (10, hash_file(drawn))
    assert readers[0].segments_decoded == 2 * 4


def test_regions_that_were_changed_since_the_plan_store_nothing(write_tiff, refused, tmp_path):
    image, drawn = write_tiff("a.tif"), tmp_path / "a.tif.geojson"
    gone = {"path": str(drawn), "hash": "ab", "in_pixels": True}
    refused(image.path, FileChangedError, regions=gone)
    drawn.write_text("[]")
    refused(image.path, FileChangedError, regions=gone)
    refused(image.path, FileChangedError, regions=gone | {"hash": ""})
