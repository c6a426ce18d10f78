"""Claims of slides: what their files name and claim, checked before OpenSlide opens them.

OpenSlide allocates what a slide claims, lists all its tiles, and opens the files that it names.
"""

import math
import os
import re
import sqlite3
import struct
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from quadrat.errors import ImageError
from quadrat.files.sources import is_dicom
from quadrat.images.dicom import WHOLE_SLIDE, DicomHeader, read_header
from quadrat.images.file_headers import COPY
from quadrat.images.file_headers import read_header as read_jpeg_header

MOST_TILES = 10_000_000  # a thousand times as many as a whole slide has
MOST_PARTS = 10_000  # JPEG files of a Hamamatsu slide
MOST_SIDE = (1 << 31) - 1  # pixels, as in a TIFF that any program reads
INI_BYTES = 1 << 20
# A value in the Slidedat.ini of an MRXS that names a file in another folder.
NAMES_FILE = rb"(?im)^\s*(?:FILE_\d+|INDEXFILE)\s*=[ \t]*(.*/.*?)\s*$"
# The widest and tallest row of a JPEG that a restart marker ends.
JPEG_TILE = 65_535 * 32
NGR_MAGIC, NGR_ROWS, NGR_BYTES = b"GN", 64, 6  # OpenSlide reads so many rows at once
SQLITE_BESIDE = ("-journal", "-wal", "-shm")
WAL = b"\2\2"  # bytes 18 and 19 of an SQLite database with a journal of the kind that readers write, too
PLANES = 3  # copies of a tile that OpenSlide has at once
MOST_TILE_SIDE = 1 << 14


class Checked(NamedTuple):
    """A slide that OpenSlide may open.

    Attributes
    ----------
    path : str
        The file to open it by.
    largest_tile : int or None
        Pixels of the largest tile that it claims to store; None if OpenSlide itself reports it.
    notes : tuple of str
    """

    path: str
    largest_tile: int | None = None
    notes: tuple[str, ...] = ()


def check_claims(path: str, vendor: str, files: Collection[str]) -> Checked:
    """Check what a slide claims.

    Parameters
    ----------
    path : str
    vendor : str
        OpenSlide's name of the format.
    files : collection of str
        Its other files.

    Raises
    ------
    ImageError
        If the claims cannot be true, parts are missing, or it would make OpenSlide read other files.
    """
    check = _CHECKS.get(vendor)
    return Checked(path) if check is None else check(path, files)


def _check_mirax(path: str, files: Collection[str]) -> Checked:
    """Refuse an MRXS with files outside its folder, or with more tiles than OpenSlide can handle."""
    for file in files:
        if os.path.basename(file).lower() != "slidedat.ini":
            continue
        settings = _start_of(file)
        outside = re.search(NAMES_FILE, settings)
        if outside:
            raise ImageError(
                f"parts of it lie in {outside[1].decode(errors='replace')}, which is not watched for changes"
            )
        _check_tiles(math.prod(map(int, re.findall(rb"IMAGENUMBER_[XY]\s*=\s*(\d{1,99})", settings))))
    return Checked(path)


def _start_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(INI_BYTES)


def _check_tiles(tiles: int) -> None:
    if tiles > MOST_TILES:
        raise ImageError(f"broken: it claims {tiles:,} tiles, but at most {MOST_TILES:,} are expected")


def _check_dicom(path: str, files: Collection[str]) -> Checked:
    """Refuse a folder whose files are not one whole DICOM slide.

    OpenSlide reads all files of the folder, of any name, that are of the series of the first.
    """
    folder = os.path.dirname(path)
    slides: list[DicomHeader] = []
    others: set[str] = set()
    for name in sorted(os.listdir(folder or ".")):
        file = os.path.join(folder, name)
        if not os.path.exists(file) or os.path.isdir(file):
            continue
        if not os.path.isfile(file):
            raise ImageError(f"{name}: is expected to be a file or a folder", "remove it")
        header = read_header(file)
        if header is None:
            if is_dicom(name) and not name.startswith("."):
                raise ImageError(f"{name}: not a DICOM file", COPY)
        elif header.kind != WHOLE_SLIDE:
            others.add(header.kind)
        elif not is_dicom(name):
            raise ImageError(f"{name}: a part of the slide by another ending", "let its name end in .dcm")
        elif file != path and file not in files:
            raise ImageError(f"{name}: was added while the slide was read", "run again")
        else:
            slides.append(header)
    if not slides:
        raise ImageError(
            f"no DICOM file in its folder is a slide; their class is {', '.join(sorted(others))}",
            "export them as TIFF, such as with ImageJ or 3D Slicer",
        )
    series = len({header.series for header in slides})
    if series > 1:
        raise ImageError(
            f"its folder contains {series} series of slides, but one is expected",
            "move the files of each into a folder of its own",
        )
    levels = [header for header in slides if header.is_level]
    for header in slides:
        if not all((*header.shape, *header.tile_shape)):
            raise ImageError(
                f"{os.path.basename(header.path)}: broken: its image or its tiles have no pixels"
            )
        _check_tiles(
            math.prod(-(-side // step) for side, step in zip(header.shape, header.tile_shape, strict=True))
        )
    is_finest = not all(header.is_resampled for header in levels) or not levels
    return Checked(
        slides[0].path,
        max(math.prod(header.tile_shape) for header in levels or slides),
        () if is_finest else ("level 0 is resampled: the files of a finer level are not in the folder",),
    )


def _check_hamamatsu(path: str, files: Collection[str]) -> Checked:
    """Refuse a VMS or VMU whose files are truncated or claim more than they can contain."""
    counts = re.findall(rb"NoJpeg(?:Columns|Rows)\s*=\s*\+?(\d{1,99})", _start_of(path))
    parts = math.prod(map(int, counts))
    if parts > MOST_PARTS:
        raise ImageError(f"broken: it claims {parts:,} files, but at most {MOST_PARTS:,} are expected")
    largest = JPEG_TILE
    for file in files:
        with open(file, "rb") as opened:
            start = opened.read(28)
        try:
            if start.startswith(b"\xff\xd8"):
                read_jpeg_header(file)
            elif start.startswith(NGR_MAGIC):
                largest = max(largest, _ngr_tile(file, start))
        except ImageError as error:
            raise ImageError(f"{os.path.basename(file)}: {error}", error.hint) from error
    return Checked(path, largest)


def _ngr_tile(path: str, start: bytes) -> int:
    """Return the pixels that OpenSlide reads at once, stored ones of 6 bytes included."""
    size = os.path.getsize(path)
    if len(start) < 28:
        raise ImageError("truncated: the file ends within its header", COPY)
    width, height, column, pixels_at = struct.unpack("<3i8xi", start[4:])
    if min(width, height, column, pixels_at) <= 0 or column > width:
        raise ImageError("broken: its header does not describe an image", COPY)
    if pixels_at + width * height * NGR_BYTES > size:
        raise ImageError(f"truncated: {width:,} x {height:,} px do not fit in {size:,} bytes", COPY)
    return column * NGR_ROWS * 3


def _check_sakura(path: str, files: Collection[str]) -> Checked:
    """Refuse a database that is not plain tables, or in which somebody writes."""
    beside = [path + ending for ending in SQLITE_BESIDE if os.path.lexists(path + ending)]
    with open(path, "rb") as file:
        is_journaled = file.read(20)[18:] == WAL
    if beside or is_journaled:
        reason = (
            f"{os.path.basename(beside[0])} lies beside it" if beside else "its changes are kept beside it"
        )
        raise ImageError(f"not a finished slide: {reason}", COPY)
    address = f"{Path(os.path.abspath(path)).as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as base:
            # A view computes what it likes, as long as it likes.
            other = base.execute(
                "SELECT name FROM sqlite_master "
                "WHERE type IN ('view', 'trigger') OR sql LIKE 'create virtual%'"
            ).fetchone()
            if other:
                raise ImageError(f"not a slide: {other[0]} in its database is not a table")
            (table,) = base.execute("SELECT quote(TableName) FROM DataManagerSQLiteConfigXPO").fetchone()
            (header,) = base.execute(f"SELECT data FROM {table} WHERE id = 'Header'").fetchone()
            (side,) = struct.unpack_from("<I", header)
    except (sqlite3.Error, struct.error, TypeError) as error:
        raise ImageError(f"not a slide that OpenSlide can read: {error}") from error
    if not 0 < side <= MOST_TILE_SIDE:
        raise ImageError(f"broken: a tile of {side:,} x {side:,} px")
    return Checked(path, side * side * PLANES)


def _check_zeiss(path: str, files: Collection[str]) -> Checked:
    """Refuse a CZI with tiles that cannot be allocated.

    References
    ----------
    ZEISS, "CZI file format": the file header names the place of the directory, whose entries have a size per
    dimension.
    """
    largest = 0
    try:
        with open(path, "rb") as file:
            file.seek(84)
            (directory,) = struct.unpack("<Q", file.read(8))
            file.seek(min(directory, os.path.getsize(path)) + 32)
            (entries,) = struct.unpack("<i", file.read(4))
            file.seek(124, os.SEEK_CUR)
            _check_tiles(entries)
            for _ in range(entries):
                (dimensions,) = struct.unpack("<28xi", file.read(32))
                sides = dict.fromkeys((b"X", b"Y"), (0, 0))
                for _ in range(dimensions):
                    name, covered, stored = struct.unpack("<4s4xi4xi", file.read(20))
                    sides[name.rstrip(b"\0")] = covered, stored
                width, height = (stored for _, stored in (sides[b"X"], sides[b"Y"]))
                # OpenSlide divides by how many pixels of level 0 one of the tile covers.
                if min(width, height) <= 0 or sides[b"X"][0] < width or width * height * 6 > MOST_SIDE:
                    raise ImageError(f"broken: a tile of {width:,} x {height:,} px")
                largest = max(largest, width * height)
    except struct.error as error:
        raise ImageError("truncated: the file ends within its directory", COPY) from error
    return Checked(path, largest * PLANES)


_CHECKS: dict[str, Callable[[str, Collection[str]], Checked]] = {
    "mirax": _check_mirax,
    "dicom": _check_dicom,
    "hamamatsu": _check_hamamatsu,
    "sakura": _check_sakura,
    "zeiss": _check_zeiss,
}
