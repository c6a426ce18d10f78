import gc
import os
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

import quadrat
from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.open import open_image
from traps import RGB, TILE


def test_the_content_and_not_the_extension_chooses_the_reader(tmp_path):
    tifffile.imwrite(tmp_path / "is_tiff.png", RGB, photometric="rgb", **TILE)
    Image.fromarray(RGB).save(tmp_path / "is_png.tif", format="PNG")
    Image.fromarray(RGB).save(tmp_path / "is_bmp", format="BMP")
    for name, form in (("is_tiff.png", "TIFF"), ("is_png.tif", "PNG"), ("is_bmp", "BMP")):
        with open_reader(tmp_path / name) as reader:
            assert reader.info.format == form
            assert_reads(reader, RGB, row_blocks(reader.info, 256, 256, "drop"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"not an image\n" * 40, "docs/formats.md does not list its format"),
        (b"II*\0", "not a readable TIFF"),
        (b"II*\0\xff\xff\xff\xff", "not a readable TIFF: it contains no image"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (bytes(5000), "docs/formats.md does not list its format"),
    ],
)
def test_a_file_that_is_no_image_is_refused_in_one_line(content, reason, tmp_path, capfd):
    path = tmp_path / "file.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as error:
        open_reader(path)
    assert "\n" not in str(error.value)
    assert "file.tif" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
def test_an_image_that_is_no_stack_has_no_other_plane(form, tmp_path):
    with open(tmp_path / "a", "wb") as file:
        Image.fromarray(RGB).save(file, format=form)
    with open_reader(tmp_path / "a", plane={"z": 1}):
        pass
    with pytest.raises(ImageError, match="plane z: 2 does not exist; the image has 1"):
        open_reader(tmp_path / "a", plane={"z": 2})


def test_a_slide_whose_pixels_lie_in_folders_that_are_not_watched_is_refused(tmp_path):
    with open(tmp_path / "a.VSI", "wb") as file:
        Image.fromarray(RGB).save(file, format="TIFF")
    with pytest.raises(ImageError, match="pixels of this slide are in a folder beside it") as error:
        open_reader(tmp_path / "a.VSI")
    assert "convert it" in error.value.hint


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ImageError, match="cannot be opened: No such file"):
        open_reader(tmp_path / "nowhere.tif")
    with pytest.raises(ImageError, match="cannot be opened: Is a directory"):
        open_reader(tmp_path)


@pytest.mark.parametrize("form", ["TIFF", "PNG", "JPEG", "BMP"])
def test_names_that_decoders_could_take_for_something_else_are_names(form, tmp_path):
    names = ["a[1].png[access=random]", "zip!x.tif", "ünï.tif", "a:b.tif", "what?.tif#1"]
    for name in names + [os.fsdecode(b"\xff.tif")] * (form != "BMP"):
        path = tmp_path / name
        with open(path, "wb") as file:
            Image.fromarray(RGB[:50, :60]).save(file, format=form)
        with open_reader(path) as reader:
            assert next(reader.read_blocks(row_blocks(reader.info, 32, 32, "drop"), 1)).shape == (32, 32, 3)


def test_a_tiff_is_opened_without_the_libraries_of_other_formats(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", compression="zlib", **TILE)
    code = (
        f"import sys; from quadrat.images.open import open_image; open_image({str(path)!r}).info; "
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
        open_reader(path)
    assert time.monotonic() - started < 5  # seconds; allocating it would take minutes or fail


def test_a_name_that_gdal_cannot_open_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.bmp")
    with open(path, "wb") as file:
        Image.fromarray(RGB[:50, :60]).save(file, format="BMP")
    with pytest.raises(ImageError, match="UTF-8") as error:
        open_reader(path)
    assert error.value.hint == "rename it"


def test_no_change_of_a_tiff_gives_another_error_than_an_image_error(tmp_path):
    rng, path = np.random.default_rng(3), tmp_path / "a.tif"
    for storage in ({"compression": "zlib", "tile": (32, 32)}, {"rowsperstrip": 7}, {"compression": "jpeg"}):
        tifffile.imwrite(path, RGB[:70, :60], photometric="rgb", metadata=None, **storage)
        data = path.read_bytes()
        for place in rng.integers(0, min(len(data), 330), 100):
            path.write_bytes(data[:place] + bytes([rng.integers(256)]) + data[place + 1 :])
            with suppress(ImageError), open_reader(path, memory_mb=50) as reader:
                windows = [Window(y, 0, 32, 32) for y in range(0, min(reader.info.height, 100), 32)]
                list(reader.read_blocks(windows, 2))


# an open image


@pytest.fixture
def pyramid(tmp_path):
    """Write a slide of 0.5 micrometres per pixel, with a level of every second and of every fourth pixel."""
    path = tmp_path / "pyramid.tif"
    options = {"photometric": "rgb", "compression": "zlib", **TILE}
    with tifffile.TiffWriter(path) as tif:
        tif.write(RGB, subifds=2, resolution=(20_000, 20_000), resolutionunit="CENTIMETER", **options)
        for step in (2, 4):
            tif.write(RGB[::step, ::step], subfiletype=1, **options)
    return path


def test_window_of_an_image_is_read_by_one_call(pyramid):
    with open_image(pyramid) as image:
        np.testing.assert_array_equal(image.read((100, 50, 300, 200)), RGB[100:400, 50:250])
        found = image.read((10, 20, 30, 40), level=1, channels=[3, 1], threads=2)
        np.testing.assert_array_equal(found, RGB[::2, ::2][10:40, 20:60][..., [2, 0]])
        np.testing.assert_array_equal(image.read(level=image.levels[-1]), RGB[::4, ::4])
        past = image.read((1060, 618, 2, 2))
        np.testing.assert_array_equal(past, np.pad(RGB[1060:, 618:], ((0, 1), (0, 1), (0, 0))))


def test_levels_are_those_of_the_file(pyramid):
    with open_image(pyramid) as image:
        assert [level.shape for level in image.levels] == [(1061, 619), (531, 310), (266, 155)]
        assert [level.downsample for level in image.levels] == [(1, 1), (2, 2), (4, 4)]
        assert (image.info.height, image.info.width, image.info.mpp) == (1061, 619, (0.5, 0.5))


def test_level_for_a_size_is_stored_or_averaged_from_what_is_finer(pyramid):
    with open_image(pyramid) as image:
        assert image.level_for(mpp=1.0) == image.levels[1]
        averaged = image.level_for(mpp=6.0)
        assert (averaged.index, averaged.ratio, averaged.downsample) == (2, 3, (12, 12))
        means = np.rint(RGB[:1056:4, :612:4].reshape(88, 3, 51, 3, 3).mean(axis=(1, 3)))
        assert averaged.shape == (88, 51)
        np.testing.assert_array_equal(image.read(level=averaged), means)
        np.testing.assert_array_equal(image.read((20, 10, 30, 40), averaged), means[20:50, 10:50])
        for sizes in ({}, {"mpp": 1.0, "gsd": 1.0}):
            with pytest.raises(ValueError, match="set one of them"):
                image.level_for(**sizes)


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (0, 619, 5, 5), (1061, 0, 5, 5), (0, 0, 0, 5)])
def test_window_that_holds_no_pixel_of_the_image_is_refused(pyramid, window):
    with open_image(pyramid) as image, pytest.raises(ValueError, match="1,061 x 619 px"):
        image.read(window)


@pytest.mark.filterwarnings("error::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_readers_of_an_image_share_its_file_and_do_not_disturb_each_other(tmp_path, name):
    options = {"compression": "tiff_lzw"} if name == "a.tif" else {"lossless": True}
    Image.fromarray(RGB).save(tmp_path / name, **options)
    with open_image(tmp_path / name) as image:
        rows = [Window(y, 0, 100, 619) for y in range(0, 1000, 100)]
        blocks, greens = image.reader().read_blocks(rows, 2), image.reader(0, [2]).read_blocks(rows, 1)
        for row, block, green in zip(rows, blocks, greens, strict=True):
            expected = RGB[row.y : row.y + 100]
            np.testing.assert_array_equal(block, expected)
            np.testing.assert_array_equal(green, expected[..., 1:2])
            np.testing.assert_array_equal(image.read((row.y, 7, 5, 5)), expected[:5, 7:12])


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_reading_many_windows_keeps_no_more_files_open_and_closing_none(tmp_path, name):
    Image.fromarray(RGB).save(tmp_path / name)
    before = len(os.listdir("/dev/fd"))
    with open_image(tmp_path / name) as image:
        image.read((0, 0, 10, 10))
        gc.collect()
        once = len(os.listdir("/dev/fd"))
        for y in range(0, 200, 10):
            image.read((y, 0, 10, 10))
        gc.collect()
        assert len(os.listdir("/dev/fd")) == once
    assert len(os.listdir("/dev/fd")) == before


def test_mask_of_a_file_is_shown_and_read(tmp_path):
    profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 1, "dtype": "uint8"}
    profile["transform"] = rasterio.Affine(10, 0, 0, 0, -10, 0)
    mask = np.zeros((40, 50), np.uint8)
    mask[5:20, 30:] = 255
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(tmp_path / "a.tif", "w", **profile) as written,
    ):
        written.write(RGB[:40, :50, 0], 1)
        written.write_mask(mask)
    with open_image(tmp_path / "a.tif") as image:
        assert image.mask
        (block,) = image.reader(with_mask=True).read_blocks([Window(0, 0, 40, 50)], 1)
        np.testing.assert_array_equal(block, np.dstack([RGB[:40, :50, 0], mask > 0]))
    Image.fromarray(RGB).save(tmp_path / "b.tif")
    with open_image(tmp_path / "b.tif") as image:
        assert not image.mask
        with pytest.raises(ImageError, match="has no mask"):
            image.reader(with_mask=True)


def test_image_whose_channels_are_of_several_types_is_read_one_by_one(tmp_path):
    """Its resolution and alpha are those of the file, whatever the other channels are."""
    for name, dtype in (("a.tif", np.uint8), ("b.tif", np.float32)):
        profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 1, "dtype": dtype}
        profile |= {"crs": "EPSG:32612", "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
        with rasterio.open(tmp_path / name, "w", **profile) as written:
            written.write(RGB[:40, :50, 0].astype(dtype), 1)
    bands = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">'
        f"{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for band, (name, dtype) in enumerate((("a.tif", "Byte"), ("b.tif", "Float32")), start=1)
    )
    (tmp_path / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>EPSG:32612</SRS>'
        f"<GeoTransform>0, 10, 0, 0, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    with open_image(tmp_path / "a.vrt") as image:
        level = image.level_for(gsd=20.0)
        means = RGB[:40, :50, 0].reshape(20, 2, 25, 2).mean(axis=(1, 3))
        np.testing.assert_array_equal(image.read(level=level, channels=[2])[..., 0], means.astype("f4"))
        assert not image.mask
        with pytest.raises(ImageError, match="several types"):
            image.read()
