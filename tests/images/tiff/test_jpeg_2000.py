"""Slides of JPEG 2000 by Aperio's tags, in RGB as OpenSlide shows them."""

import io
import struct

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from comparison import open_reader, row_blocks
from quadrat.errors import ImageError
from slides import write_svs
from traps import RGB

PIXELS = np.ascontiguousarray(RGB[:128, :128])
YCBCR = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))
JPEG_2000, APERIO_YCBCR, APERIO_RGB = 34712, 33003, 33005
SIZ, COD, QCD, SOT, SOD = 0xFF51, 0xFF52, 0xFF5C, 0xFF90, b"\xff\x93"
BY_COMPONENT = 4  # a progression order


def encoded(pixels, is_transformed):
    return imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", level=0, reversible=True, mct=is_transformed)


def subsampled(dx, dy):
    """Return a codestream of YCbCr whose colours are coarser, put together of one for each component.

    References
    ----------
    ITU-T T.800, annexes A and B: where components follow each other, so do their packets.
    """
    planes = [YCBCR[..., 0], YCBCR[::dy, ::dx, 1], YCBCR[::dy, ::dx, 2]]
    parts = [encoded(np.ascontiguousarray(plane), False) for plane in planes]
    segments, at = {}, 2
    while (marker := struct.unpack_from(">H", parts[0], at)[0]) != SOT:
        (length,) = struct.unpack_from(">H", parts[0], at + 2)
        segments[marker] = parts[0][at + 4 : at + 2 + length]
        at += 2 + length
    height, width = planes[0].shape
    size = struct.pack(
        ">H8IH9B", 0, width, height, 0, 0, width, height, 0, 0, 3, 7, 1, 1, 7, dx, dy, 7, dx, dy
    )
    style = segments[COD][:1] + bytes([BY_COMPONENT]) + segments[COD][2:]
    packets = b"".join(part[part.index(SOD) + 2 : -2] for part in parts)
    header = {SIZ: size, COD: style, QCD: segments[QCD]}
    written = b"".join(struct.pack(">HH", marker, len(text) + 2) + text for marker, text in header.items())
    tile = struct.pack(">HHHIBB", SOT, 10, 0, 14 + len(packets), 0, 1) + SOD + packets
    return b"\xff\x4f" + written + tile + b"\xff\xd9"


def write(path, codestream, compression, photometric="rgb"):
    write_svs(path, [codestream], (128, 128), compression=JPEG_2000, photometric=photometric)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[259].overwrite(compression)


def read(path):
    with open_reader(path) as reader:
        (block,) = reader.read_blocks(row_blocks(reader.info, 128, 128, "drop"), 1)
        return block.copy(), reader.info.notes


def shown(path):
    """Return what OpenSlide shows of a slide."""
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("is_transformed", [False, True])
@pytest.mark.parametrize(("compression", "stored"), [(APERIO_YCBCR, YCBCR), (APERIO_RGB, PIXELS)])
def test_full_colours_are_rgb_as_openslide_shows_them(
    compression, stored, is_transformed, photometric, tmp_path
):
    write(tmp_path / "a.svs", encoded(stored, is_transformed), compression, photometric)
    pixels, _ = read(tmp_path / "a.svs")
    np.testing.assert_array_equal(pixels, shown(tmp_path / "a.svs"))
    assert np.abs(pixels.astype(int) - PIXELS).max() <= 3  # YCbCr of 8 bit is not exact


@pytest.mark.parametrize(("dx", "dy"), [(2, 1), (2, 2)])
def test_coarser_colours_are_rgb_as_openslide_shows_them(dx, dy, tmp_path):
    write(tmp_path / "a.svs", subsampled(dx, dy), APERIO_YCBCR)
    pixels, notes = read(tmp_path / "a.svs")
    assert np.abs(pixels.astype(int) - shown(tmp_path / "a.svs")).max() <= 1
    assert notes == ("YCbCr converted to RGB",)


@pytest.mark.parametrize("compression", [APERIO_RGB, JPEG_2000])
def test_coarser_colours_are_rgb_whatever_the_tag_says_as_pillow_shows_them(compression, tmp_path):
    write(tmp_path / "a.svs", subsampled(2, 1), compression, "ycbcr")
    pixels, notes = read(tmp_path / "a.svs")
    with Image.open(io.BytesIO(subsampled(2, 1))) as image:
        assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))).max() <= 2
    assert notes == ("YCbCr converted to RGB",)


def test_colours_that_are_coarser_along_y_alone_are_refused(tmp_path):
    write(tmp_path / "a.svs", subsampled(1, 2), APERIO_YCBCR)
    with pytest.raises(ImageError, match="segment 1 of 1 cannot be decoded"):
        read(tmp_path / "a.svs")


@pytest.mark.parametrize(
    ("stored", "compression", "photometric", "note"),
    [
        (YCBCR, APERIO_YCBCR, "rgb", ("YCbCr converted to RGB",)),
        (PIXELS, APERIO_RGB, "rgb", ()),
        (PIXELS, JPEG_2000, "rgb", ()),
        (YCBCR, JPEG_2000, "ycbcr", ("YCbCr samples are as stored, not RGB",)),
    ],
)
def test_note_says_what_became_of_the_colours(stored, compression, photometric, note, tmp_path):
    write(tmp_path / "a.svs", encoded(stored, False), compression, photometric)
    pixels, notes = read(tmp_path / "a.svs")
    assert notes == note
    is_stored = not note or "as stored" in note[0]
    np.testing.assert_array_equal(pixels, stored if is_stored else shown(tmp_path / "a.svs"))


def test_subsampling_that_is_a_tag_of_jpeg_does_not_matter(tmp_path):
    write(tmp_path / "a.svs", subsampled(2, 2), APERIO_YCBCR, "ycbcr")
    expected, _ = read(tmp_path / "a.svs")
    with tifffile.TiffFile(tmp_path / "a.svs", mode="r+b") as tif:
        assert tif.pages[0].tags[530].value == (1, 1)
        tif.pages[0].tags[530].overwrite((2, 2))
    np.testing.assert_array_equal(read(tmp_path / "a.svs")[0], expected)
