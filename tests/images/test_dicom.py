"""Headers of DICOM files beside what OpenSlide reads in them."""

import struct

import numpy as np
import openslide
import pytest

from quadrat.errors import ImageError
from quadrat.images.dicom import read_header
from slides import CT_IMAGE, WHOLE_SLIDE, dicom

PIXELS = np.zeros((100, 150, 3), np.uint8)
MAGIC_END = 132


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file, and returns its path."""

    def put(content, name="a.dcm"):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return put


def nested(depth):
    """Return a private sequence of sequences, whose lengths only their ends show, with sizes as decoys."""
    inner = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 9)
    for _ in range(depth):
        start = struct.pack("<HH2sHI", 0x21, 0x1010, b"SQ", 0, 0xFFFFFFFF)
        items = (
            struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        )
        whole = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = start + items + whole + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return inner


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_header_is_what_openslide_reads(depth, write):
    content = dicom(PIXELS, 64)
    at = content.index(struct.pack("<HH2s", 0x28, 0x2, b"US"))
    path = write(content[:at] + nested(depth) + content[at:] if depth else content)
    with openslide.OpenSlide(path) as slide:
        names = ["SeriesInstanceUID", "TotalPixelMatrixRows", "TotalPixelMatrixColumns", "Rows", "Columns"]
        series, *sizes = (slide.properties[f"dicom.{name}"] for name in names)
        kind = slide.properties["dicom.MediaStorageSOPClassUID"]
    header = read_header(path)
    assert (header.kind, header.series) == (kind, series) == (WHOLE_SLIDE, "1.2.3")
    assert [*header.shape, *header.tile_shape] == [int(size) for size in sizes] == [100, 150, 64, 64]


@pytest.mark.parametrize(
    ("flavour", "level", "is_level", "is_resampled"),
    [("VOLUME", 0, True, False), ("VOLUME", 1, True, True), ("LABEL", 0, False, False)],
)
def test_header_distinguishes_levels_from_labels(flavour, level, is_level, is_resampled, write):
    header = read_header(write(dicom(PIXELS, 64, flavour=flavour, level=level)))
    assert (header.is_level, header.is_resampled) == (is_level, is_resampled)


def test_what_is_no_dicom_has_no_header(write):
    for content in (b"", bytes(130) + b"DICM", bytes(128) + b"dicm" + bytes(100)):
        assert read_header(write(content)) is None


@pytest.mark.parametrize("syntax", [b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1.99"])
def test_other_object_is_no_slide_however_it_is_written(syntax, write):
    content = dicom(PIXELS, 64, kind=CT_IMAGE, t00020010=syntax)
    header = read_header(write(content))
    assert (header.kind, header.shape) == (CT_IMAGE, (0, 0))
    path = write(dicom(PIXELS, 64, t00020010=syntax))
    with pytest.raises(ImageError, match=f"a.dcm: its transfer syntax, {syntax.decode()}, is not read"):
        read_header(path)


def test_second_size_in_a_header_is_refused(write):
    """OpenSlide could read the other one."""
    content = dicom(PIXELS, 64)
    size = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 64)
    assert content.count(size) == 1
    with pytest.raises(ImageError, match="the elements of its header are not in order"):
        read_header(write(content.replace(size, 2 * size)))


def test_header_that_ends_anywhere_is_refused_in_one_line(write):
    content = dicom(PIXELS, 64)
    end = content.index(struct.pack("<HH2s", 0x48, 0x7, b"UL"))
    for size in range(MAGIC_END, end, 7):
        with pytest.raises(
            ImageError, match=r"^a\.dcm: (truncated: the file ends within|broken: its header has)"
        ):
            read_header(write(content[:size]))
