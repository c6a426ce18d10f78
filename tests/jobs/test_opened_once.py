"""How often the job of an image opens its file."""

from pathlib import Path

import numpy as np
import openslide
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.transform import Affine

from quadrat.files.scenes import Scene, scene_path
from quadrat.images import drivers
from quadrat.jobs.predict import predict_image
from quadrat.results.schema import read_footer
from slides import write_bif, write_mrxs, write_scn

RESOLUTION = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 micrometres
SKIP_NODATA, SKIP_GLASS = {"nodata": 1.0}, {"background": {"tissue_below": 0.1}}
CONFIGURATIONS = {
    "default": {},
    "channels": {"channels": [3, 1]},
    "nodata": {"skip": SKIP_NODATA},
    "mpp": {"mpp": 1.0},
    "averaged": {"mpp": 0.8},
    "nodata and mpp": {"skip": SKIP_NODATA, "mpp": 1.0},
    "channels, nodata and mpp": {"channels": [2], "skip": SKIP_NODATA, "mpp": 1.0},
    "level": {"level": 1},
    "tissue": {"skip": SKIP_GLASS},
    "tissue, nodata and mpp": {"skip": SKIP_GLASS | SKIP_NODATA, "mpp": 3.0},
}


@pytest.fixture
def opened(monkeypatch):
    """Return the files that tifffile, OpenSlide and GDAL open, in their order."""
    found = {"tifffile": [], "openslide": [], "gdal": []}
    for name, opener in (("tifffile", tifffile.TiffFile), ("openslide", openslide.OpenSlide)):

        def count(self, path, *given, opens=opener.__init__, names=found[name], **options):
            names.append(Path(path).name)
            opens(self, path, *given, **options)

        monkeypatch.setattr(opener, "__init__", count)

    def count_dataset(path, *given, opens=drivers.DatasetReader, **options):
        found["gdal"].append(Path(path).name)
        return opens(path, *given, **options)

    monkeypatch.setattr(drivers, "DatasetReader", count_dataset)
    return found


@pytest.fixture
def predicted(make_task):
    """Return a function that predicts an image that has no failure."""

    def predict(path, **changes):
        task = make_task(path, **changes)
        predict_image(task)
        assert "failure" not in read_footer(task.output)[0]

    return predict


def write_pyramid(path, pixels, photometric="rgb"):
    layout = {"photometric": photometric, "tile": (64, 64)}
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, subifds=2, **layout, **RESOLUTION)
        for step in (2, 4):
            tif.write(pixels[::step, ::step], subfiletype=1, **layout)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_tiff_is_opened_once(name, images, noise, predicted, opened):
    path = images / "a.tif"
    write_pyramid(path, noise(256, 384, 3))
    opened["tifffile"].clear()
    predicted(path, **CONFIGURATIONS[name])
    assert opened["tifffile"] == ["a.tif"]
    # GDAL alone sees whether there is a mask.
    assert opened["gdal"] == (["a.tif"] if "nodata" in name or name == "averaged" else [])


@pytest.mark.parametrize("mpp", [None, 0.8, 1.0])
def test_a_tiff_with_alpha_is_opened_once_and_by_tifffile_alone(mpp, images, noise, predicted, opened):
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(images / "a.tif", noise(128, 128, 4), **options, **RESOLUTION)
    opened["tifffile"].clear()
    predicted(images / "a.tif", skip=SKIP_NODATA, mpp=mpp)
    assert opened == {"tifffile": ["a.tif"], "openslide": [], "gdal": []}


def test_a_mask_is_read_from_the_dataset_that_showed_it(images, noise, predicted, opened):
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 3, "dtype": "uint8"}
    profile["transform"] = Affine(10, 0, 0, 0, -10, 0)
    path, mask = images / "a.tif", np.zeros((64, 64), np.uint8)
    mask[:32] = 255
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), rasterio.open(path, "w", **profile) as image:
        image.write(noise(3, 64, 64))
        image.write_mask(mask)
    predicted(path, skip=SKIP_NODATA)
    assert (opened["tifffile"], opened["gdal"]) == (["a.tif"], ["a.tif"])


@pytest.mark.parametrize("skip", [None, SKIP_GLASS], ids=["default", "tissue"])
def test_a_slide_of_openslide_is_opened_once_by_each_library(skip, images, noise, predicted, opened):
    write_mrxs(images / "a.mrxs", noise(512, 512, 3))
    predicted(images / "a.mrxs", skip=skip)
    assert (opened["tifffile"], opened["openslide"]) == ([], ["a.mrxs"])
    opened["openslide"].clear()
    # tifffile shows whose it is.
    write_scn(images / "a.scn", (512, 512), [(64, 64, noise(256, 256, 3))])
    opened["tifffile"].clear()
    predicted(images / "a.scn", skip=skip)
    assert (opened["tifffile"], opened["openslide"]) == (["a.scn"], ["a.scn"])


def test_a_bif_is_opened_once_by_each_library(images, noise, predicted, opened):
    write_bif(images / "a.bif", noise(256, 256, 3))
    opened["tifffile"].clear()
    predicted(images / "a.bif")
    assert (opened["tifffile"], opened["openslide"]) == (["a.bif"], ["a.bif"])


@pytest.mark.parametrize("skip", [None, SKIP_NODATA], ids=["default", "nodata"])
def test_gdal_opens_an_image_once_for_its_metadata_and_once_to_decode(skip, images, noise, predicted, opened):
    Image.fromarray(noise(64, 64, 3)).save(images / "a.webp", lossless=True)
    predicted(images / "a.webp", skip=skip)
    assert opened["tifffile"] == []
    # The number of threads is settled when it opens; where nodata are skipped, it looks for a mask too.
    assert len(opened["gdal"]) == (2 if skip is None else 3)


@pytest.mark.parametrize("name", ["default", "nodata", "mpp", "level"])
def test_each_band_of_a_scene_is_opened_once(name, images, noise, predicted, opened):
    for band in ("red", "nir"):
        write_pyramid(images / f"{band}.tif", noise(256, 384), photometric="minisblack")
    scene = Scene({band: str(images / f"{band}.tif") for band in ("nir", "red")})
    opened["tifffile"].clear()
    predicted(scene_path(scene), filename="scene", **CONFIGURATIONS[name])
    assert opened == {"tifffile": ["nir.tif", "red.tif"], "openslide": [], "gdal": []}
