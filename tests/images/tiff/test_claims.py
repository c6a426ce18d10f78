import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile

from comparison import open_reader
from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.tiff.claims import claimed_size
from traps import RGB

SIZES = [(1, 1), (40, 56), (256, 256), (300, 200), (200, 300), (90, 160), (513, 1026), (1061, 619)]
ENCODERS = {
    "jpeg": lambda pixels: imagecodecs.jpeg8_encode(pixels),
    "jpeg_lossless": lambda pixels: imagecodecs.ljpeg_encode(np.ascontiguousarray(pixels[..., 0])),
    "jpeg_ls": lambda pixels: imagecodecs.jpegls_encode(pixels),
    "jpeg_2000_codestream": lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k"),
    "jpeg_2000_file": lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="jp2"),
    "png": lambda pixels: imagecodecs.png_encode(pixels),
    "webp_lossless": lambda pixels: imagecodecs.webp_encode(pixels, lossless=True),
    "webp_lossy": lambda pixels: imagecodecs.webp_encode(pixels, lossless=False, level=50),
    "webp_with_alpha": lambda pixels: imagecodecs.webp_encode(
        np.dstack([pixels, pixels[..., :1]]), lossless=False, level=50
    ),
    "jpeg_xl": lambda pixels: imagecodecs.jpegxl_encode(pixels),
    "jpeg_xl_boxes": lambda pixels: imagecodecs.jpegxl_encode(pixels, usecontainer=True),
    "jpeg_xr": lambda pixels: imagecodecs.jpegxr_encode(pixels, level=0.9),
    "lerc": lambda pixels: imagecodecs.lerc_encode(np.ascontiguousarray(pixels[..., 0])),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ENCODERS)
def test_claimed_size_is_that_of_the_encoded_image(form, size):
    pixels = np.resize(RGB, (*size, 3))
    assert claimed_size(ENCODERS[form](pixels)) == size


@pytest.mark.parametrize("form", ENCODERS)
def test_no_part_of_a_codestream_raises(form):
    data = ENCODERS[form](RGB[:40, :56])
    for end in range(min(len(data), 200)):
        claimed_size(data[:end])
    assert claimed_size(b"none of these") is None


@pytest.mark.parametrize(
    "between", [b"\x42", b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\xe5\0\0", b"\xff\xe5\0\4ab\x42"], ids=repr
)
def test_bytes_between_markers_hide_no_claim_of_a_jpeg(between):
    data = ENCODERS["jpeg"](RGB[:40, :56])
    tables = data.index(b"\xff\xdb")
    odd = data[:tables] + between + data[tables:]
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(odd), imagecodecs.jpeg8_decode(data))
    assert claimed_size(odd) == (40, 56)


def claim(data, height, width):
    """Return a codestream whose header claims another size."""
    data = bytearray(data)
    if data.startswith(b"\xff\xd8"):
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    elif data.startswith(b"\x89PNG"):
        struct.pack_into(">II", data, 16, width, height)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif data.startswith(b"RIFF"):
        struct.pack_into("<I", data, 21, (height - 1) << 14 | (width - 1))
    elif data.startswith(b"II\xbc"):
        at = data.index(b"WMPHOTO")
        is_short = data[at + 10] >> 7
        struct.pack_into(">HH" if is_short else ">II", data, at + 12, width - 1, height - 1)
    else:
        at = data.index(b"\xff\x51") + 6
        struct.pack_into(">IIIIIIII", data, at, width, height, 0, 0, width, height, 0, 0)
    return bytes(data)


@pytest.mark.parametrize(
    ("compression", "claimed"),
    [("jpeg", 65500), ("jpegxr", 60_000), ("png", 60_000), ("webp", 16_000), ("jpeg2000", 60_000)],
)
def test_a_tile_that_claims_to_be_huge_is_refused_before_it_is_allocated(compression, claimed, tmp_path):
    path = tmp_path / "bomb.tif"
    storage = {"compression": compression, "tile": (128, 128), "metadata": None}
    if compression == "webp":
        storage["compressionargs"] = {"lossless": True}
    tifffile.imwrite(path, RGB[:256, :256], photometric="rgb", **storage)
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
    data = path.read_bytes()
    segment = claim(data[offset : offset + count], claimed, claimed)
    path.write_bytes(data[:offset] + segment + data[offset + count :])
    reason = rf"^broken: segment 2 of 4 claims {claimed:,} x {claimed:,} px, 128 x 128 expected$"
    with open_reader(path) as reader, pytest.raises(ImageError, match=reason):
        list(reader.read_blocks([Window(0, 0, 256, 256)], 2))


def test_codestream_that_does_not_tell_its_size_claims_none():
    jpeg, jpeg_xr = ENCODERS["jpeg"](RGB[:40, :56]), ENCODERS["jpeg_xr"](RGB[:40, :56])
    offset_tag = struct.pack("<H", 0xBCC0)
    assert jpeg_xr.count(offset_tag) == 1
    assert claimed_size(jpeg[:2] + jpeg[jpeg.index(b"\xff\xda") :]) is None
    assert claimed_size(jpeg_xr.replace(offset_tag, b"\xc5\xbc")) is None
