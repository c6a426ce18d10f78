"""A VRT is predicted again when, and only when, the bytes of one of its sources change."""

import os
import shutil

import numpy as np
import pytest

from studies import means, write_image

HEIGHT, WIDTH = 100, 140
SOURCES = ("red", "green")


def write_vrt(path):
    """Write a VRT whose channels are the first channels of two images."""
    bands = (
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">'
        f"../stored/{name}.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for band, name in enumerate(SOURCES, start=1)
    )
    path.write_text(f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{"".join(bands)}</VRTDataset>')


@pytest.fixture
def stored(study):
    """Return the folder of the sources of a VRT that was predicted."""
    folder = study.path / "stored"
    pixels = [write_image(folder / f"{name}.tif", seed)[..., 0] for seed, name in enumerate(SOURCES)]
    write_vrt(study.images / "a.vrt")
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert study.dictionary == {"a.vrt": means(np.stack(pixels, axis=-1))}
    return folder


@pytest.mark.long
def test_source_touched_or_copied(study, stored):
    run = study.run()
    assert run.nothing_to_be_done, run.output
    (stored / "red.tif").touch()
    shutil.copyfile(stored / "green.tif", stored / "copy.tif")
    (stored / "copy.tif").replace(stored / "green.tif")
    run = study.run()
    assert run.nothing_to_be_done, run.output


def test_source_replaced_by_other_bytes_of_the_same_size_and_time_and_back(study, stored):
    path, earlier = stored / "green.tif", study.dictionary
    before, original = path.stat(), path.read_bytes()
    write_image(path, 9)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert study.dictionary != earlier
    path.write_bytes(original)
    run = study.run()
    assert (run.code, run.predicted, run.merged) == (0, 0, True), run.output
    assert study.dictionary == earlier


@pytest.mark.long
def test_source_missing_and_back(study, stored):
    earlier = study.dictionary
    write_image(study.images / "other.tif", 5)
    (stored / "red.tif").rename(stored / "hidden")
    run = study.run()
    assert (run.code, run.predicted) == (1, 2), run.output
    assert "a.vrt: its source ../stored/red.tif: no such file" in run.output
    assert list(study.dictionary) == ["other.tif"]
    (stored / "hidden").rename(stored / "red.tif")
    run = study.run()
    assert (run.code, run.predicted, run.merged) == (0, 0, True), run.output
    assert study.dictionary["a.vrt"] == earlier["a.vrt"]
