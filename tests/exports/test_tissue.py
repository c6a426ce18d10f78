"""The tissue of slides as QuPath imports it, and as regions."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
import tifffile

from quadrat.exports.tissue import Slide, answer, export_tissue
from quadrat.files.hashing import hash_file
from quadrat.jobs.predict import predict_image
from quadrat.processes.limits import Ended
from quadrat.results.result import read_result
from quadrat.settings import ReadSettings
from slides import write_mrxs

GLASS, STAIN = (240, 238, 241), (170, 60, 140)
READING = ReadSettings(patch_size=64, stride=64)


def write_slide(path, stained, step=4):
    """Write a slide whose coarse level shows a mask of tissue; its level 0 is noise."""
    pixels = np.where(stained[..., np.newaxis], np.uint8(STAIN), np.uint8(GLASS))
    height, width = stained.shape
    noise = np.random.default_rng(0).integers(0, 256, (height * step, width * step, 3), np.uint8)
    with tifffile.TiffWriter(path) as tif:
        options = {"photometric": "rgb", "tile": (64, 64)}
        tif.write(noise, subifds=1, **options)
        tif.write(pixels, subfiletype=1, **options)


@pytest.fixture
def export(results):
    """Return a function that exports slides, and returns the lines that it logs."""

    def run(paths, reading=READING, ask=lambda questions: map(answer, questions)):
        lines = []
        slides = [Slide(path.name, str(path), [path.stat().st_mtime_ns]) for path in paths]
        export_tissue(slides, reading, results.path, ask, lines.append)
        return lines

    return run


@pytest.fixture
def read(results):
    """Return a function that reads the one annotation of a slide."""

    def load(filename):
        (feature,) = json.loads(Path(results.path, f"tissue/{filename}.geojson").read_text())["features"]
        return feature

    return load


def test_annotation_covers_the_pixels_that_are_stained(images, export, read):
    stained = np.random.default_rng(1).random((64, 80)) < 0.3
    stained[:9, :11] = True
    stained[2:4, 3:5] = False
    write_slide(images / "a.tif", stained)
    assert export([images / "a.tif"])[-1].endswith("1 written, 0 unchanged, 0 removed")
    found = read("a.tif")
    assert found["properties"] == {"objectType": "annotation", "classification": {"name": "Tissue"}}
    geometry = shapely.geometry.shape(found["geometry"])
    assert geometry.is_valid
    drawn = rasterio.features.rasterize([geometry], stained.shape, transform=(4, 0, 0, 0, 4, 0))
    np.testing.assert_array_equal(drawn, stained)
    assert geometry.area == 16 * stained.sum()


def test_level_that_does_not_divide_the_image_ends_with_it(images, export, read):
    with tifffile.TiffWriter(images / "a.tif") as tif:
        options = {"photometric": "rgb", "tile": (64, 64)}
        tif.write(np.full((257, 255, 3), GLASS, np.uint8), subifds=1, **options)
        coarse = np.full((65, 64, 3), GLASS, np.uint8)
        coarse[40:, 40:] = STAIN
        tif.write(coarse, subfiletype=1, **options)
    export([images / "a.tif"])
    # A pixel of the level is 4 pixels wide, and the last ones reach past the image.
    assert shapely.geometry.shape(read("a.tif")["geometry"]).bounds == (160, 160, 255, 257)


def regions_of(results, filename):
    path = f"{results.path}/tissue/{filename}.geojson"
    return {"path": path, "hash": hash_file(path), "in_pixels": True}


def kept(task):
    predict_image(task)
    rows = read_result(
        str(Path(task.output).rename(task.output.replace("result.", f"{task.filename}.")))
    ).read()
    return [(row["y"], row["x"]) for row in rows.to_pylist() if row["skipped"] is None]


def test_slide_of_which_a_part_was_scanned_lies_where_its_regions_do(images, export, make_task, results):
    pixels = np.full((16 * 32, 18 * 32, 3), 255, np.uint8)
    pixels[3 * 32 : 6 * 32, 2 * 32 : 8 * 32] = GLASS
    pixels[4 * 32 : 5 * 32, 6 * 32 : 7 * 32] = STAIN
    left_out = [
        row * 18 + col for row in range(16) for col in range(18) if not (3 <= row < 6 and 2 <= col < 8)
    ]
    write_mrxs(images / "a.mrxs", pixels, tile=32, left_out=left_out)
    reading = ReadSettings(patch_size=32, stride=32)
    export([images / "a.mrxs"], reading)
    regions = regions_of(results, "a.mrxs")
    assert kept(make_task(images / "a.mrxs", regions=regions)) == [(128, 192)]
    by_tissue = make_task(images / "a.mrxs", skip={"background": {"tissue_below": 0.5}})
    assert kept(by_tissue) == [(128, 192)]


def test_glass_alone_has_a_file_without_an_annotation(images, export, results, make_task):
    write_slide(images / "a.tif", np.zeros((64, 64), bool))
    export([images / "a.tif"])
    assert json.loads(Path(results.path, "tissue/a.tif.geojson").read_text())["features"] == []
    assert kept(make_task(images / "a.tif", regions=regions_of(results, "a.tif"))) == []


def test_slide_without_tissue_to_find_is_reported_and_the_others_are_written(images, export, results):
    write_slide(images / "a.tif", np.eye(64, dtype=bool))
    tifffile.imwrite(images / "flat.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    (images / "broken.tif").write_bytes(b"II*\0")
    names = ["flat.tif", "broken.tif", "a.tif", "gone.tif"]
    paths = [images / name for name in names]
    paths[-1].touch()
    lines = export(paths)
    assert [line.split(" was not written: ")[0].rpartition("/")[2] for line in lines[:-1]] == [
        f"{name}.geojson" for name in ("flat.tif", "broken.tif", "gone.tif")
    ]
    assert "it has no pyramid levels" in lines[0]
    assert lines[-1].endswith("1 written, 0 unchanged, 0 removed")
    assert [path.name for path in Path(results.path, "tissue").iterdir()] == ["a.tif.geojson"]
    crash = [Ended("ended by SIGSEGV", "")]
    assert export([images / "flat.tif"], ask=lambda questions: crash)[0].endswith(
        "cannot be read: ended by SIGSEGV"
    )


def test_long_list_of_problems_is_cut(images, export):
    paths = [images / f"{number:02}.tif" for number in range(13)]
    for path in paths:
        path.touch()
    lines = export(paths)
    assert len(lines) == 12
    assert lines[10] == "and 3 more"


def test_only_slides_that_changed_are_written_again(images, export):
    for name in ("a.tif", "b.tif"):
        write_slide(images / name, np.eye(64, dtype=bool))
    paths = [images / "a.tif", images / "b.tif"]
    export(paths)
    assert export(paths)[-1].endswith("0 written, 2 unchanged, 0 removed")
    write_slide(images / "b.tif", np.eye(64, dtype=bool)[::-1])
    assert export(paths)[-1].endswith("1 written, 1 unchanged, 0 removed")
    assert export(paths[:1])[-1].endswith("0 written, 1 unchanged, 1 removed")
    coarser = ReadSettings(patch_size=128, stride=128)
    assert export(paths[:1], coarser)[-1].endswith("1 written, 0 unchanged, 0 removed")
