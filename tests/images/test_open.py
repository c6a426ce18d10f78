import os
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image

import quadrat
from comparison import assert_reads, row_blocks
from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.open import open_image
from traps import RGB, TILE


def test_the_content_and_not_the_extension_chooses_the_reader(tmp_path):
    tifffile.imwrite(tmp_path / "is_tiff.png", RGB, photometric="rgb", **TILE)
    Image.fromarray(RGB).save(tmp_path / "is_png.tif", format="PNG")
    Image.fromarray(RGB).save(tmp_path / "is_bmp", format="BMP")
    for name, form in (("is_tiff.png", "TIFF"), ("is_png.tif", "PNG"), ("is_bmp", "BMP")):
        with open_image(tmp_path / name) as reader:
            assert reader.info.format == form
            assert_reads(reader, RGB, row_blocks(reader.info, 256, 256, "drop"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"not an image\n" * 40, "its format is none of those in docs/formats"),
        (b"II*\0", "not a readable TIFF"),
        (b"II*\0\xff\xff\xff\xff", "not a readable TIFF: it holds no image"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (bytes(5000), "its format is none of those in docs/formats"),
    ],
)
def test_a_file_that_is_no_image_is_refused_in_one_line(content, reason, tmp_path, capfd):
    path = tmp_path / "file.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as error:
        open_image(path)
    assert "\n" not in str(error.value)
    assert "file.tif" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
def test_an_image_that_is_no_stack_has_no_other_plane(form, tmp_path):
    with open(tmp_path / "a", "wb") as file:
        Image.fromarray(RGB).save(file, format=form)
    with open_image(tmp_path / "a", plane={"z": 1}):
        pass
    with pytest.raises(ImageError, match="plane z: 2: the image has 1"):
        open_image(tmp_path / "a", plane={"z": 2})


def test_a_slide_whose_pixels_lie_in_folders_that_are_not_watched_is_refused(tmp_path):
    with open(tmp_path / "a.VSI", "wb") as file:
        Image.fromarray(RGB).save(file, format="TIFF")
    with pytest.raises(ImageError, match="pixels lie in a folder beside it") as error:
        open_image(tmp_path / "a.VSI")
    assert "convert it" in error.value.hint


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ImageError, match="cannot be opened: No such file"):
        open_image(tmp_path / "nowhere.tif")
    with pytest.raises(ImageError, match="cannot be opened: Is a directory"):
        open_image(tmp_path)


@pytest.mark.parametrize("form", ["TIFF", "PNG", "JPEG", "BMP"])
def test_names_that_decoders_could_take_for_something_else_are_names(form, tmp_path):
    names = ["a[1].png[access=random]", "zip!x.tif", "ünï.tif", "a:b.tif", "what?.tif#1"]
    for name in names + [os.fsdecode(b"\xff.tif")] * (form != "BMP"):
        path = tmp_path / name
        with open(path, "wb") as file:
            Image.fromarray(RGB[:50, :60]).save(file, format=form)
        with open_image(path) as reader:
            assert next(reader.read_blocks(row_blocks(reader.info, 32, 32, "drop"), 1)).shape == (32, 32, 3)


def test_a_tiff_is_opened_without_the_libraries_of_other_formats(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", compression="zlib", **TILE)
    code = (
        f"from quadrat.images.open import open_image; open_image({str(path)!r}).close(); import sys; "
        "print(sorted({'pyvips', 'rasterio', 'openslide', 'pandas', 'isal', 'PIL'} & set(sys.modules)))"
    )
    scripts = os.path.dirname(os.path.dirname(quadrat.__file__))
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": scripts}, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_absurd_claims_are_refused_at_once(tmp_path):
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tags = tif.pages[0].tags
        tags[256].overwrite(65535)
        tags[257].overwrite(900)
        tags[278].overwrite(900)
        tags[277].overwrite(65535)
    started = time.monotonic()
    with pytest.raises(ImageError, match="claims 3,865,352,602,500 bytes"):
        open_image(path)
    assert time.monotonic() - started < 5  # seconds; allocating it would take minutes or fail


def test_a_name_that_gdal_cannot_open_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.bmp")
    with open(path, "wb") as file:
        Image.fromarray(RGB[:50, :60]).save(file, format="BMP")
    with pytest.raises(ImageError, match="UTF-8") as error:
        open_image(path)
    assert error.value.hint == "rename it"


def test_no_change_of_a_tiff_gives_another_error_than_an_image_error(tmp_path):
    rng, path = np.random.default_rng(3), tmp_path / "a.tif"
    for storage in ({"compression": "zlib", "tile": (32, 32)}, {"rowsperstrip": 7}, {"compression": "jpeg"}):
        tifffile.imwrite(path, RGB[:70, :60], photometric="rgb", metadata=None, **storage)
        data = path.read_bytes()
        for place in rng.integers(0, min(len(data), 330), 100):
            path.write_bytes(data[:place] + bytes([rng.integers(256)]) + data[place + 1 :])
            with suppress(ImageError), open_image(path, memory_mb=50) as reader:
                windows = [Window(y, 0, 32, 32) for y in range(0, min(reader.info.height, 100), 32)]
                list(reader.read_blocks(windows, 2))
