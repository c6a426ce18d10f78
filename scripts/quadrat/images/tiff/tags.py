"""TIFF tags: a tag on which the pixels depend must be readable.

tifffile leaves out a tag that it cannot read, and uses the default: BitsPerSample would be 1.
"""

import struct

import numpy as np
import tifffile
from tifffile import DATATYPE, TiffPage

from quadrat.errors import ImageError

# Sizes of image, tiles and strips; NewSubfileType, Compression, PhotometricInterpretation, FillOrder,
# SamplesPerPixel, PlanarConfiguration, Predictor.
SINGLE = {256, 257, 278, 322, 323, 32997, 32998, 254, 259, 262, 266, 277, 284, 317}
# BitsPerSample and SampleFormat: for each sample, or once if all are alike.
OF_SAMPLES = {258, 339}
# Offsets and byte counts of strips and tiles; SubIFDs, ExtraSamples, YCbCrSubSampling.
LISTS = {273, 279, 324, 325, 330, 338, 530}
JPEG_TABLES, DESCRIPTION, GDAL_NODATA = 347, 270, 42113
DECISIVE = SINGLE | OF_SAMPLES | LISTS | {JPEG_TABLES, GDAL_NODATA}
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
            raise ImageError(f"broken: its tag {tifffile.TIFF.TAGS.get(code, None)} cannot be read")


def dtype_of(page: TiffPage) -> np.dtype:
    """Return the type of the samples of a page; tifffile has a type for every page that can be read."""
    assert page.dtype is not None
    return page.dtype


def _directory(page: TiffPage) -> dict[int, int]:
    """Return the place in the file of the entry of each tag of a page: the first entry, as in tifffile."""
    tiff, file, start = page.parent.tiff, page.parent.filehandle, page.offset + page.parent.tiff.tagnosize
    file.seek(page.offset)
    (number,) = struct.unpack(tiff.tagnoformat, file.read(tiff.tagnosize))
    entries = file.read(number * tiff.tagsize)
    found: dict[int, int] = {}
    for place in range(0, len(entries), tiff.tagsize):
        (code,) = struct.unpack_from(tiff.byteorder + "H", entries, place)
        found.setdefault(code, start + place)
    return found


def _is_readable(page: TiffPage, code: int, offset: int) -> bool:
    tag = page.tags.get(code)
    if tag is None or tag.offset != offset:
        return False
    if code in (DESCRIPTION, GDAL_NODATA):
        return isinstance(tag.value, str)
    if code == JPEG_TABLES:
        return isinstance(tag.value, bytes)
    if code in SINGLE:
        return isinstance(tag.value, int)
    is_complete = code in LISTS or tag.count == 1 or tag.count >= page.samplesperpixel
    return is_complete and tag.dtype not in NO_INTEGERS
