"""TIFF pages: which planes of a TIFF file are the image, and whether they can be decoded."""

import logging
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile
from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

from quadrat.errors import ImageError
from quadrat.images.image import Level
from quadrat.images.selection import check_level, complex_error, downsample_of, plane_index
from quadrat.images.tiff.codecs import BYTE_CODECS, LZW
from quadrat.images.tiff.ome import Planes, ome_planes
from quadrat.images.tiff.segment_index import SegmentIndex, segment_indexes
from quadrat.images.tiff.tags import DESCRIPTION, check_tags

logger = logging.getLogger(__name__)

OLD_JPEG = 6
JPEG_FAMILY, JPEG_2000 = (7, 34892, 33007), (33003, 33004, 33005, 34712)
PALETTE = 3
NDPI_FORMAT_TAG = 65420
XMP_TAG, BIF_ROOT = 700, b"<iScan"
QPI_ROOT = "<PerkinElmer-QPI-ImageDescription"
SOFTWARE_TAG, TRESTLE_SOFTWARE = 305, "MedScan"
# Axes along which each key of `plane` chooses; I and Q are pages whose meaning the file does not contain.
PLANE_AXES = {"z": "ZIQ", "t": "T"}
# Names that Bio-Formats and scanners give other pictures of a slide: "macro image", "Label_Image",
# "slide.ndpi [macro]", "label 387x463" (Aperio), "Macro -offset=(0,0)-pixelsize=..." (Philips).
SLIDE_PART = re.compile(
    r"(?:.*(?: - |[:\[] ?))?(label|macro|overview|thumbnail)"
    r"(?:[ _-](?:mask|image))*(?: \d+x\d+)?(?: ?-offset.*)?\W*",
    re.IGNORECASE,
)
LONGEST_NAME = 200
CCITT = (2, 3, 4)
HOLDS_NOTHING = "not a readable TIFF: it contains no image"


@dataclass(frozen=True)
class TiffLevel:
    """One level of the image of a TIFF file.

    Attributes
    ----------
    page : tifffile.TiffPage
        Has the layout and decoder of all planes.
    planes : tuple of SegmentIndex
    level, level_count : int
    downsample : tuple of 2 float
        Level-0 pixels per pixel along y and x.
    base : tifffile.TiffPage
        First page of level 0, which has the metadata of the image.
    is_first : bool
        Whether it is the first image and plane of the file.
    notes : tuple of str
        Choices among the pages.
    """

    page: TiffPage
    planes: tuple[SegmentIndex, ...]
    level: int
    level_count: int
    downsample: tuple[float, float]
    base: TiffPage
    is_first: bool
    notes: tuple[str, ...]

    @property
    def samples(self) -> int:
        """Number of interleaved samples of a pixel in a plane."""
        return self.page.shaped[-1]


class TiffImagePages(NamedTuple):
    """The pages of a TIFF file that are the image, in all its levels.

    Attributes
    ----------
    tif : tifffile.TiffFile
    series : tifffile.TiffPageSeries
    base : tifffile.TiffPage
        First page of level 0.
    planes : Planes
        How the pages follow each other.
    start : int
        Index of the page with the first channel of the plane that is read.
    plane_notes, series_notes : tuple of str
        Choices among planes and series.
    """

    tif: TiffFile
    series: TiffPageSeries
    base: TiffPage
    planes: Planes
    start: int
    plane_notes: tuple[str, ...]
    series_notes: tuple[str, ...]

    def levels(self) -> tuple[Level, ...]:
        """Return the levels that the file stores."""
        pages = [level.keyframe for level in self.series.levels]
        shapes = [(page.imagelength, page.imagewidth) for page in pages]
        return tuple(Level(i, shape, downsample_of(shapes[0], shape)) for i, shape in enumerate(shapes))


@contextmanager
def tifffile_errors(doing: Callable[[], str]) -> Iterator[None]:
    """Turn any error of tifffile and its codecs on broken data into an ImageError.

    Errors of the disk and of memory pass. `doing` returns the start of the message, if an error occurs.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    # tifffile raises some twenty types of exception on broken files, from struct.error to AttributeError
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error) or type(error).__name__
        raise ImageError(f"{doing()}: {reason.splitlines()[0]}") from error


@contextmanager
def reading_metadata() -> Iterator[None]:
    """Turn any error of tifffile on broken metadata into an ImageError.

    tifffile's log lines go to quadrat's logger at level INFO, since errors and notes already report what
    matters to a user.
    """
    messages = logging.getLogger("tifffile")

    def forward(record: logging.LogRecord) -> bool:
        logger.info("tifffile: %s", record.getMessage())
        return False

    messages.addFilter(forward)
    try:
        with tifffile_errors(lambda: "not a readable TIFF"):
            yield
    finally:
        messages.removeFilter(forward)


def open_tiff(path: str) -> TiffFile:
    """Open a TIFF file.

    Raises
    ------
    ImageError
        If its metadata are broken.
    """
    with reading_metadata(), ExitStack() as held:
        tif = held.enter_context(TiffFile(path, is_ndpi=_is_ndpi(path)))
        _require_page(tif)
        # tifffile asks the tag Software, which programs that write the file anew replace.
        if QPI_ROOT in tif.pages.first.description[:LONGEST_NAME]:
            vars(tif)["is_qpi"] = True
        held.pop_all()
        return tif


def _require_page(tif: TiffFile) -> None:
    """Refuse a file without a first directory; to count its pages would read them all."""
    try:
        _ = tif.pages.first
    except IndexError as error:
        raise ImageError(HOLDS_NOTHING) from error


def stitched_vendor(tif: TiffFile) -> str | None:
    """Return the vendor of a slide whose tiles or images OpenSlide puts together; None for other files.

    Tiles of Ventana BIF and Trestle overlap as their metadata describe. A Leica SCN contains an image of each
    scanned region; OpenSlide reads the brightfield images.

    References
    ----------
    OpenSlide, "Ventana format", "Trestle format" and "Leica format".
    """
    page = tif.pages.first
    xmp, software = page.tags.valueof(XMP_TAG), page.tags.valueof(SOFTWARE_TAG)
    if isinstance(xmp, bytes) and BIF_ROOT in xmp:
        return "ventana"
    if str(software).startswith(TRESTLE_SOFTWARE) and page.description and page.is_tiled:
        return "trestle"
    return "leica" if tif.is_scn and _has_brightfield(page.description) else None


def _has_brightfield(description: str) -> bool:
    """Whether an image of a Leica SCN other than the overview of the whole slide was lit from below."""
    collection = ElementTree.fromstring(description).find("{*}collection")
    if collection is None:
        return False
    size = {side: collection.get(side) for side in ("sizeX", "sizeY")}
    overview = size | {"offsetX": "0", "offsetY": "0"}
    return any(
        image.findtext(".//{*}illuminationSource") == "brightfield"
        and (view := image.find("{*}view")) is not None
        and not overview.items() <= view.attrib.items()
        for image in collection.iterfind("{*}image")
    )


def image_in(tif: TiffFile, plane: dict[str, int] | None) -> TiffImagePages:
    """Return the image of a TIFF file: its first series and plane, unless `plane` chooses.

    Raises
    ------
    ImageError
        If the file lacks the plane, or its tags are broken.
    """
    series, notes = _series_of(tif, plane)
    base = _page_of(series, 0, tif)
    check_tags(base)
    planes = _planes_of(tif, series, base)
    start, plane_notes = _start_of(planes, base, plane)
    return TiffImagePages(tif, series, base, planes, start, tuple(plane_notes), tuple(notes))


def level_of(image: TiffImagePages, level: int) -> TiffLevel:
    """Return a level of an image.

    Raises
    ------
    ImageError
        If the image lacks the level, or stores its pixels in a way that cannot be decoded.
    """
    stored, base, start = image.series.levels, image.base, image.start
    check_level(level, len(stored))
    chosen = stored[level]
    # One page may describe all planes, which are stored one after the other.
    page = _decodable(_page_of(chosen, 0 if chosen.dataoffset is not None else start, image.tif))
    page.init_decode()  # it reads tags, and must not first run on several threads
    pages, channel_notes = _channel_pages(chosen, image.planes, page, start)
    indexes = tuple(one for shift, source in pages for one in segment_indexes(source, page, shift))
    downsample = downsample_of(*((one.imagelength, one.imagewidth) for one in (base, page)))
    notes = (*image.plane_notes, *channel_notes, *image.series_notes)
    is_first = start == 0 and base.treeindex == (0,)
    return TiffLevel(page, indexes, level, len(stored), downsample, base, is_first, notes)


def _series_of(tif: TiffFile, plane: dict[str, int] | None) -> tuple[TiffPageSeries, list[str]]:
    """Return the series that is read, and notes."""
    found = [series for series in tif.series if "Y" in series.axes]  # an empty directory may be a series too
    if not found:
        raise ImageError(HOLDS_NOTHING)
    if len(tif.pages) > 1:  # it may contain the meaning of the pages
        check_tags(tif.pages.first, {DESCRIPTION})
    index = plane_index(plane, "series", len(found))
    if "series" not in (plane or {}):
        index = _image_among(found, tif)
    series = found[index]
    if len(found) == 1:
        return series, []
    if "series" in (plane or {}) and (name := _slide_part(series)):
        raise ImageError(
            f"series {index + 1} is the slide's {name}; choose the series of an image (config.yaml: plane)"
        )
    return series, [f"the file holds {len(found)} series of images: {_ordinal(index)} is read"]


def _image_among(found: list[TiffPageSeries], tif: TiffFile) -> int:
    """Return the index of the image that is read: the first, or the largest if the first is no image."""
    pages = [series.keyframe for series in found]
    images = [
        index
        for index, (series, page) in enumerate(zip(found, pages, strict=True))
        if not (page.is_reduced or page.is_mask or _slide_part(series))
    ]
    # Leica puts the overview of the slide first, without saying so.
    if not images or (images[0] == 0 and not tif.is_scn):
        return 0
    return max(images, key=lambda index: pages[index].imagelength * pages[index].imagewidth)


def _slide_part(series: TiffPageSeries) -> str | None:
    """Return the part of a slide that a series shows by its name or description, None for any other image."""
    texts = (series.name[:LONGEST_NAME], *series.keyframe.description[:LONGEST_NAME].splitlines()[:2])
    found = (SLIDE_PART.fullmatch(text.strip()) for text in texts)
    return next((one[1].lower() for one in found if one), None)


def _ordinal(index: int) -> str:
    return f"number {index + 1}" if index else "the first"


def _is_ndpi(path: str) -> bool:
    """Whether a little-endian TIFF has NDPI's 64-bit offsets, which its header does not declare."""
    with open(path, "rb") as file:
        magic, offset = struct.unpack("<4sQ", file.read(12).ljust(12, b"\0"))
        if magic != b"II*\0" or offset > os.fstat(file.fileno()).st_size:
            return False
        file.seek(offset)
        number = int.from_bytes(file.read(2), "little")
        tags = file.read(12 * number)
        return NDPI_FORMAT_TAG.to_bytes(2, "little") in (tags[i : i + 2] for i in range(0, len(tags), 12))


def _page_of(series: TiffPageSeries, index: int, tif: TiffFile) -> TiffPage:
    page = series[index]
    if page is None or page.parent is not tif:
        which = f"plane {index + 1}" if index else "its first plane"
        raise ImageError(f"{which} is in another file: quadrat does not read OME-TIFF of several files")
    return page.aspage()


def _planes_of(tif: TiffFile, series: TiffPageSeries, page: TiffPage) -> Planes:
    """Return the axes along which the pages of a series, of which this is the first, follow each other."""
    lead = series.axes.index("Y") - page.axes.index("Y")
    planes = Planes(series.axes[:lead], series.shape[:lead])
    if not tif.is_ome or series.kind not in ("generic", "uniform"):
        return planes
    # tifffile ignores OME-XML without TiffData; Bio-Formats and QuPath use all pages in their order.
    described = ome_planes(tif.pages.first.description, page)
    held = prod(planes.sizes)
    if described and prod(described.sizes) == held:
        return described
    if described or held > 1:
        expected = f"{prod(described.sizes):,} planes" if described else "no planes of their size"
        raise ImageError(
            f"its OME-XML describes {expected}, but the file contains {held:,}",
            "correct its ImageDescription, or export it again, such as with QuPath",
        )
    return planes


def _start_of(planes: Planes, page: TiffPage, plane: dict[str, int] | None) -> tuple[int, list[str]]:
    """Return the index of the page with the chosen plane's first channel, and notes."""
    axes, shape = planes
    z = (plane or {}).get("z", 1)
    if page.imagedepth > 1 and z > 1:
        raise ImageError(
            f"plane z: {z} cannot be read, only the first of {page.imagedepth} planes in one page "
            "(config.yaml: plane)"
        )
    indices = [0] * len(axes)
    for name, letters in PLANE_AXES.items():
        place = next((axes.index(letter) for letter in letters if letter in axes), None)
        index = plane_index(plane, name, 1 if place is None else shape[place])
        if place is not None:
            indices[place] = index
    notes = [
        f"axis {axis} has {size} planes: {_ordinal(index)} is read"
        for axis, size, index in zip(axes, shape, indices, strict=True)
        if size > 1 and axis != "C"
    ]
    start = 0
    for size, index in zip(shape, indices, strict=True):
        start = start * size + index
    return start, notes


def _decodable(page: TiffPage) -> TiffPage:
    """Return a page if it can be decoded, without a predictor that its codec does not have."""
    check_tags(page)
    if page.samplesperpixel < 1:
        raise ImageError(f"broken: it has {page.samplesperpixel} samples per pixel, at least 1 expected")
    if page.planarconfig not in (1, 2):
        raise ImageError(f"broken: its planar configuration is {page.planarconfig}, 1 or 2 expected")
    if page.compression not in (LZW, *BYTE_CODECS):  # libtiff and GDAL ignore the tag for others
        page.predictor = 1
    if page.compression in JPEG_2000:
        page.subsampling = (1, 1)  # the tag is for JPEG: a codestream contains its own
    if 0 in page.shaped:
        raise ImageError(f"broken: its size is {page.imagewidth:,} x {page.imagelength:,} px")
    if page.sampleformat in (5, 6):
        raise complex_error()
    codec = _name(tifffile.COMPRESSION, page.compression)
    if page.compression == OLD_JPEG or page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise ImageError(f"compression {codec} cannot be decoded", _conversion_of(page))
    if page.compression in CCITT and page.bitspersample != 1:
        raise ImageError(
            f"broken: its samples have {page.bitspersample} bit, but compression {codec} needs 1 bit"
        )
    if page.is_subsampled and (page.compression not in JPEG_FAMILY or page.planarconfig == 2):
        raise ImageError(f"subsampled YCbCr with compression {codec} cannot be decoded", _conversion_of(page))
    if page.predictor != 1 and page.predictor not in tifffile.TIFF.UNPREDICTORS:
        raise ImageError(f"predictor {page.predictor} cannot be decoded")
    samples = f"samples of {page.bitspersample} bit in format {page.sampleformat}"
    if page.dtype is None or isinstance(page.sampleformat, tuple):
        raise ImageError(f"{samples} cannot be decoded", _conversion_of(page))
    # libtiff computes differences of whole bytes only, and byte planes of floating point only.
    if (page.predictor == 2 and page.bitspersample % 8) or (page.predictor == 3 and page.sampleformat != 3):
        raise ImageError(f"broken: predictor {page.predictor} does not exist for {samples}")
    return page


def _decoding(page: TiffPage) -> tuple:
    """Return the properties that pages must share to be decoded alike."""
    segment = page.rowsperstrip, page.tilelength, page.tilewidth, page.fillorder
    return page.shaped, page.dtype, page.bitspersample, page.compression, page.predictor, *segment


def _conversion_of(page: tifffile.TiffPage) -> str:
    # Imported here, since it imports GDAL.
    from quadrat.images.drivers import conversion_of

    return conversion_of(page.parent.filehandle.path)


def _name(enumeration: type, value: int) -> str:
    try:
        return enumeration(value).name
    except ValueError:
        return str(value)


def _channel_pages(
    series: TiffPageSeries, planes: Planes, page: TiffPage, start: int
) -> tuple[list[tuple[int, TiffPage | TiffFrame]], list[str]]:
    """Return the pages with the channels, each with a byte offset to its data, and notes.

    Microscopes write each channel as a page of its own.
    """
    axes, shape = planes
    channels, notes = shape[axes.index("C")] if "C" in axes else 1, []
    if channels > 1 and (page.photometric == PALETTE or prod(page.shaped[:1] + page.shaped[-1:]) > 1):
        notes.append(f"axis C has {channels} planes of several samples: the first is read")
        channels = 1
    step = prod(shape[axes.index("C") + 1 :]) if channels > 1 else 1
    indices = [start + channel * step for channel in range(channels)]
    if series.dataoffset is not None:
        return [(index * page.nbytes, page) for index in indices], notes
    found = [series[index] for index in indices]
    pages = [one for one in found if one is not None and one.parent is page.parent]
    if len(pages) < len(found):
        raise ImageError("some of its channels are missing or in other files")
    stored = (_decodable(one.aspage()) for one in pages[1:] if not one.is_virtual)
    if any(_decoding(one) != _decoding(page) for one in stored):
        raise ImageError("its channels differ in size, type or compression; equal ones are expected")
    return [(0, one) for one in pages], notes
