import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from comparison import assert_reads, open_reader, row_blocks
from documents import PROJECT
from quadrat.errors import ImageError
from quadrat.images import drivers
from traps import RGB, written_by_gdal

# Each leads GDAL to a server.
FILES = {
    "WMS": """<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>
        <DataWindow><UpperLeftX>-1</UpperLeftX><UpperLeftY>1</UpperLeftY><LowerRightX>1</LowerRightX>
        <LowerRightY>-1</LowerRightY><TileLevel>3</TileLevel></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>""",
    "WMTS": "<GDAL_WMTS><GetCapabilitiesUrl>{url}/all</GetCapabilitiesUrl><Layer>a</Layer></GDAL_WMTS>",
    "WCS": "<WCS_GDAL><ServiceURL>{url}/wcs?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
    "VRT": """<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">
        <SimpleSource><SourceFilename>/vsicurl/{url}/a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>""",
}


@pytest.fixture
def server():
    """Return the address of a server, and the list of what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def parse_request(self):
            asked.append(self.raw_requestline)
            return False

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("ending", ["tif", "vrt"])
@pytest.mark.parametrize("form", FILES)
def test_file_that_names_a_server_is_refused_and_the_server_not_asked(tmp_path, server, form, ending):
    url, asked = server
    path = tmp_path / f"a.{ending}"
    path.write_text(FILES[form].format(url=url))
    with pytest.raises(ImageError):
        open_reader(path)
    assert asked == []


def test_gdal_itself_would_ask_the_server(tmp_path, server):
    url, asked = server
    (tmp_path / "a.tif").write_text(FILES["WMTS"].format(url=url))
    with pytest.raises(rasterio.RasterioIOError):
        rasterio.open(tmp_path / "a.tif")
    assert asked


PILLOW = ("BMP", "GIF", "WEBP")
TEXT = (PROJECT / "docs/formats.md").read_text(encoding="utf-8")


def test_the_drivers_in_the_document_are_those_that_gdal_may_use():
    listed = re.search(r"GDAL may use these drivers and no others: ([^.]+)\.", TEXT)[1]
    assert set(re.findall(r"`(\w+)`", listed)) == {*drivers.DRIVERS, drivers.VRT}


@pytest.mark.parametrize("driver", PILLOW)
def test_format_is_read_by_its_content_as_pillow_reads_it(driver, tmp_path):
    path = tmp_path / "a.tif"
    image = Image.fromarray(RGB[:96, :64])
    options = {"lossless": True} if driver == "WEBP" else {}
    if driver == "GIF":
        image = image.quantize(60, Image.Quantize.FASTOCTREE)
    image.save(path, format=driver, **options)
    with Image.open(path) as loaded:
        pixels = np.array(loaded.convert("RGB"))
    with open_reader(path) as reader:
        assert reader.info.format == driver
        assert_reads(reader, pixels, row_blocks(reader.info, 32, 32, "pad"))


def test_a_scene_that_gdal_warps_or_puts_together_is_read_from_its_vrt(tmp_path):
    where = {"crs": "EPSG:32612", "transform": Affine(10, 0, 5e5, 0, -10, 4e6)}
    with written_by_gdal(tmp_path / "scene.tif", 3, "uint8", (96, 64), **where) as image:
        image.write(RGB[:96, :64].transpose(2, 0, 1))
    with rasterio.open(tmp_path / "scene.tif") as image:
        rasterio.shutil.copy(image, tmp_path / "plain.vrt", driver="VRT")
        with WarpedVRT(image, crs="EPSG:3857") as warped:
            rasterio.shutil.copy(warped, tmp_path / "warped.vrt", driver="VRT")
    for name in ("plain.vrt", "warped.vrt"):
        with rasterio.open(tmp_path / name) as image, open_reader(tmp_path / name) as reader:
            pixels = image.read().transpose(1, 2, 0)
            assert_reads(reader, pixels, row_blocks(reader.info, 32, 32, "pad"))


@pytest.mark.parametrize(
    ("start", "named"),
    [(b"\x89HDF\r\n\x1a\n", "HDF5"), (b"CDF\x01", "netCDF"), (b"NITF02.10", "NITF"), (b"GRIB", "GRIB")],
)
def test_format_that_may_name_other_files_is_refused_by_its_name_with_the_way_out(start, named, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(start + bytes(100))
    with pytest.raises(ImageError, match=f"{named} is not read") as caught:
        open_reader(path)
    assert "gdal_translate" in caught.value.hint


@pytest.mark.parametrize(
    ("start", "named", "hint"),
    [
        (b"<!DOCTYPE html><html>", "a web page", "download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS", "git lfs pull"),
        (b"PK\3\4", "an archive", "unpack"),
        (b"\0\0\0\x18ftypheic", "HEIF", "ImageMagick"),
        (b"8BPS\0\1", "PSD", "ImageMagick"),
    ],
)
def test_other_kind_of_file_is_refused_by_its_name_with_what_helps(start, named, hint, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(start + bytes(200))
    with pytest.raises(ImageError, match=f"^it is {named}, which is not read$") as caught:
        open_reader(path)
    assert hint in caught.value.hint


def test_content_of_an_unknown_format_is_refused_without_a_command_that_would_fail(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"hello " * 50)
    with pytest.raises(ImageError, match="does not list its format") as caught:
        open_reader(tmp_path / "a.tif")
    assert caught.value.hint == ""


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_an_image_whose_metadata_name_its_overviews_elsewhere_is_refused(tmp_path):
    with written_by_gdal(tmp_path / "a", 1, "uint8", (96, 64)) as image:
        image.write(RGB[:96, :64, 0], 1)
        image.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "other.tif"))
    with pytest.raises(ImageError, match="its overviews are in another file"):
        drivers.open_local(str(tmp_path / "a"))
