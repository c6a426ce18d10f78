"""Scenes of several files, compared with what GDAL's VRT shows of the same bands."""

import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.transform import Affine

from quadrat.errors import ImageError
from quadrat.exports import geotiff
from quadrat.files.scenes import Scene, scene_path
from quadrat.grid import PatchGrid
from quadrat.images.open import _open_scene, open_image
from quadrat.images.segment_pipeline import SegmentPipeline
from quadrat.jobs.predict import predict_image
from quadrat.results.result import read_result
from quadrat.results.schema import read_footer

SIZES = {"fine": (240, 360), "half": (120, 180), "sixth": (40, 60)}


def write_band(
    path, size, *, seed=0, dtype="uint16", nodata=None, crs="EPSG:32632", extent=(2400, 3600), **options
):
    """Write a band of random pixels that covers an extent in metres; a third of them may be nodata."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(1, 200, size).astype(dtype)
    if dtype.startswith("float"):
        pixels += generator.random(size).astype(dtype)
    if nodata is not None:
        pixels[generator.random(size) < 0.3] = nodata
    transform = Affine(extent[1] / size[1], 0, 500_000, 0, -extent[0] / size[0], 5_000_000)
    profile = {"height": size[0], "width": size[1], "count": 1, "dtype": dtype, "nodata": nodata}
    profile |= {"crs": crs, "transform": transform, "driver": "GTiff", **options}
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    return path


@pytest.fixture
def opened():
    """Return a function that opens a scene of the bands at some paths."""
    with ExitStack() as held:

        def opened(paths, resample="nearest"):
            scene = Scene({name: str(path) for name, path in paths.items()}, resample)
            return held.enter_context(_open_scene(scene, None))

        yield opened


def shown_by_gdal(paths, folder, *options):
    """Return the pixels of a VRT of bands as (height, width, channel)."""
    vrt = folder / "all.vrt"
    command = ["gdalbuildvrt", "-q", "-separate", "-resolution", "highest", *options, vrt, *paths.values()]
    subprocess.run(command, check=True)
    with rasterio.open(vrt) as file:
        return file.read().transpose(1, 2, 0)


def read(reader, patch_size=64, stride=None, threads=2):
    """Put an image together from its patches."""
    info = reader.info
    grid = PatchGrid(info.height, info.width, patch_size, stride or patch_size, "partial")
    windows = [*grid.windows()]
    whole = np.zeros((info.height, info.width, info.channels), info.dtype)
    for window, pixels in zip(windows, reader.read_blocks(windows, threads), strict=True):
        whole[window.y : window.y + window.height, window.x : window.x + window.width] = pixels
    return whole


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}], ids=str)
def test_nearest_is_what_gdal_shows_of_the_same_bands(options, opened, tmp_path):
    paths = {
        name: write_band(tmp_path / f"{name}.tif", size, seed=seed, compress="deflate", **options)
        for seed, (name, size) in enumerate(SIZES.items())
    }
    expected = shown_by_gdal(paths, tmp_path)
    scene = opened(paths)
    for patch_size in (64, 7, 500):
        assert np.array_equal(read(scene.reader(0, None, None), patch_size), expected), patch_size
    assert np.array_equal(read(scene.reader(0, (3, 1), None)), expected[..., [2, 0]])


@pytest.mark.parametrize("size", [(100, 150), (80, 111), (239, 359), (1, 1)], ids=str)
def test_pixels_that_do_not_divide_the_finest_are_placed_as_by_gdal(size, opened, tmp_path):
    paths = {"fine": write_band(tmp_path / "fine.tif", (240, 360))}
    paths["coarse"] = write_band(tmp_path / "coarse.tif", size, seed=1)
    expected = shown_by_gdal(paths, tmp_path)
    assert np.array_equal(read(opened(paths).reader(0, None, None)), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("nodata", [None, 0], ids=str)
def test_bilinear_is_within_one_of_gdal(dtype, nodata, opened, tmp_path):
    paths = {
        name: write_band(tmp_path / f"{name}.tif", size, seed=seed, dtype=dtype, nodata=nodata)
        for seed, (name, size) in enumerate(SIZES.items())
    }
    expected = shown_by_gdal(paths, tmp_path, "-r", "bilinear")
    found = [read(opened(paths, "bilinear").reader(0, None, None), size) for size in (64, 7, 500)]
    for each in found[1:]:
        assert np.array_equal(each, found[0])
    difference = np.abs(found[0].astype(float) - expected)
    assert difference.max() <= (1 if dtype[0] in "ui" else 1e-6 * expected.max())


def test_pixels_do_not_depend_on_threads_overlaps_and_which_patches_are_wanted(opened, tmp_path):
    paths = {
        name: write_band(tmp_path / f"{name}.tif", size, seed=seed, tiled=True, blockxsize=32, blockysize=32)
        for seed, (name, size) in enumerate(SIZES.items())
    }
    expected = shown_by_gdal(paths, tmp_path)
    reader = opened(paths).reader(0, None, None)
    for threads in (1, 5):
        assert np.array_equal(read(reader, 48, 16, threads), expected)
    windows = [*PatchGrid(240, 360, 50, 90, "pad").windows()]
    wanted = windows[3:9:2]
    found = [*map(np.copy, reader.read_blocks(windows, 2, wanted))]
    for window, pixels in zip(windows, found, strict=True):
        if window in wanted:
            shown = expected[window.y : window.y + 50, window.x : window.x + 50]
            assert np.array_equal(pixels[: shown.shape[0], : shown.shape[1]], shown)
            assert not pixels[shown.shape[0] :].any()


def test_bands_differ_in_level_0_and_share_the_levels_that_fit(opened, tmp_path):
    paths, pyramids = {}, {}
    for seed, (name, size) in enumerate(SIZES.items()):
        paths[name] = write_band(
            tmp_path / f"{name}.tif", size, seed=seed, tiled=True, blockxsize=16, blockysize=16
        )
        with rasterio.open(paths[name], "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.average)
        pyramids[name] = []
        for options in ({}, {"overview_level": 0}, {"overview_level": 1}):
            with rasterio.open(paths[name], **options) as file:
                pyramids[name].append(file.read(1))
    scene = opened(paths)
    assert [level.shape for level in scene.levels] == [(240, 360), (120, 180), (60, 90)]
    # The finest that is not finer: 120, 120 and 40 rows; then 60, 60 and 40.
    rows = np.minimum(((np.arange(120) + 0.5) / 3).astype(int), 39)
    cols = np.minimum(((np.arange(180) + 0.5) / 3).astype(int), 59)
    found = read(scene.reader(1, None, None))
    assert np.array_equal(found[..., 0], pyramids["fine"][1])
    assert np.array_equal(found[..., 1], pyramids["half"][0])
    assert np.array_equal(found[..., 2], pyramids["sixth"][0][np.ix_(rows, cols)])
    found = read(scene.reader(2, None, None))
    assert np.array_equal(found[..., 1], pyramids["half"][1])


def test_metadata_are_those_of_the_finest_band_and_name_the_bands(opened, tmp_path):
    paths = {
        "B11": write_band(tmp_path / "b11.tif", (20, 30), nodata=7),
        "B02": write_band(tmp_path / "b02.tif", (240, 360)),
    }
    info = opened(paths).reader(0, None, None).info
    assert (info.names, info.channels, info.dtype) == (("B11", "B02"), 2, np.uint16)
    assert info.nodata == (7, None)
    with rasterio.open(paths["B02"]) as file:
        assert info.transform == tuple(file.transform)[:6]
        assert info.crs == file.crs.to_string()


def test_bands_are_placed_by_their_world_files(opened, tmp_path):
    paths = {}
    for name, metres in (("fine", 10), ("half", 20)):
        paths[name] = tmp_path / f"{name}.png"
        Image.fromarray(np.full(SIZES[name], 7, np.uint8)).save(paths[name])
        lines = (metres, 0, 0, -metres, 500_000 + metres / 2, 5_000_000 - metres / 2)
        paths[name].with_suffix(".pgw").write_text("\n".join(map(str, lines)))
    with rasterio.open(paths["fine"]) as file:
        assert opened(paths).reader(0, None, None).info.transform == tuple(file.transform)[:6]
    paths["half"].with_suffix(".pgw").unlink()
    with pytest.raises(ImageError, match="of its bands fine and half, only fine contains its place on Earth"):
        opened(paths)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dtype": "uint8"}, "its bands differ in type: fine is uint16, other is uint8"),
        (
            {"crs": "EPSG:32633"},
            "its bands differ in reference system: fine has EPSG:32632, other has EPSG:32633",
        ),
        ({"extent": (2390, 3600)}, "its bands differ in extent: fine reaches from .* to .*, other from .*"),
        ({"crs": None}, "its bands differ in reference system: fine has EPSG:32632, other has None"),
    ],
)
def test_bands_that_do_not_fit_are_one_failure(other, message, opened, tmp_path):
    paths = {
        "fine": write_band(tmp_path / "fine.tif", (240, 360)),
        "other": write_band(tmp_path / "other.tif", (120, 180), **other),
    }
    with pytest.raises(ImageError, match=f"^{message}"):
        opened(paths)


def test_band_of_several_channels_is_refused(opened, tmp_path):
    write_band(tmp_path / "b02.tif", (24, 36))
    tifffile.imwrite(tmp_path / "tci.tif", np.zeros((24, 36, 3), np.uint8), photometric="rgb")
    with pytest.raises(ImageError, match=r"^its band TCI has 3 channels; a band is expected to have one$"):
        opened({"B02": tmp_path / "b02.tif", "TCI": tmp_path / "tci.tif"})


def test_band_that_is_broken_is_named(opened, tmp_path):
    paths = {
        name: write_band(
            tmp_path / f"{name}.tif", size, tiled=True, blockxsize=16, blockysize=16, compress="deflate"
        )
        for name, size in SIZES.items()
    }
    with rasterio.open(paths["half"]) as file:
        place = int(file.tags(1, ns="TIFF")["BLOCK_OFFSET_5_5"]) if file.tags(1, ns="TIFF") else None
    data = bytearray(paths["half"].read_bytes())
    middle = place or len(data) * 2 // 3
    data[middle : middle + 300] = b"\xff" * 300
    paths["half"].write_bytes(data)
    with pytest.raises(ImageError, match=r"^its band half: "):
        read(opened(paths).reader(0, None, None))


def test_large_whole_numbers_are_not_rounded(opened, tmp_path):
    pixels = {}
    for name, size in SIZES.items():
        pixels[name] = np.random.default_rng(1).integers(2**60, 2**62, size)
        write_band(tmp_path / f"{name}.tif", size, dtype="int64")
        with rasterio.open(tmp_path / f"{name}.tif", "r+") as file:
            file.write(pixels[name], 1)
    found = read(opened({name: tmp_path / f"{name}.tif" for name in SIZES}).reader(0, None, None))
    assert np.array_equal(found[..., 1], pixels["half"].repeat(2, axis=0).repeat(2, axis=1))
    assert np.array_equal(found[..., 2], pixels["sixth"].repeat(6, axis=0).repeat(6, axis=1))


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("patch_size", [64, 37])
def test_each_segment_is_decoded_once(resample, patch_size, opened, tmp_path, monkeypatch):
    layouts = [{"tiled": True, "blockxsize": 16, "blockysize": 16}, {"blockysize": 7}, {"blockysize": 40}]
    paths = {
        name: write_band(tmp_path / f"{name}.tif", size, compress="lzw", **layout)
        for (name, size), layout in zip(SIZES.items(), layouts, strict=True)
    }
    decoded, decode = Counter(), SegmentPipeline._decode

    def count(self, task):
        decode(self, task)
        decoded[self] = self.segments_decoded

    monkeypatch.setattr(SegmentPipeline, "_decode", count)
    read(opened(paths, resample).reader(0, None, None), patch_size)
    # A single strip, 18 strips, and tiles.
    assert sorted(decoded.values()) == [1, 18, 15 * 23]


# GDAL sets the size of its cache once in a process.
READ_BYTES = """
import re, sys
from pathlib import Path
from quadrat.files.scenes import Scene, scene_path
from quadrat.grid import PatchGrid
from quadrat.images import gdal
from quadrat.images.open import open_image
gdal.MIN_CACHE_BYTES = 0
def read_bytes():
    return int(re.search(r"rchar: (\\d+)", Path("/proc/self/io").read_text())[1])
with open_image(scene_path(Scene({path: path for path in sys.argv[1:]}))) as image:
    before, reader = read_bytes(), image.reader()
    for _ in reader.read_blocks(PatchGrid(1024, 2048, 64, 64).windows(), 1):
        pass
print(read_bytes() - before)
"""


def test_bands_that_gdal_decodes_share_a_cache_in_which_all_have_room(tmp_path):
    layout = {"driver": "JP2OpenJPEG", "blockxsize": 256, "blockysize": 256, "REVERSIBLE": "YES"}
    names = [str(tmp_path / f"{name}.jp2") for name in "abcd"]
    for seed, name in enumerate(names):
        write_band(name, (1024, 2048), seed=seed, QUALITY=100, **layout)

    def count(paths):
        command = [sys.executable, "-c", READ_BYTES, *paths]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert count(names) < 1.5 * 4 * count(names[:1])


def test_gsd_is_averaged_from_what_was_put_together(tmp_path):
    paths = {
        name: str(write_band(tmp_path / f"{name}.tif", size, seed=seed))
        for seed, (name, size) in enumerate(SIZES.items())
    }
    whole = shown_by_gdal(paths, tmp_path).astype(float)
    with open_image(scene_path(Scene(paths))) as image:
        for gsd in (20, 40):
            step = gsd // 10
            means = whole.reshape(240 // step, step, 360 // step, step, 3).mean(axis=(1, 3))
            found = image.read(level=image.level_for(gsd=gsd))
            np.testing.assert_allclose(found, means, atol=0.5 if found.dtype.kind in "iu" else 1e-4)


def test_plane_is_chosen_in_each_band(opened, tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (3, 32, 48), np.uint8)
    for name in ("dapi", "cy3"):
        options = {"imagej": True, "metadata": {"axes": "ZYX"}}
        tifffile.imwrite(tmp_path / f"{name}.tif", stack + (name == "cy3"), **options)
    tifffile.imwrite(tmp_path / "flat.tif", stack[0])
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("dapi", "cy3", "flat")}
    two = scene_path(Scene({name: paths[name] for name in ("dapi", "cy3")}))
    with open_image(two, {"z": 2}) as image:
        assert np.array_equal(image.read(), np.stack([stack[1], stack[1] + 1], axis=-1))
    with pytest.raises(ImageError, match=r"^its band flat: plane z: 2 does not exist; the image has 1"):
        open_image(scene_path(Scene(paths)), {"z": 2})


def test_bands_without_a_place_on_earth_are_of_one_size(opened, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 48), np.uint8)
    tifffile.imwrite(tmp_path / "dapi.tif", pixels[0])
    tifffile.imwrite(tmp_path / "cy3.tif", pixels[1], tile=(16, 16))
    tifffile.imwrite(tmp_path / "small.tif", pixels[0, ::2, ::2])
    paths = {name: tmp_path / f"{name}.tif" for name in ("dapi", "cy3", "small")}
    assert np.array_equal(
        read(opened({name: paths[name] for name in ("dapi", "cy3")}).reader(0, None, None)),
        pixels.transpose(1, 2, 0),
    )
    with pytest.raises(
        ImageError, match=r"^its bands differ in extent: dapi .* to \(48, 32\), small .*24, 16"
    ):
        opened(paths)


def test_bands_of_which_none_is_the_finest_are_one_failure(opened, tmp_path):
    paths = {
        "tall": write_band(tmp_path / "tall.tif", (240, 180)),
        "wide": write_band(tmp_path / "wide.tif", (120, 360)),
    }
    with pytest.raises(ImageError, match=r"^of its bands tall and wide, each has the finer pixels along one"):
        opened(paths)


def predict(make_task, path, name, **options):
    """Run the job of an image, and return its result."""
    task = make_task(path, filename=name, **options)
    task = replace(task, output=task.output.replace("/result.", f"/{name}."))
    predict_image(task)
    return read_result(task.output)


def test_patches_without_data_are_those_of_a_vrt_of_the_same_bands(make_task, tmp_path):
    paths = {}
    for number, (nodata, rows) in enumerate([(0, 128), (7, 96), (None, 0)]):
        name = f"b{number}"
        paths[name] = str(write_band(tmp_path / f"{name}.tif", (240, 360), seed=number, nodata=nodata))
        with rasterio.open(paths[name], "r+") as file:
            pixels = file.read(1)
            pixels[:rows, :64] = nodata or 0
            file.write(pixels, 1)
    vrt = tmp_path / "all.vrt"
    for bands in (["b0", "b1"], ["b0", "b1", "b2"]):
        chosen = {name: paths[name] for name in bands}
        shown_by_gdal(chosen, tmp_path)
        tables = [
            pq.read_table(predict(make_task, path, name, skip={"nodata": 0.6}).path)
            for name, path in (("scene", scene_path(Scene(chosen))), ("all.vrt", vrt))
        ]
        assert tables[0].equals(tables[1])
        assert (tables[0]["skipped"].null_count == len(tables[0])) == ("b2" in bands)


def test_a_band_may_be_a_vrt(opened, tmp_path):
    paths = {name: write_band(tmp_path / f"{name}.tif", size) for name, size in SIZES.items()}
    expected = shown_by_gdal(paths, tmp_path)
    subprocess.run(["gdalbuildvrt", "-q", tmp_path / "half.vrt", paths["half"]], check=True)
    paths["half"] = tmp_path / "half.vrt"
    assert np.array_equal(read(opened(paths).reader(0, None, None)), expected)


def test_exports_name_the_statistics_of_each_band(make_task, tmp_path):
    paths = {name: str(write_band(tmp_path / f"{name}.tif", (64, 64))) for name in ("B04", "B8A")}
    of = {
        "kind": "statistics",
        "of": ["mean", "histogram"],
        "bins": 2,
        "range": [0, 200],
        "per_channel": True,
    }
    result = predict(make_task, scene_path(Scene(paths)), "scene", predictor=of)
    geotiff.write(result, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.descriptions == (
            *("B04 mean", "B04 histogram 1", "B04 histogram 2"),
            *("B8A mean", "B8A histogram 1", "B8A histogram 2"),
        )
    assert read_footer(result.path)[0]["image"]["bands"] == ["B04", "B8A"]
    # An image that is a file has numbers.
    result = predict(make_task, paths["B04"], "b04.tif", predictor=of)
    assert result.value_names == ["1", "2", "3"]


@pytest.mark.parametrize(
    "path",
    [
        *(
            '{"bands":',
            '{"bands":{}}',
            '{"bands":{},"resample":"nearest"}',
            '{"bands":[1],"resample":"nearest"}',
        ),
        '{"bands":{"a":1},"resample":"nearest"}',
    ],
)
def test_path_that_only_begins_like_a_scene_is_a_file(path):
    with pytest.raises(ImageError, match=r"^cannot be opened: No such file or directory"):
        open_image(path)


def test_band_of_a_scene_is_no_scene(tmp_path):
    path = str(write_band(tmp_path / "a.tif", (16, 16)))
    with pytest.raises(ImageError, match=r"^its band outer: cannot be opened: "):
        open_image(scene_path(Scene({"outer": scene_path(Scene({"inner": path}))})))
