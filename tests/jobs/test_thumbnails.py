"""The thumbnail that a job saves: what it shows, and that no result depends on it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from quadrat.files.hashing import hash_file
from quadrat.images import thumbnail
from quadrat.images.thumbnail import GREY, load_thumbnail
from quadrat.jobs.join import join_shards
from quadrat.jobs.predict import predict_image

LAYOUTS = {
    "tiles.tif": {"tile": (64, 64), "compression": "zlib"},
    "strips.tif": {"rowsperstrip": 37, "compression": "lzw"},
    "one_strip.tif": {"rowsperstrip": 10**6, "compression": "zlib"},
    "raw.tif": {},
}


@pytest.fixture
def predict(make_task, results):
    """Return a function that predicts an image, and returns its thumbnail and the bytes of its result."""
    path = f"{results.path}/thumbnail.npz"

    def predicted(image, **reading):
        wanted = {"path": path, "channels": None, "shards": []}
        task = make_task(image, thumbnail=wanted, results=results.path, **reading)
        predict_image(task)
        saved = load_thumbnail(path) if os.path.getsize(path) else None
        return saved, Path(task.output).read_bytes()

    return predicted


@pytest.fixture
def without(make_task, results):
    """Return a function that predicts an image without a thumbnail, and returns the bytes of its result."""

    def predicted(image, **reading):
        task = make_task(image, results=results.path, **reading)
        predict_image(task)
        return Path(task.output).read_bytes()

    return predicted


@pytest.mark.parametrize(
    "reading",
    [
        {},
        {"patch_size": 100, "stride": 100},
        {"patch_size": 64, "stride": 48},
        {"edge": "pad", "patch_size": 90, "stride": 90},
        {"edge": "shift", "patch_size": 90, "stride": 90},
        {"channels": [2, 3, 1]},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_picture_is_that_of_the_whole_image_and_the_result_is_the_same_without_it(
    predict, without, write_tiff, name, reading
):
    image = write_tiff(name, 230, 310, **LAYOUTS[name])
    saved, result = predict(image.path, **reading)
    np.testing.assert_array_equal(saved.pixels, image.pixels)
    assert saved.steps == (1, 1)
    assert without(image.path, **reading) == result


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_picture_of_a_file_that_is_read_from_the_top_reaches_to_its_bottom(predict, images, noise, ending):
    path = images / f"a.{ending}"
    Image.fromarray(noise(230, 310, 3)).save(path)
    saved, _ = predict(path)
    np.testing.assert_array_equal(saved.pixels, np.asarray(Image.open(path)))


def test_picture_of_an_image_that_is_averaged_is_made_of_its_own_pixels(predict, without, write_tiff):
    image = write_tiff("a.tif", 230, 310, resolution=(10_000, 10_000), resolutionunit="CENTIMETER")
    saved, result = predict(image.path, mpp=2.5)
    np.testing.assert_array_equal(saved.pixels, image.pixels)
    assert without(image.path, mpp=2.5) == result


def test_of_a_large_image_each_pixel_is_a_mean(predict, write_tiff, monkeypatch):
    monkeypatch.setattr(thumbnail, "SIDE", 100)
    image = write_tiff("a.tif", 400, 200, tile=(16, 16))
    saved, _ = predict(image.path)
    means = image.pixels.reshape(100, 4, 50, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(saved.pixels, means, atol=0.5)
    assert saved.steps == (4, 4)


def test_shards_make_the_picture_of_the_image(make_task, write_tiff, results):
    image = write_tiff("a.tif", 230, 310, tile=(64, 64))
    parts, shards = [], []
    for rows in ([0, 2], [3, 5], [6, 6]):
        parts.append(f"{results.path}/{rows[0]}.npz")
        shards.append(f"{results.path}/shards/a.tif.0123456789ab.{rows[0]}-{rows[1]}.parquet")
        wanted = {"path": parts[-1], "channels": None, "shards": []}
        predict_image(
            make_task(image.path, rows=rows, output=shards[-1], thumbnail=wanted, results=results.path)
        )
    whole = f"{results.path}/whole.npz"
    wanted = {"path": whole, "channels": None, "shards": parts}
    join_shards(make_task(image.path, shards=shards, thumbnail=wanted, results=results.path))
    np.testing.assert_array_equal(load_thumbnail(whole).pixels, image.pixels)
    assert not any(map(os.path.exists, parts))


def test_patches_that_are_not_read_stay_grey(predict, without, tmp_path, write_tiff):
    image = write_tiff("a.tif", 96, 96, tile=(16, 16))
    left = [[0, 0], [32, 0], [32, 96], [0, 96], [0, 0]]
    path = tmp_path / "a.tif.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [left]}))
    regions = {"path": str(path), "hash": hash_file(path), "in_pixels": True}
    saved, result = predict(image.path, regions=regions)
    np.testing.assert_array_equal(saved.pixels[:, :32], image.pixels[:, :32])
    assert (saved.pixels[:, 32:] == GREY).all()
    assert without(image.path, regions=regions) == result


def test_image_without_a_patch_saves_no_picture(make_task, write_tiff, results):
    path = f"{results.path}/thumbnail.npz"
    wanted = {"path": path, "channels": None, "shards": []}
    predict_image(make_task(write_tiff("a.tif", 20, 20).path, thumbnail=wanted, results=results.path))
    assert not os.path.exists(path)


@pytest.mark.parametrize("reading", [{"channels": [1]}, {"channels": [3, 1]}])
def test_channels_that_are_not_read_leave_the_picture_to_the_job_that_draws(predict, write_tiff, reading):
    saved, _ = predict(write_tiff("a.tif").path, **reading)
    assert saved is None


def test_pyramid_leaves_the_picture_to_the_job_that_draws(predict, images, noise):
    with tifffile.TiffWriter(images / "a.tif") as tif:
        for level in (1, 2):
            pixels = noise(2400 // level, 2400 // level, 3)
            tif.write(pixels, tile=(256, 256), photometric="rgb", subfiletype=level - 1)
    saved, _ = predict(images / "a.tif", patch_size=512, stride=512)
    assert saved is None
