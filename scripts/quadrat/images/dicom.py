"""Headers of DICOM files: to which slide a file belongs, and what it claims."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from quadrat.errors import ImageError

# A preamble of any bytes comes first (DICOM PS3.10, 7.1).
PREAMBLE, MAGIC = 128, b"DICM"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
# Transfer syntaxes with other elements than those below (PS3.5, annex A). OpenSlide has no decoder for them.
OTHER_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")

# Tags of PS3.6.
CLASS, SYNTAX = 0x0002_0002, 0x0002_0010
IMAGE_TYPE, SERIES = 0x0008_0008, 0x0020_000E
TILE_HEIGHT, TILE_WIDTH, WIDTH, HEIGHT = 0x0028_0010, 0x0028_0011, 0x0048_0006, 0x0048_0007
NEEDED = {IMAGE_TYPE, SERIES, TILE_HEIGHT, TILE_WIDTH, WIDTH, HEIGHT}
DATA, LAST = 0x0003_0000, HEIGHT
ITEMS, ITEM_END, SEQUENCE_END = 0xFFFE, 0xFFFE_E00D, 0xFFFE_E0DD
# Value representations whose length has 4 bytes (PS3.5, 7.1.2).
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
NO_LENGTH = 0xFFFF_FFFF
MOST_BYTES = 4096  # of a value that is read


@dataclass(frozen=True)
class DicomHeader:
    """The header of a DICOM file.

    Attributes
    ----------
    path : str
    kind : str
        UID of the kind of object. If it is not `WHOLE_SLIDE`, the next attributes are empty.
    series : str
        UID of the slide to which the file belongs.
    shape, tile_shape : tuple of 2 int
        Height and width in pixels.
    is_level, is_resampled : bool
        Whether its pixels are the slide's, rather than a label's, and whether they are made of a finer level.
    """

    path: str
    kind: str
    series: str = ""
    shape: tuple[int, int] = (0, 0)
    tile_shape: tuple[int, int] = (0, 0)
    is_level: bool = False
    is_resampled: bool = False


def read_header(path: str) -> DicomHeader | None:
    """Return the header of a DICOM file; None if it is no DICOM file.

    Raises
    ------
    ImageError
        If the header of a slide is broken, or written in a way that OpenSlide does not read.
    """
    with open(path, "rb") as file, _naming(path):
        if file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] != MAGIC:
            return None
        values: dict[int, bytes] = {}
        for tag, value in _elements(file):
            if tag > DATA:
                if _text(values, CLASS) != WHOLE_SLIDE:
                    break
                if (syntax := _text(values, SYNTAX)) in OTHER_SYNTAXES:
                    raise ImageError(f"its transfer syntax, {syntax}, is not read")
            if tag > LAST:
                break
            values[tag] = value
        kind = _text(values, CLASS)
        if kind != WHOLE_SLIDE:
            return DicomHeader(path, kind)
        if missing := sorted(NEEDED - values.keys()):
            named = ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in missing)
            raise ImageError(f"broken: its header has no {named}")
    types = _text(values, IMAGE_TYPE).split("\\")
    return DicomHeader(
        path,
        kind,
        _text(values, SERIES),
        (_number(values, HEIGHT), _number(values, WIDTH)),
        (_number(values, TILE_HEIGHT), _number(values, TILE_WIDTH)),
        "VOLUME" in types,
        "RESAMPLED" in types,
    )


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except struct.error as error:
        name = os.path.basename(path)
        raise ImageError(f"{name}: truncated: the file ends within its header", "copy it again") from error
    except ImageError as error:
        raise ImageError(f"{os.path.basename(path)}: {error}", error.hint) from error


def _text(values: dict[int, bytes], tag: int) -> str:
    return values.get(tag, b"").strip(b"\0 ").decode(errors="replace")


def _number(values: dict[int, bytes], tag: int) -> int:
    return int.from_bytes(values.get(tag, b""), "little")


def _elements(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the value of each element; not of those within sequences.

    A long value is empty. Sequences without a length are entered, since only their content shows their end.
    """
    depth = last = 0
    while True:
        group, number = struct.unpack("<HH", file.read(4))
        tag = group << 16 | number
        if group == ITEMS:
            (length,) = struct.unpack("<I", file.read(4))
            if tag in (ITEM_END, SEQUENCE_END):
                depth -= 1
            elif length == NO_LENGTH:
                depth += 1
            else:
                file.seek(length, os.SEEK_CUR)
            continue
        # Otherwise OpenSlide could find another value than the one that is checked.
        if depth == 0 and tag <= last:
            raise ImageError("broken: the elements of its header are not in order")
        if file.read(2) in LONG:
            _, length = struct.unpack("<HI", file.read(6))
        else:
            (length,) = struct.unpack("<H", file.read(2))
        if length == NO_LENGTH:
            depth += 1
            continue
        value = b"" if depth or length > MOST_BYTES else file.read(length)
        file.seek(length - len(value), os.SEEK_CUR)
        if depth == 0:
            last = tag
            yield tag, value
