"""The configurations of docs/patches.md, and the one of docs/formats.md, read what their pages say."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import yaml

from documents import blocks
from quadrat.config import load_settings
from quadrat.files.hashing import hash_file
from quadrat.jobs.predict import predict_image

SIZE = 32


@pytest.fixture
def predict(make_task):
    """Return a function that predicts means as a block of YAML under a heading says, and returns the rows."""

    def run(path, document, heading, **task):
        (block,) = [block for block in blocks("yaml", document) if block.heading == heading]
        settings = load_settings({"patch_size": SIZE} | yaml.safe_load(block.text))
        task = make_task(path, **settings.reading.as_dict() | task)
        predict_image(task)
        return pq.ParquetFile(task.output).read().to_pylist()

    return run


def patches(pixels):
    """Return the patches of an image, in the order of rows."""
    rows, cols = pixels.shape[0] // SIZE, pixels.shape[1] // SIZE
    return [
        pixels[SIZE * row : SIZE * (row + 1), SIZE * col : SIZE * (col + 1)]
        for row in range(rows)
        for col in range(cols)
    ]


def test_plane_of_a_stack_is_counted_from_1(images, noise, predict):
    first, second = noise(2, 3, 64, 96, seed=1), noise(2, 3, 64, 96, seed=2)
    with tifffile.TiffWriter(images / "a.tif", ome=True) as writer:
        for stack in (first, second):
            writer.write(stack, photometric="minisblack", metadata={"axes": "TZYX"})
    rows = predict(images / "a.tif", "docs/formats.md", "Stacks, series and slides")
    assert [row["prediction"] for row in rows] == [patch.mean() for patch in patches(second[0, 2])]


def test_image_that_does_not_say_its_mpp_has_the_default_one(write_tiff, predict):
    image = write_tiff("a.tif", 128, 192)
    rows = predict(image.path, "docs/patches.md", "Size of a pixel")
    halved = np.rint(image.pixels.reshape(64, 2, 96, 2, 3).mean(axis=(1, 3)))  # 0.25 becomes 0.5
    assert [row["prediction"] for row in rows] == [patch.mean() for patch in patches(halved)]
    assert {(row["height"], row["width"]) for row in rows} == {(2 * SIZE, 2 * SIZE)}


def test_nodata_of_the_configuration_takes_the_place_of_what_the_file_declares(images, noise, predict):
    pixels = noise(64, 96, 3) + 1
    pixels[:32, :32] = 0
    pixels[32:, 32:64] = 9
    declared = [(42113, 2, 0, "9", True)]
    tifffile.imwrite(images / "a.tif", pixels, photometric="rgb", extratags=declared)
    rows = predict(images / "a.tif", "docs/patches.md", "Nodata", skip={"nodata": 1.0})
    expected = [None if not patch.any() else patch.mean() for patch in patches(pixels)]
    assert [row["prediction"] for row in rows] == expected
    assert [row["skipped"] for row in rows] == ["nodata", None, None, None, None, None]


def test_patches_outside_of_regions_and_of_glass_are_skipped(images, noise, predict, tmp_path):
    pixels = np.full((128, 128, 3), 240, np.uint8)
    pixels[:64] = (170, 60, 140) + noise(64, 128, 3) // 8
    with tifffile.TiffWriter(images / "a.svs") as writer:
        writer.write(pixels, subifds=1, photometric="rgb", tile=(32, 32))
        writer.write(pixels[::4, ::4], subfiletype=1, photometric="rgb", tile=(32, 32))
    drawn, left = tmp_path / "a.svs.geojson", [[0, 0], [64, 0], [64, 128], [0, 128], [0, 0]]
    drawn.write_text(json.dumps({"type": "Polygon", "coordinates": [left]}))
    regions = {"path": str(drawn), "hash": hash_file(drawn), "in_pixels": True}
    rows = predict(images / "a.svs", "docs/patches.md", "Patches that are skipped", regions=regions)
    expected = [
        ("outside", None) if x > 1 else (None, patch.mean()) if y < 2 else ("background", None)
        for (y, x), patch in zip(np.ndindex(4, 4), patches(pixels), strict=True)
    ]
    assert [(row["skipped"], row["prediction"]) for row in rows] == expected
