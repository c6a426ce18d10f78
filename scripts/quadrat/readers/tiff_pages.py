"""TIFF pages: which planes of a TIFF file are the image, and whether they can be decoded."""

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import tifffile
from tifffile import TiffFile, TiffPage, TiffPageSeries

from quadrat.errors import ImageError
from quadrat.readers.selection import check_level, complex_error
from quadrat.readers.tiff_planes import Plane, planes_of

logger = logging.getLogger(__name__)

CONVERT = "convert it: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE -co BIGTIFF=IF_SAFER in.tif out.tif"
OLD_JPEG = 6
JPEG_FAMILY = (7, 34892, 33007)
PALETTE = 3
NDPI_FORMAT_TAG = 65420


@dataclass(frozen=True)
class TiffLevel:
    """One level of the image of a TIFF file.

    Attributes
    ----------
    page : tifffile.TiffPage
        Holds layout and decoder of all planes.
    planes : tuple of Plane
    level, level_count : int
    downsample : float
        Level-0 pixels per pixel along an axis.
    base : tifffile.TiffPage
        First page of level 0: the metadata of the image are there.
    notes : tuple of str
        What was chosen among the pages.
    """

    page: TiffPage
    planes: tuple[Plane, ...]
    level: int
    level_count: int
    downsample: float
    base: TiffPage
    notes: tuple[str, ...]

    @property
    def samples(self) -> int:
        """Number of interleaved samples of a pixel in a plane."""
        return self.page.shaped[-1]


@contextmanager
def tifffile_errors(doing: str) -> Iterator[None]:
    """Turn whatever tifffile and its codecs raise on broken data into an ImageError.

    Errors of the disk and of memory pass.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise ImageError(f"{doing}: {error}") from error
    # tifffile raises some twenty types of exception on broken files, from struct.error to AttributeError
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ImageError(f"{doing}: {reason.splitlines()[0]}") from error


@contextmanager
def open_tiff(path: str) -> Iterator[TiffFile]:
    """Open a TIFF file for its metadata.

    What tifffile logs meanwhile goes to quadrat's logger at level INFO: of an image that cannot be read
    the error tells, of others the notes.

    Raises
    ------
    ImageError
        If its metadata are broken.
    """
    messages = logging.getLogger("tifffile")

    def forward(record: logging.LogRecord) -> bool:
        logger.info("tifffile: %s", record.getMessage())
        return False

    messages.addFilter(forward)
    try:
        with tifffile_errors("not a readable TIFF"), TiffFile(path, is_ndpi=_is_ndpi(path)) as tif:
            yield tif
    finally:
        messages.removeFilter(forward)


def level_of(tif: TiffFile, level: int) -> TiffLevel:
    """Return a level of the first image of a TIFF file.

    Raises
    ------
    ImageError
        If the file lacks the level, or stores its pixels in a way that cannot be decoded.
    """
    series = tif.series[0]
    check_level(level, len(series.levels))
    base, chosen = _first_page(series, tif), series.levels[level]
    page = _first_page(chosen, tif)
    _check_decodable(page)
    page.init_decode()  # it reads tags, and must not first run on several threads
    pages, notes = _channel_pages(chosen, page)
    if len(tif.series) > 1:
        notes.append(f"the file holds {len(tif.series)} series of images: the first is read")
    planes = tuple(plane for shift, one in pages for plane in planes_of(one, page, shift))
    downsample = base.imagewidth / page.imagewidth
    return TiffLevel(page, planes, level, len(series.levels), downsample, base, tuple(notes))


def _is_ndpi(path: str) -> bool:
    """Whether a little-endian TIFF has NDPI's 64-bit offsets, which its header does not say."""
    with open(path, "rb") as file:
        magic, offset = struct.unpack("<4sQ", file.read(12).ljust(12, b"\0"))
        if magic != b"II*\0" or offset > os.fstat(file.fileno()).st_size:
            return False
        file.seek(offset)
        number = int.from_bytes(file.read(2), "little")
        tags = file.read(12 * number)
        return NDPI_FORMAT_TAG.to_bytes(2, "little") in (tags[i : i + 2] for i in range(0, len(tags), 12))


def _first_page(series: TiffPageSeries, tif: TiffFile) -> TiffPage:
    page = series[0]
    if page is None or page.parent is not tif:
        raise ImageError("its first plane lies in another file (OME-TIFF of several files)")
    return page.aspage()


def _check_decodable(page: TiffPage) -> None:
    if 0 in page.shaped:
        raise ImageError(f"its size is {page.imagewidth:,} x {page.imagelength:,} px")
    if page.sampleformat in (5, 6):
        raise complex_error()
    codec = _name(tifffile.COMPRESSION, page.compression)
    if page.compression == OLD_JPEG or page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise ImageError(f"compression {codec}: cannot be decoded", CONVERT)
    if page.is_subsampled and (page.compression not in JPEG_FAMILY or page.planarconfig == 2):
        raise ImageError(f"subsampled YCbCr with compression {codec}: cannot be decoded", CONVERT)
    if page.predictor != 1 and page.predictor not in tifffile.TIFF.UNPREDICTORS:
        raise ImageError(f"predictor {page.predictor}: cannot be decoded", CONVERT)
    if page.dtype is None or isinstance(page.sampleformat, tuple):
        raise ImageError(
            f"samples of {page.bitspersample} bit in format {page.sampleformat}: cannot be decoded", CONVERT
        )


def _name(enumeration: type, value: int) -> str:
    try:
        return enumeration(value).name
    except ValueError:
        return str(value)


def _channel_pages(series: TiffPageSeries, page: TiffPage) -> tuple[list[tuple[int, TiffPage]], list[str]]:
    """Return the pages that hold the channels, each with a byte offset to its data, and notes.

    Microscopes write each channel as a page of its own; of Z and T the first plane is taken.
    """
    axes, shape = series.get_axes(False), series.get_shape(False)
    lead = axes.index("Y") - page.axes.index("Y")
    notes = [
        f"axis {axis} has {size} planes: the first is read"
        for axis, size in zip(axes[:lead], shape[:lead], strict=True)
        if size > 1 and axis != "C"
    ]
    channels = shape[axes.index("C")] if "C" in axes[:lead] else 1
    if channels == 1 or prod(page.shaped[:1] + page.shaped[-1:]) > 1:
        if channels > 1:
            notes.append(f"axis C has {channels} planes of several samples: the first is read")
        return [(0, page)], notes
    step = prod(shape[axes.index("C") + 1 : lead])
    if series.dataoffset is not None:  # one page may stand for planes stored one after the other
        return [(channel * step * page.nbytes, page) for channel in range(channels)], notes
    pages = [series[channel * step] for channel in range(channels)]
    if any(one is None or one.parent is not page.parent for one in pages):
        raise ImageError("some of its channels are missing or lie in other files")
    return [(0, one) for one in pages], notes
