"""TIFF pages: which planes of a TIFF file are the image, and whether they can be decoded."""

import errno
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile
from tifffile import FileHandle, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from quadrat.errors import ImageError
from quadrat.images.image import Level
from quadrat.images.selection import check_level, complex_error, downsample_of, plane_index
from quadrat.images.tiff.codecs import BYTE_CODECS, LZW
from quadrat.images.tiff.ome import Planes, ome_planes
from quadrat.images.tiff.segment_index import SegmentIndex, segment_indexes
from quadrat.images.tiff.tags import (
    DESCRIPTION,
    broken_tag,
    check_tags,
    format_of,
    leave_out_broken_pages,
    leave_out_broken_subifds,
)

logger = logging.getLogger(__name__)

OLD_JPEG = 6
JPEG_FAMILY, JPEG_2000 = (7, 34892, 33007), (33003, 33004, 33005, 34712)
PALETTE = 3
XMP_TAG, BIF_ROOT = 700, b"<iScan"
QPI_ROOT = "<PerkinElmer-QPI-ImageDescription"
# PerkinElmer's names of the scan and its other levels, in the XML of each page.
QPI_LEVEL = re.compile(r"<ImageType>(?:Full|Reduced)Resolution<")
SOFTWARE_TAG, TRESTLE_SOFTWARE = 305, "MedScan"
# Axes along which each key of `plane` chooses; I and Q are pages whose meaning the file does not contain, and
# R and P are positions of a microscope.
POSITIONS = "RP"
PLANE_AXES = {"z": "ZIQ", "t": "T", "series": POSITIONS}
# Kinds of metadata by which tifffile puts pages together, in its order.
KINDS = [
    *("shaped", "lsm", "mmstack", "ome", "imagej", "ndtiff", "fluoview", "stk", "sis", "scn", "qpi", "ndpi"),
    *("bif", "avs", "eer", "philips", "scanimage", "nih", "mdgel"),
]
COMMON_NAMES = {"shaped": "tifffile", "mmstack": "Micro-Manager", "imagej": "ImageJ", "philips": "Philips"}
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

    Errors of the disk and of memory pass. `doing` returns the message, if an error occurs; the error itself
    goes to the log, since a user cannot use the words of Python and of the library.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    # tifffile raises some twenty types of exception on broken files, from struct.error to AttributeError
    except Exception as error:
        if _is_of_the_disk(error):
            raise
        logger.info("tifffile: %r", error)
        raise ImageError(doing()) from error


def _is_of_the_disk(error: Exception) -> bool:
    # EINVAL: a place beyond any file, which only a broken file names.
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


@contextmanager
def reading_metadata(path: str) -> Iterator[None]:
    """Turn any error of tifffile on broken metadata of a file into an ImageError that names the broken tag.

    tifffile's log lines go to quadrat's logger at level INFO, since errors and notes already report what
    matters to a user.
    """
    messages = logging.getLogger("tifffile")

    def forward(record: logging.LogRecord) -> bool:
        logger.info("tifffile: %s", record.getMessage())
        return False

    messages.addFilter(forward)
    try:
        with tifffile_errors(lambda: f"not a readable TIFF: {broken_tag(path)}"):
            yield
    finally:
        messages.removeFilter(forward)


def open_tiff(path: str, held: ExitStack) -> tuple[TiffFile, tuple[str, ...]]:
    """Open a TIFF file.

    Parameters
    ----------
    path : str
    held : ExitStack
        Closes the file.

    Returns
    -------
    tifffile.TiffFile
    tuple of str
        Notes on pages that cannot be read.

    Raises
    ------
    ImageError
        If its metadata are broken.
    """
    with reading_metadata(path):
        with open(path, "rb") as file:
            is_ndpi = format_of(file).is_ndpi
        tif = held.enter_context(TiffFile(path, is_ndpi=is_ndpi))
        _require_page(tif)
        settings = tif.micromanager_metadata if tif.is_mmstack else None
        if not settings or not len(settings["IndexMap"]):
            return tif, leave_out_broken_pages(tif)
        # Without its name, tifffile does not read the other files of the data set, too.
        tif = held.enter_context(TiffFile(held.enter_context(FileHandle(path)), name="alone.tif"))
        first = settings["IndexMap"][:, :4].min(axis=0)
        places = zip(("channel", "z", "t", "position"), first, strict=True)
        named = ", ".join(f"{axis} {number + 1}" for axis, number in places if number)
        return tif, (f"its first plane is {named} of a Micro-Manager data set",) if named else ()


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
    return "leica" if page.is_scn and _has_brightfield(page.description) else None


def _has_brightfield(description: str) -> bool:
    """Whether an image of a Leica SCN other than the overview of the whole slide was lit from below."""
    try:
        collection = ElementTree.fromstring(description).find("{*}collection")
    except (ElementTree.ParseError, LookupError):
        return False
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


def image_in(tif: TiffFile, plane: dict[str, int] | None, notes: tuple[str, ...] = ()) -> TiffImagePages:
    """Return the image of a TIFF file: its first series and plane, unless `plane` chooses.

    Parameters
    ----------
    tif : tifffile.TiffFile
    plane : dict of str to int, or None
    notes : tuple of str, optional
        On the pages of the file.

    Raises
    ------
    ImageError
        If the file lacks the plane, or its tags are broken.
    """
    found, series_notes = _all_series(tif)
    series, choice = _series_of(found, tif, plane)
    base = _page_of(series, 0, tif)
    check_tags(base)
    planes = _planes_of(tif, series, base)
    start, plane_notes = _start_of(planes, base, plane)
    file_notes = (*choice, *notes, *series_notes)
    return TiffImagePages(tif, series, base, planes, start, tuple(plane_notes), file_notes)


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


def _all_series(tif: TiffFile) -> tuple[list[TiffPageSeries], list[str]]:
    """Return all series of a file, and notes on metadata and pages that could not be used for it."""
    notes = leave_out_broken_subifds(tif.pages.first)
    while True:
        try:
            # An empty directory may be a series, too.
            found = [one for one in _pyramids_of(tif) or tif.series if "Y" in one.axes]
            are_whole = all(prod(level.keyframe.shaped) for one in found for level in one.levels[1:])
            if are_whole and (found or not _kind_of(tif)):
                return _with_reduced_images(found), notes
            raise ValueError("pages without a size, or axes without Y")
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # as in `tifffile_errors`
            if _is_of_the_disk(error):
                raise
            logger.info("tifffile: %r", error)
            vars(tif).pop("series", None)
            tif.pages._clear()  # an attempt that failed may have changed them
            left_out = leave_out_broken_pages(tif, is_parsed=True)
            notes += left_out
            if left_out:
                continue
            kind = _kind_of(tif)
            if kind is None:
                raise
            vars(tif)[f"is_{kind}"] = False
            name = COMMON_NAMES.get(kind, kind.upper())
            notes.append(f"its {name} metadata are broken: its pages are read without them")


def _kind_of(tif: TiffFile) -> str | None:
    return next((kind for kind in KINDS if getattr(tif, f"is_{kind}")), None)


def _pyramids_of(tif: TiffFile) -> list[TiffPageSeries]:
    """Return the series of an Aperio or PerkinElmer slide whose pages are in any order; none of other files.

    tifffile takes the second page for the thumbnail, which programs that write the file anew leave out.

    References
    ----------
    OpenSlide, "Aperio format": all levels are tiled; thumbnail, label and macro are not.
    """
    base = tif.pages.first
    if base.is_svs and base.is_tiled:
        kind, axis = "svs", "Z"
    elif QPI_ROOT in base.description[:LONGEST_NAME] and QPI_LEVEL.search(base.description):
        kind, axis = "qpi", "C"
    else:
        return []

    def series_of(pages: list[TiffPage], name: str) -> TiffPageSeries:
        first = pages[0]
        return TiffPageSeries(
            pages, (len(pages), *first.shape), first.dtype, axis + first.axes, name=name, kind=kind
        )

    levels: dict[tuple[int, ...], list[TiffPage]] = {}
    parts = []
    for page in (page.aspage() for page in (*tif.pages, *(base.pages or ()))):
        is_level = page.is_tiled if kind == "svs" else QPI_LEVEL.search(page.description)
        if is_level and _samples(page) == _samples(base) and not _slide_part("", page):
            levels.setdefault(page.shape, []).append(page)
        else:
            parts.append(series_of([page], {1: "Label", 9: "Macro"}.get(page.subfiletype, "Thumbnail")))
    if not levels:
        return []
    stacks = sorted(levels.values(), key=lambda pages: prod(pages[0].shape), reverse=True)
    depth = len(stacks[0]) if len({len(pages) for pages in stacks}) == 1 else 1
    scan, *coarser = [series_of(pages[:depth], "Baseline") for pages in stacks]
    scan.levels.extend(coarser)
    return [scan, *parts]


def _with_reduced_images(found: list[TiffPageSeries]) -> list[TiffPageSeries]:
    """Return series with all reduced images as levels of the first; tifffile expects equal steps between."""

    def is_level(one: TiffPageSeries) -> bool:
        page = one.keyframe
        down, across = downsample_of(*((each.imagelength, each.imagewidth) for each in (base, page)))
        is_alike = _samples(page) == _samples(base) and len(one) == len(found[0])
        return page.is_reduced and not page.is_mask and is_alike and down == across > 1

    if len(found) < 2 or found[0].kind not in ("generic", "shaped") or found[0].keyframe.is_reduced:
        return found
    base = found[0].keyframe
    levels = [one for one in found[1:] if is_level(one)]
    found[0].levels.extend(levels)
    found[0].levels.sort(key=lambda level: prod(level.keyframe.shaped), reverse=True)
    return [one for one in found if one not in levels]


def _samples(page: TiffPage) -> tuple:
    return page.dtype, page.axes, page.samplesperpixel


def _series_of(
    found: list[TiffPageSeries], tif: TiffFile, plane: dict[str, int] | None
) -> tuple[TiffPageSeries, list[str]]:
    """Return the series that is read, and notes."""
    if not found:
        raise ImageError(HOLDS_NOTHING)
    if len(tif.pages) > 1:  # it may contain the meaning of the pages
        check_tags(tif.pages.first, {DESCRIPTION})
    if len(found) == 1 and set(POSITIONS) & set(found[0].axes):
        return found[0], []
    index = plane_index(plane, "series", len(found))
    if "series" not in (plane or {}):
        index = _image_among(found, tif)
    series = found[index]
    if len(found) == 1:
        return series, []
    if "series" in (plane or {}) and (name := _slide_part(series.name, series.keyframe)):
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
        if not (page.is_reduced or page.is_mask or _slide_part(series.name, page))
    ]
    # Leica puts the overview of the slide first, without saying so.
    if not images or (images[0] == 0 and not tif.pages.first.is_scn):
        return 0
    return max(images, key=lambda index: pages[index].imagelength * pages[index].imagewidth)


def _slide_part(name: str, page: TiffPage) -> str | None:
    """Return the part of a slide that a page shows by its name or description, None for any other image."""
    texts = (name[:LONGEST_NAME], *page.description[:LONGEST_NAME].splitlines()[:2])
    found = (SLIDE_PART.fullmatch(text.strip()) for text in texts)
    return next((one[1].lower() for one in found if one), None)


def _ordinal(index: int) -> str:
    return f"number {index + 1}" if index else "the first"


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
    if not tif.pages.first.is_ome or series.kind not in ("generic", "uniform"):
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
        if place is not None:
            indices[place] = plane_index(plane, name, shape[place])
        elif name != "series":  # of which one is chosen already
            plane_index(plane, name, 1)
    notes = []
    for axis, size, index in zip(axes, shape, indices, strict=True):
        if size > 1 and axis != "C":
            has = (
                f"the file holds {size} positions" if axis in POSITIONS else f"axis {axis} has {size} planes"
            )
            notes.append(f"{has}: {_ordinal(index)} is read")
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
    from quadrat.images.gdal import conversion_of

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
