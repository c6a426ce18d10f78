import os

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import Affine

from quadrat import open_image
from quadrat.errors import ImageError
from traps import GRAY, written_by_gdal

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
PLACE = (10, 0, 5e5, 0, -10, 4e6)
WORLD_FILE = "10\n0\n0\n-10\n500005\n3999995\n"
TIES = [0, 0, 0, 5e5, 4e6, 0, 30, 0, 0, 5.003e5, 4e6, 0]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a TIFF and its world file, and returns the path of the TIFF."""

    def make(world_file=WORLD_FILE, tags=(), **options):
        (tmp_path / "a.tfw").write_text(world_file)
        options = {"photometric": "minisblack", "metadata": None, "extratags": list(tags)} | options
        tifffile.imwrite(tmp_path / "a.tif", GRAY, **options)
        return tmp_path / "a.tif"

    return make


def assert_placed_as_by_gdal(path):
    with rasterio.open(path) as image, open_image(path) as ours:
        assert ours.info.transform == tuple(image.transform)[:6]
        assert ours.info.crs == (image.crs.to_string() if image.crs else None)
        assert ours.info.notes == ()


def test_image_with_a_place_of_its_own_keeps_it(write, tmp_path):
    write()
    crs = {"crs": "EPSG:32612", "transform": Affine(2, 0, 0, 0, -2, 0)}
    with written_by_gdal(tmp_path / "a.tif", 1, "uint8", (40, 30), **crs):
        pass
    assert_placed_as_by_gdal(tmp_path / "a.tif")
    with open_image(tmp_path / "a.tif") as image:
        assert image.info.transform == (2, 0, 0, 0, -2, 0)


KEYS = (34735, 3, 12, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32612), True)


@pytest.mark.parametrize("tags", [[], [KEYS], [KEYS, (33922, 12, len(TIES), TIES, True)]])
def test_image_without_a_transform_has_that_of_its_world_file_and_its_own_reference_system(tags, write):
    assert_placed_as_by_gdal(write(tags=tags))


def test_every_level_and_reader_of_an_image_has_the_place(write):
    path = write(tile=(128, 128))
    with tifffile.TiffWriter(path) as tif:
        options = {"photometric": "minisblack", "tile": (128, 128)}
        tif.write(GRAY, subifds=1, **options)
        tif.write(GRAY[::2, ::2], subfiletype=1, **options)
    with open_image(path) as image:
        readers = [image.reader(), image.reader(1, [1]), image.reader(image.level_for(gsd=30))]
        assert [reader.info.transform for reader in readers] == [PLACE] * 3
        assert [reader.info.downsample for reader in readers] == [(1, 1), (2, 2), (3, 3)]


def test_another_series_than_the_first_has_no_world_file(write):
    path = write()
    with tifffile.TiffWriter(path) as tif:
        for pixels in (GRAY, GRAY[:64, :64]):
            tif.write(pixels, photometric="minisblack")
    found = []
    for number in (1, 2):
        with open_image(path, {"series": number}) as image:
            found.append(image.info.transform)
    assert found == [PLACE, None]


def test_world_file_that_is_not_usable_is_noted_and_the_reason_why_gsd_cannot_be_read(write):
    note = "no place on Earth: its world file is not usable (line 4 is not a number)"
    with open_image(write(WORLD_FILE.replace("-10", "ten"))) as image:
        assert image.info.transform is None
        assert image.info.notes == (note,)
        with pytest.raises(ImageError, match="it has no georeference") as caught:
            image.level_for(gsd=20)
        assert caught.value.hint == f"{note}; read it at a level (config.yaml: level)"


@pytest.mark.parametrize("numbers", ["0 0 0 0 1 2", "10 10 10 10 1 2", "10 0 0 -10 1e999 2"])
def test_world_file_that_gives_pixels_no_area_is_noted(numbers, write):
    with open_image(write("\n".join(numbers.split()))) as image:
        assert image.info.transform is None
        assert image.info.notes == ("no place on Earth: its pixels would have no area",)


@pytest.mark.parametrize("scale", [[np.nan, 10, 0], [10, np.inf, 0], None])
def test_transform_that_gives_pixels_no_area_is_no_place(scale, write):
    """GDAL has a transform of NaN, or of zeros."""
    tags = [(34264, 12, 16, [0] * 16, True)]
    if scale:
        tags = [(33550, 12, 3, scale, True), (33922, 12, 6, TIES[:6], True)]
    path = write(tags=tags)
    with rasterio.open(path) as image:
        assert not np.abs(image.transform.determinant) > 0 or np.isinf(image.transform.determinant)
    with open_image(path) as image:
        assert image.info.transform is None
        assert image.info.notes == ("no place on Earth: its pixels would have no area",)
        with pytest.raises(ImageError, match="has no georeference"):
            image.level_for(gsd=10)


def test_world_file_that_cannot_be_read_is_an_error_of_the_image(write, monkeypatch):
    path = write()

    def refuse(file):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("quadrat.images.place.read_world_file", refuse)
    with open_image(path) as image, pytest.raises(ImageError) as caught:
        assert image.info
    assert str(caught.value) == "its world file a.tfw cannot be read: Permission denied"
    with written_by_gdal(path, 1, "uint8", (40, 30), crs="EPSG:32612", transform=Affine(*PLACE)):
        pass
    with open_image(path) as image:
        assert image.info.transform == PLACE


def test_gsd_of_an_image_without_a_reference_system_is_in_units_of_its_world_file(write):
    with open_image(write()) as image:
        assert image.level_for(gsd=20).downsample == (2, 2)
        with pytest.raises(ImageError) as caught:
            image.level_for(gsd=0.001)
        assert caught.value.hint == "gsd is in the unit of its coordinates, which its files do not name"


def test_control_points_of_a_vrt_are_noted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.uint8), photometric="minisblack")
    points = (f'<GCP Id="{x}{y}" Pixel="{x}" Line="{y}" X="{x}" Y="{y}"/>' for x in (0, 9) for y in (0, 9))
    (tmp_path / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9"><GCPList Projection="EPSG:4326">{"".join(points)}'
        '</GCPList><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">'
        "a.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(tmp_path / "a.vrt") as image:
        assert len(image.gcps[0]) == 4
    with open_image(tmp_path / "a.vrt") as image:
        assert (image.info.crs, image.info.transform) == ("EPSG:4326", None)
        assert image.info.notes == (
            "no place on Earth: control points are not applied (gdalwarp IN OUT.tif applies them)",
        )
