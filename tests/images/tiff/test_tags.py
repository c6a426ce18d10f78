import struct

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image, UnidentifiedImageError
from rasterio.errors import RasterioError

from comparison import open_reader
from quadrat.errors import ImageError
from quadrat.grid import Window
from traps import RGB

PIXELS = np.ascontiguousarray(RGB[:64, :48])
TYPE, COUNT, VALUE = 2, 4, 8  # where they lie in the entry of a tag
# What makes a tag unreadable: a type that does not exist, texts and fractions in place of whole numbers,
# a value beyond the end of the file.
WAYS = {"type": (TYPE, "<H", 255), "text": (TYPE, "<H", 2), "fraction": (TYPE, "<H", 11)}
BEYOND = (VALUE, "<I", 2**30)
UNREADABLE = [(code, way) for code in (256, 257, 258, 259, 277, 278, 284, 339) for way in WAYS.values()]
UNREADABLE += [(258, BEYOND), (339, BEYOND), (277, (COUNT, "<I", 7)), (279, BEYOND)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tif"


def write(path, pixels=PIXELS, photometric="rgb", **options):
    tifffile.imwrite(path, pixels, photometric=photometric, **{"metadata": None} | options)


def spoil(path, code, way, page=0):
    """Overwrite a part of the entry of a tag."""
    with tifffile.TiffFile(path) as tif:
        entry = tif.pages[page].aspage().tags[code].offset
    data, (place, form, value) = bytearray(path.read_bytes()), way
    struct.pack_into(form, data, entry + place, value)
    path.write_bytes(data)


def add(path, code, kind, value):
    """Put a tag into the only directory of a file, which is written anew at its end."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    entries = [bytes(data[start + 2 + 12 * i :][:12]) for i in range(number)]
    entries = [entry for entry in entries if entry[:2] != struct.pack("<H", code)]
    entries.append(struct.pack("<HHIHH", code, kind, 1, value, 0))
    struct.pack_into("<I", data, 4, len(data))
    data += struct.pack("<H", len(entries)) + b"".join(sorted(entries, key=lambda one: one[1::-1])) + bytes(4)
    path.write_bytes(data)


def read(path, **options):
    with open_reader(path, **options) as reader:
        window = Window(0, 0, reader.info.height, reader.info.width)
        return next(reader.read_blocks([window], 1)).copy()


def read_by_gdal(path):
    with rasterio.open(path) as image:
        return image.read().transpose(1, 2, 0)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("code", "way"), UNREADABLE)
def test_tag_that_decides_about_pixels_and_cannot_be_read_is_refused_as_gdal_does(code, way, path):
    write(path, PIXELS.astype("f4"), rowsperstrip=16)
    spoil(path, code, way)
    with pytest.raises(RasterioError):
        read_by_gdal(path)
    with pytest.raises(ImageError) as error:
        open_reader(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("code", [254, 262, 266, 317, 330, 338, 347, 530, 42113])
def test_tag_of_which_libtiff_would_take_the_default_is_refused_too(code, path):
    write(path)
    add(path, code, 255, 1)
    with pytest.raises(ImageError, match=f"tag {tifffile.TIFF.TAGS[code]} cannot be read"):
        open_reader(path)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("codec", [None, "zlib", "lzw"])
def test_samples_of_eight_bit_are_never_read_as_one_bit(codec, path):
    write(path, compression=codec)
    spoil(path, 258, BEYOND)
    with pytest.raises(UnidentifiedImageError), Image.open(path) as image:
        image.load()
    with pytest.raises(ImageError, match="broken: its tag BitsPerSample cannot be read"):
        open_reader(path)


@pytest.mark.parametrize(
    ("code", "value", "message"),
    [(277, 0, "it has 0 samples per pixel"), (284, 0, "its planar configuration is 0"), (284, 3, "is 3")],
)
def test_value_that_has_no_meaning_is_refused_as_gdal_does(code, value, message, path):
    write(path, PIXELS[..., 0], photometric="minisblack")
    add(path, code, 3, value)
    with pytest.raises(RasterioError):
        read_by_gdal(path)
    with pytest.raises(ImageError, match=message):
        open_reader(path)


@pytest.mark.parametrize("code", [270, 305, 315, 282, 296, 700, 34675, 65000])
@pytest.mark.parametrize("way", [WAYS["type"], BEYOND])
def test_tag_that_decides_nothing_may_be_unreadable(code, way, path):
    kind = {282: 5, 296: 3}.get(code, 2)
    value = {282: (1, 1), 296: 1}.get(code, "some text")
    write(path, compression="zlib", software=False, extratags=[(code, kind, 1, value, True)])
    spoil(path, code, way)
    assert np.array_equal(read(path), PIXELS)


def test_description_of_several_pages_must_be_readable(path):
    write(path, np.stack([PIXELS[..., 0]] * 3), "minisblack", ome=True, metadata={"axes": "CYX"})
    assert read(path).shape == (64, 48, 3)
    spoil(path, 270, BEYOND)
    with pytest.raises(ImageError, match="tag ImageDescription cannot be read"):
        open_reader(path)


def test_tag_of_a_later_channel_must_be_readable(path):
    pages = np.stack([PIXELS[..., 0]] * 3)
    write(path, pages, "minisblack", ome=True, metadata={"axes": "CYX"}, compression="zlib")
    spoil(path, 258, WAYS["type"], page=2)
    with pytest.raises(ImageError, match="tag BitsPerSample cannot be read"):
        open_reader(path)


def test_channels_of_different_types_are_not_read_as_one(path):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="48" SizeY="64" SizeC="2" SizeZ="1" '
        'SizeT="1"><TiffData/></Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(path) as tif:
        for number, dtype in enumerate((np.uint8, np.uint16)):
            text = None if number else xml
            tif.write(PIXELS[..., 0].astype(dtype), photometric="minisblack", description=text, metadata=None)
    with pytest.raises(ImageError, match="its channels differ in size, type or compression"):
        open_reader(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("codec", ["none", "packbits", "lerc", "webp", "jpeg"])
@pytest.mark.parametrize("value", [2, 3, 3328, 0])
def test_predictor_of_a_codec_that_has_none_is_ignored_as_gdal_does(codec, value, path):
    layout = {"dtype": "uint8", "compress": codec, "interleave": "pixel", "webp_lossless": True}
    with rasterio.open(path, "w", "GTiff", 48, 64, 3, **layout) as image:
        image.write(PIXELS.transpose(2, 0, 1))
    ours, gdals = read(path), read_by_gdal(path)
    add(path, 317, 3, value)
    assert np.array_equal(read_by_gdal(path), gdals)
    assert np.array_equal(read(path), ours)
    assert codec == "jpeg" or np.array_equal(ours, PIXELS)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("codec", ["lzw", "deflate", "zstd", "lzma"])
def test_predictor_of_a_codec_that_has_one_is_undone(codec, path):
    layout = {"dtype": "uint8", "compress": codec, "interleave": "pixel", "predictor": 2}
    with rasterio.open(path, "w", "GTiff", 48, 64, 3, **layout) as image:
        image.write(PIXELS.transpose(2, 0, 1))
    assert np.array_equal(read(path), PIXELS)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("codec", ["lzw", "deflate", "zstd"])
@pytest.mark.parametrize(("dtype", "bits", "value"), [("uint16", 12, 2), ("uint8", 4, 2), ("int32", 32, 3)])
def test_predictor_of_samples_that_it_does_not_fit_is_refused_as_gdal_does(codec, dtype, bits, value, path):
    layout = {"dtype": dtype, "compress": codec, "nbits": bits}
    with rasterio.open(path, "w", "GTiff", 48, 64, 1, **layout) as image:
        image.write(PIXELS[..., 0].astype(dtype) % 16, 1)
    add(path, 317, 3, value)
    with pytest.raises(RasterioError):
        read_by_gdal(path)
    with pytest.raises(ImageError):
        read(path)


def test_fax_codec_of_samples_that_are_no_bits_is_refused(path):
    write(path, compression="zlib")
    spoil(path, 259, (VALUE, "<H", 3))
    with pytest.raises(ImageError, match="its samples have 8 bit, but compression CCITTFAX3 needs 1 bit"):
        open_reader(path)
