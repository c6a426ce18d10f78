"""TIFF tags: a tag on which the pixels depend must be readable.

tifffile leaves out a tag that it cannot read, and uses the default: BitsPerSample would be 1.
"""

import os
import struct
from collections.abc import Iterator
from itertools import count, takewhile
from typing import BinaryIO, Literal

import numpy as np
from tifffile import DATATYPE, TIFF, FileHandle, TiffFile, TiffFormat, TiffPage

from quadrat.errors import ImageError

# Sizes of image, tiles and strips; NewSubfileType, Compression, PhotometricInterpretation, FillOrder,
# SamplesPerPixel, PlanarConfiguration, Predictor.
SINGLE = {256, 257, 278, 322, 323, 32997, 32998, 254, 259, 262, 266, 277, 284, 317}
# BitsPerSample and SampleFormat: for each sample, or once if all are alike.
OF_SAMPLES = {258, 339}
# Offsets and byte counts of strips and tiles; SubIFDs, ExtraSamples, YCbCrSubSampling, McuStarts of NDPI.
LISTS = {273, 279, 324, 325, 330, 338, 530, 65426}
JPEG_TABLES, DESCRIPTION, GDAL_NODATA = 347, 270, 42113
# Tags among SINGLE that must not be 0.
SIZES = {256, 257, 277, 278, 322, 323}
REQUIRED, TILED, STRIP_OFFSETS = {256, 257}, {322, 323}, 273
# A description with one of these beginnings describes the pages.
STRUCTURED = (b"<", b"{", b"ImageJ=")
DECISIVE = SINGLE | OF_SAMPLES | LISTS | {JPEG_TABLES, GDAL_NODATA}
# Bytes of each type of whole numbers.
INTEGERS = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}
ORDER: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
NDPI_FORMAT, BIG, SAMPLE_FORMAT = 65420, 43, 339
MOST_TAGS = 4096
NO_INTEGERS = {
    DATATYPE.ASCII,
    DATATYPE.UNDEFINED,
    DATATYPE.RATIONAL,
    DATATYPE.SRATIONAL,
    DATATYPE.FLOAT,
    DATATYPE.DOUBLE,
}


def check_tags(page: TiffPage, codes: set[int] = DECISIVE) -> None:
    """Refuse a page on which one of these tags is present and cannot be read.

    Parameters
    ----------
    page : tifffile.TiffPage
    codes : set of int, optional
        Default: all tags on which the pixels depend.

    Raises
    ------
    ImageError
        If a tag lies beyond the end of the file, or has a wrong type or number of values.
    """
    for code, offset in _directory(page).items():
        if code in codes and not _is_readable(page, code, offset):
            raise ImageError(f"broken: its tag {TIFF.TAGS.get(code, None)} cannot be read")


def format_of(file: BinaryIO | FileHandle) -> TiffFormat:
    """Return the byte order and the size of numbers of a TIFF file."""
    file.seek(0)
    magic, offset = struct.unpack("<4sQ", file.read(12).ljust(12, b"\0"))
    is_big, is_little = b"\x2b" in magic[2:], magic.startswith(b"II")
    if is_big:
        return TIFF.BIG_LE if is_little else TIFF.BIG_BE
    # NDPI has offsets of 64 bit, which its header does not declare.
    if is_little and 8 < offset < _size(file):
        file.seek(offset)
        entries = file.read(12 * int.from_bytes(file.read(2), "little"))
        if NDPI_FORMAT.to_bytes(2, "little") in (entries[i : i + 2] for i in range(0, len(entries), 12)):
            return TIFF.NDPI_LE
    return TIFF.CLASSIC_LE if is_little else TIFF.CLASSIC_BE


def _size(file: BinaryIO | FileHandle) -> int:
    return os.fstat(file.fileno()).st_size


def _chain(file: BinaryIO | FileHandle, tiff: TiffFormat) -> tuple[list[int], bool]:
    """Return the places of the pages of a file, up to one that cannot be read, and whether they are all."""
    found: dict[int, None] = {}
    place = 8 if tiff.version == BIG else 4
    while True:
        file.seek(place)
        link = file.read(tiff.offsetsize)
        offset = int.from_bytes(link, ORDER[tiff.byteorder])
        if len(link) < tiff.offsetsize or offset == 0:
            return list(found), len(link) == tiff.offsetsize
        place = _end_of(file, tiff, offset)
        if offset in found or not place:
            return list(found), False
        found[offset] = None


def _end_of(file: BinaryIO | FileHandle, tiff: TiffFormat, offset: int) -> int:
    """Return the end of the entries of a directory; 0 if it is none."""
    size = _size(file)
    if not 8 <= offset < size:
        return 0
    file.seek(offset)
    number = int.from_bytes(file.read(tiff.tagnosize), ORDER[tiff.byteorder])
    end = offset + tiff.tagnosize + number * tiff.tagsize
    return end if 0 < number <= MOST_TAGS and end <= size else 0


def leave_out_broken_pages(tif: TiffFile, is_parsed: bool = False) -> tuple[str, ...]:
    """Leave out the pages from the first one on that cannot be read, as libtiff does, and return a note.

    Parameters
    ----------
    tif : tifffile.TiffFile
    is_parsed : bool, optional
        Whether the tags of all pages are read for it. Default: only the links between the pages.
    """
    offsets, is_whole = _chain(tif.filehandle, tif.tiff)
    for number, offset in enumerate(offsets) if is_parsed else ():
        is_broken = _fault(tif.filehandle, tif.tiff, offset) is not None
        tif.filehandle.seek(offset)
        try:
            TiffPage(tif, number)
        except Exception:  # noqa: BLE001  it raises some twenty types
            is_broken = True
        if is_broken:
            offsets, is_whole = offsets[:number], False
            break
    if is_whole or not offsets or (is_parsed and len(offsets) == len(tif.pages)):
        return ()
    tif.pages._clear()
    tif.pages._offsets, tif.pages._indexed = offsets, True
    return (
        f"the file ends or is broken after page {len(offsets)}: later pages and levels, if any, are left out",
    )


def leave_out_broken_subifds(page: TiffPage) -> list[str]:
    """Leave out the levels below a page from the first one on that cannot be read, and return a note."""
    file, tiff, offsets = page.parent.filehandle, page.parent.tiff, page.subifds or ()
    whole = tuple(takewhile(lambda one: _end_of(file, tiff, one) and not _fault(file, tiff, one), offsets))
    if len(whole) == len(offsets):
        return []
    page.subifds = whole or None
    return [f"{len(offsets) - len(whole)} of {len(offsets)} levels in SubIFDs cannot be read"]


def broken_tag(path: str) -> str:
    """Return which tag of which page makes a file unreadable, from its bytes alone."""
    with open(path, "rb") as file:
        tiff = format_of(file)
        offsets, _ = _chain(file, tiff)
        for number, offset in enumerate(offsets, start=1):
            if fault := _fault(file, tiff, offset):
                return f"page {number}: {fault}" if number > 1 else fault
    return "its tags contradict each other" if offsets else "its first page cannot be read"


def _fault(file: BinaryIO | FileHandle, tiff: TiffFormat, offset: int) -> str | None:
    """Return what is wrong with the tags of a directory on which the pixels depend."""
    order, codes = ORDER[tiff.byteorder], set()
    for _, (code, kind, values, stored) in _entries(file, tiff, offset):
        codes.add(code)
        if code not in SINGLE | OF_SAMPLES | LISTS:
            continue
        width, name, place = INTEGERS.get(kind, 0), TIFF.TAGS.get(code, None), int.from_bytes(stored, order)
        size = width * values
        is_inside = size <= len(stored) or place + size <= _size(file)
        if not width or not is_inside or (values != 1 if code in SINGLE else values == 0):
            return f"its tag {name} cannot be read"
        if code in SIZES and not any(stored[:width]):
            return f"its tag {name} is 0"
        if code == SAMPLE_FORMAT:
            file.seek(place)
            formats = stored[:size] if size <= len(stored) else file.read(size)
            if formats[:width] * values != formats:
                return f"its tag {name} is not the same for all channels"
    needed = REQUIRED | (TILED if codes & TILED else {STRIP_OFFSETS})
    return next((f"its tag {TIFF.TAGS[code]} is missing" for code in sorted(needed - codes)), None)


def dtype_of(page: TiffPage) -> np.dtype:
    """Return the type of the samples of a page; tifffile has a type for every page that can be read."""
    assert page.dtype is not None
    return page.dtype


def _directory(page: TiffPage) -> dict[int, int]:
    """Return the place in the file of the entry of each tag of a page: the first entry, as in tifffile."""
    found: dict[int, int] = {}
    for place, (code, *_) in _entries(page.parent.filehandle, page.parent.tiff, page.offset):
        found.setdefault(code, place)
    return found


def _entries(file: BinaryIO | FileHandle, tiff: TiffFormat, offset: int) -> Iterator[tuple[int, tuple]]:
    """Yield the place in the file, and code, type, count and value of each entry of a directory."""
    form = tiff.byteorder + ("HHQ8s" if tiff.version == BIG else "HHI4s")
    file.seek(offset)
    number = int.from_bytes(file.read(tiff.tagnosize), ORDER[tiff.byteorder])
    entries = file.read(number * tiff.tagsize)
    yield from zip(count(offset + tiff.tagnosize, tiff.tagsize), struct.iter_unpack(form, entries))


def _is_readable(page: TiffPage, code: int, offset: int) -> bool:
    tag = page.tags.get(code)
    if tag is None or tag.offset != offset:
        return False
    if code == DESCRIPTION and isinstance(tag.value, bytes):  # in an encoding that tifffile does not read
        return not tag.value.startswith(STRUCTURED)
    if code in (DESCRIPTION, GDAL_NODATA):
        return isinstance(tag.value, str)
    if code == JPEG_TABLES:
        return isinstance(tag.value, bytes)
    if code in SINGLE:
        return isinstance(tag.value, int)
    is_complete = code in LISTS or tag.count == 1 or tag.count >= page.samplesperpixel
    return is_complete and tag.dtype not in NO_INTEGERS
