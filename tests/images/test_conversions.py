"""The commands of GDAL that docs/formats.md and the hints of errors name do what they promise."""

import io
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.control import GroundControlPoint

from comparison import assert_reads, open_reader, row_blocks
from documents import commands
from quadrat.errors import ImageError
from quadrat.files.unread import not_taken
from traps import HEIGHT, RGB, U16, WIDTH, written_by_gdal

FORMATS = Path(__file__).parents[2] / "docs/formats.md"
VRT_LINES = [
    line.text for line in commands("docs/formats.md") if re.match(r"gdalbuildvrt .*\.vrt", line.text)
]

HAS_GDAL = shutil.which("gdal_translate") or os.environ.get("CI")

pytestmark = pytest.mark.skipif(not HAS_GDAL, reason="GDAL's command line tools are missing")


def run(command, folder):
    subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True, text=True)


def assert_image(path, pixels):
    with open_reader(path) as reader:
        assert_reads(reader, pixels, row_blocks(reader.info, 512, 512, "pad"))


def test_bands_of_landsat_become_the_channels_of_one_image(tmp_path):
    names = [f"LC09_L2SP_038032_20240601_SR_B{band}.TIF" for band in range(2, 8)]
    for number, name in enumerate(names):
        with written_by_gdal(tmp_path / name, 1, "uint16") as image:
            image.write(U16 + number, 1)
    (command,) = VRT_LINES
    run(command.replace("gdalbuildvrt", "gdalbuildvrt -q"), tmp_path)
    pixels = np.dstack([U16 + number for number in range(len(names))])
    assert_image(tmp_path / "LC09_SR.vrt", pixels)


def converted(path, command=None):
    """Run the command that the refusal of an image names, or another, and give the image that it makes."""
    with pytest.raises(ImageError) as error:
        open_reader(path)
    command = command or error.value.hint.removeprefix("convert it: ")
    assert command.startswith("gdal_translate ")
    assert command in FORMATS.read_text()
    run(command.replace(" IN ", f" {path.name} "), path.parent)
    return path.with_name("OUT.tif")


def test_a_format_of_several_files_is_converted_by_the_command_of_its_error(tmp_path):
    with written_by_gdal(tmp_path / "a.img", 1, "uint16", driver="ENVI") as image:
        image.write(U16, 1)
    result = converted(tmp_path / "a.img")
    assert_image(result, U16[..., None])
    run("gdaladdo OUT.tif 2 4", tmp_path)
    with open_reader(result, level=2) as reader:
        assert reader.info.level_count == 3


def test_channels_of_different_types_are_converted_by_the_documented_command(tmp_path):
    for name, dtype, pixels in (("a.tif", "uint8", RGB[..., 0]), ("b.tif", "uint16", U16)):
        with written_by_gdal(tmp_path / name, 1, dtype) as image:
            image.write(pixels, 1)
    run("gdalbuildvrt -separate a.vrt a.tif b.tif", tmp_path)
    result = converted(tmp_path / "a.vrt", "gdal_translate -ot Float32 IN OUT.tif")
    assert_image(result, np.dstack([RGB[..., 0], U16]).astype(np.float32))


def test_an_image_in_pieces_that_gdal_caches_is_converted_by_the_documented_command(tmp_path):
    with written_by_gdal(tmp_path / "a.mrf", 3, "uint8", driver="MRF", COMPRESS="DEFLATE") as image:
        image.write(RGB.transpose(2, 0, 1))
    result = converted(tmp_path / "a.mrf", "gdal_translate IN OUT.tif")
    assert_image(result, RGB)


def test_an_array_of_a_zarr_folder_is_converted_by_the_documented_command(tmp_path):
    with written_by_gdal(tmp_path / "a.tif", 1, "uint16") as image:
        image.write(U16, 1)
    run("gdal_translate -of Zarr a.tif a.zarr", tmp_path)
    (line,) = not_taken({".zarr": 1})
    listed = subprocess.run(["gdalinfo", "a.zarr"], cwd=tmp_path, check=True, capture_output=True, text=True)
    arrays = re.findall(r"_NAME=(ZARR:.*)", listed.stdout)
    array = next((f"'{name}'" for name in arrays if "X" not in name and "Y" not in name), "a.zarr")
    run(line.rpartition(": ")[2].replace("ARRAY", array), tmp_path)
    assert_image(tmp_path / "OUT.tif", U16[..., None])


def test_control_points_are_applied_by_the_command_of_the_note(tmp_path):
    corners = [(0, 0), (300, 0), (0, 200), (300, 200)]
    points = [GroundControlPoint(y, x, 5e5 + 10 * x, 4e6 - 10 * y) for x, y in corners]
    with written_by_gdal(tmp_path / "a.tif", 1, "uint16") as image:
        image.write(U16, 1)
        image.gcps = points, "EPSG:32612"
    with open_reader(tmp_path / "a.tif") as reader:
        command = re.search(r"gdalwarp IN OUT\.tif", "".join(reader.info.notes))[0]
    run(command.replace("IN", "a.tif"), tmp_path)
    with open_reader(tmp_path / "OUT.tif") as reader:
        assert reader.info.transform == pytest.approx((10, 0, 5e5, 0, -10, 4e6), abs=1e-6)
        assert (reader.info.crs, reader.info.notes) == ("EPSG:32612", ())


def test_place_of_a_world_file_and_a_reference_system_are_written_into_the_image(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("10\n0\n0\n-10\n500005\n3999995\n")
    command = "gdal_translate -a_srs EPSG:32612 IN OUT.tif"
    assert command in FORMATS.read_text()
    run(command.replace("IN", "a.png"), tmp_path)
    assert_image(tmp_path / "OUT.tif", RGB)
    with open_reader(tmp_path / "OUT.tif") as reader:
        assert reader.info.transform == (10, 0, 500_000, 0, -10, 4_000_000)
        assert reader.info.crs == "EPSG:32612"


def write_ycbcr(path, compression, data, tags=()):
    """Write a TIFF of one strip of subsampled YCbCr, which no library at hand would write."""
    start = 8 + 2 + 12 * (10 + len(tags)) + 4
    entries = [
        (256, 4, 1, WIDTH), (257, 4, 1, HEIGHT), (258, 3, 3, start + len(data)), (259, 3, 1, compression),
        (262, 3, 1, 6), (273, 4, 1, start), (277, 3, 1, 3), (278, 4, 1, HEIGHT), (279, 4, 1, len(data)),
        *((tag, 4, 1, start if value is None else value) for tag, value in tags), (530, 3, 2, 2 | 2 << 16),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = struct.pack("<4sIH", b"II*\0", 8, len(entries)) + directory + bytes(4)
    path.write_bytes(header + data + struct.pack("<3H", 8, 8, 8))


def test_old_style_jpeg_is_converted_by_the_command_of_its_error(tmp_path):
    jpeg = io.BytesIO()
    # Of grey, since decoders spread subsampled chroma differently.
    Image.fromarray(np.dstack([RGB[..., 0]] * 3)).save(jpeg, format="JPEG", subsampling=2)
    data = jpeg.getvalue()
    write_ycbcr(tmp_path / "a.tif", 6, data, tags=[(513, None), (514, len(data))])
    with Image.open(jpeg) as image:
        assert_image(converted(tmp_path / "a.tif"), np.array(image))


def test_subsampled_ycbcr_is_converted_by_the_command_of_its_error(tmp_path):
    luma = np.pad(RGB[..., 0], ((0, HEIGHT % 2), (0, WIDTH % 2)), mode="edge")
    rows, cols = luma.shape[0] // 2, luma.shape[1] // 2
    units = np.full((rows, cols, 6), 128, np.uint8)  # without chroma: what is converted is grey
    units[..., :4] = luma.reshape(rows, 2, cols, 2).transpose(0, 2, 1, 3).reshape(rows, cols, 4)
    write_ycbcr(tmp_path / "a.tif", 1, units.tobytes())
    assert_image(converted(tmp_path / "a.tif"), np.dstack([RGB[..., 0]] * 3))
