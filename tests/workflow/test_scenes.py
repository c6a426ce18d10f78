"""Scenes in whole runs: each is one image, predicted again when the bytes of one of its bands change."""

import subprocess

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from studies import means

LANDSAT = "north/LC09_L2SP_038031_20230712_20230714_02_T1"
SAFE = "S2B_MSIL2A_20230712T180919_N0509_R084_T12TUL_20230712T220149.SAFE"
PIXELS = f"{SAFE}/GRANULE/L2A_T12TUL_A033153_20230712T181848/IMG_DATA"


def write_band(path, seed, side=128, metres=30, driver="GTiff", **options):
    """Write a band of noise that covers a square."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 9000, (side, side)).astype(np.uint16)
    profile = {"width": side, "height": side, "count": 1, "dtype": "uint16", "driver": driver, **options}
    profile |= {"crs": "EPSG:32612", "transform": Affine(metres, 0, 500_000, 0, -metres, 4_600_000)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    return pixels


@pytest.fixture
def landsat(study):
    """Return the bands of a Landsat scene that was predicted, beside files of it that are no channels."""
    study.configure(scenes="landsat", channels=["SR_B5", "SR_B4"])
    pixels = {
        name: write_band(
            study.images / f"{LANDSAT}_{name}.TIF", seed, 1280, compress="deflate", blockysize=16
        )
        for seed, name in enumerate(("SR_B4", "SR_B5", "QA_PIXEL"))
    }
    (study.images / f"{LANDSAT}_thumb_small.jpeg").write_bytes(b"\xff\xd8\xff")
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert "not taken: 1 not bands of scenes" in run.output
    expected = np.stack([pixels["SR_B5"], pixels["SR_B4"]], axis=-1)
    assert study.dictionary == {LANDSAT: means(expected)}
    return pixels


def test_scene_is_predicted_again_if_a_band_changes_and_only_then(study, landsat):
    whole = study.merged_bytes()
    for path in study.versions():
        path.unlink()
    study.configure(shard_pixels=400_000)
    run = study.run()
    assert (run.code, run.jobs("predict_shard")) == (0, 5), run.output
    assert study.merged_bytes() == whole
    band, other = (study.images / f"{LANDSAT}_{name}.TIF" for name in ("SR_B4", "QA_PIXEL"))
    earlier = study.dictionary
    band.touch()
    other.unlink()
    assert study.run().nothing_to_be_done
    # The same bytes under exchanged names are other channels.
    fifth = study.images / f"{LANDSAT}_SR_B5.TIF"
    band.rename(study.path / "kept")
    fifth.rename(band)
    (study.path / "kept").rename(fifth)
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    expected = means(np.stack([landsat["SR_B4"], landsat["SR_B5"]], axis=-1))
    assert study.dictionary == {LANDSAT: expected}
    band.rename(study.path / "kept")
    fifth.rename(band)
    (study.path / "kept").rename(fifth)
    run = study.run()
    assert (run.code, run.predicted, run.merged) == (0, 0, True), run.output
    assert study.dictionary == earlier


def test_scene_without_a_band_or_with_a_broken_one_is_one_failure(study, landsat):
    band = study.images / f"{LANDSAT}_SR_B4.TIF"
    content = band.read_bytes()
    for name in ("SR_B4", "SR_B5"):
        write_band(study.images / f"{LANDSAT.replace('north', 'south')}_{name}.TIF", 7)
    band.write_bytes(content[: len(content) // 2])
    run = study.run()
    assert run.code == 1
    assert f"{LANDSAT}: its band SR_B4: " in run.output
    band.unlink()
    run = study.run()
    assert run.code == 1
    assert f"{LANDSAT}: has no band SR_B4; it has QA_PIXEL, SR_B5" in run.output
    assert len(study.dictionary) == 1
    band.write_bytes(content)
    run = study.run()
    assert (run.code, run.predicted, run.merged) == (0, 0, True), run.output
    assert len(study.dictionary) == 2


def test_bands_of_several_resolutions_give_what_gdal_shows(study):
    names = {"B02": 10, "B8A": 20, "B01": 60}
    paths = {
        name: study.images / PIXELS / f"R{metres}m/T12TUL_20230712T180919_{name}_{metres}m.jp2"
        for name, metres in names.items()
    }
    for seed, (name, path) in enumerate(paths.items()):
        side = 960 // names[name]
        write_band(path, seed, side * 6, names[name], "JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    vrt = study.path / "all.vrt"
    subprocess.run(
        ["gdalbuildvrt", "-q", "-separate", "-resolution", "highest", vrt, *paths.values()], check=True
    )
    with rasterio.open(vrt) as file:
        expected = file.read().transpose(1, 2, 0)
    plain = study.run("--dry-run", "--config", "extensions=[.jp2]")
    assert "3 of the images are single bands of 1 scene; `scenes: sentinel-2` makes one image" in plain.output
    study.configure(scenes="sentinel-2", channels=[*names], extensions=[".jp2"], maps=True)
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert study.dictionary == {SAFE: means(expected)}
    assert (study.results / f"maps/{SAFE}.png").exists()
    run = study.run("inspect")
    assert run.code == 0
    assert f"{SAFE}" in run.output
    run = study.run("geotiff")
    assert run.code == 0, run.output
    with rasterio.open(study.results / f"geotiff/{SAFE}.tif") as file:
        assert file.crs.to_epsg() == 32612
