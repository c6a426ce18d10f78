"""File headers of PNG and JPEG: their claims, read before any decoder runs, and what libvips leaves out."""

import os
import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

from quadrat.errors import ImageError
from quadrat.images.image import COPY

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_PALETTE = 3
# Deflate expands at most 1032 times (RFC 1951).
PNG_EXPANSION = 1032
# Frame headers of JPEG (ITU-T T.81, table B.1): SOF0 to SOF15 without DHT, JPG and DAC.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Frames with samples in Huffman's code, at least one bit for each block of 8x8 (F.1.2).
JPEG_HUFFMAN = {0xC0, 0xC1, 0xC2}
JPEG_SCAN, JPEG_END = 0xDA, 0xD9
END_SEARCH_BYTES = 1 << 16
JPEG_STANDALONE = {0x01, *range(0xD0, 0xD9)}


@dataclass(frozen=True)
class FileHeader:
    """The header of a PNG or JPEG file.

    Attributes
    ----------
    format : {'PNG', 'JPEG'}
    height, width : int
        In pixels.
    bits : int
        Of a stored sample.
    samples : float
        Stored for each pixel: an index of a palette is one, and coarser colours of a JPEG are parts of one.
    has_palette : bool
    has_end : bool
        Whether a PNG has its last chunk, which comes after all pixels.
    """

    format: str
    height: int
    width: int
    bits: int
    samples: float
    has_palette: bool = False
    has_end: bool = True


def read_header(path: str) -> FileHeader:
    """Return the header of a PNG or JPEG file.

    Raises
    ------
    ImageError
        If the header is broken or claims more pixels than the file can hold, or the file is truncated.
    """
    with open(path, "rb") as file:
        is_png = file.read(8) == PNG_MAGIC
        try:
            header = _png_header(file) if is_png else _jpeg_header(file)
        except (struct.error, IndexError) as error:
            raise ImageError("truncated: the file ends within its header", COPY) from error
        if is_png:
            return replace(header, has_end=_has_png_end(file))
        _check_jpeg_end(file)
        return header


def _png_header(file: BinaryIO) -> FileHeader:
    """Read the first chunk (PNG specification, third edition, 11.2.1)."""
    _, kind, width, height, bits, color = struct.unpack(">I4sIIBB", file.read(18))
    if kind != b"IHDR" or color not in PNG_SAMPLES or not width or not height:
        raise ImageError("broken: its first chunk, IHDR, does not describe a PNG", COPY)
    file_bytes = file.seek(0, os.SEEK_END)
    samples = PNG_SAMPLES[color]
    claimed = -(-width * bits * samples // 8) * height
    if claimed > PNG_EXPANSION * file_bytes:
        raise ImageError(f"broken: {width:,} x {height:,} px do not fit in {file_bytes:,} bytes of PNG", COPY)
    return FileHeader("PNG", height, width, bits, samples, color == PNG_PALETTE)


def _has_png_end(file: BinaryIO) -> bool:
    """Return whether a PNG has its last chunk, IEND; refuse a PNG if another chunk is cut."""
    file_bytes = file.seek(0, os.SEEK_END)
    position = len(PNG_MAGIC)
    while position + 8 <= file_bytes:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if kind == b"IEND":
            return position <= file_bytes
        if position > file_bytes:
            name, beyond = kind.decode("ascii", "replace"), position - file_bytes
            raise ImageError(
                f"truncated: its chunk {name} ends {beyond:,} bytes past the end of the file", COPY
            )
    return False


def _check_jpeg_end(file: BinaryIO) -> None:
    """Refuse a JPEG without an end marker; `file` is at the start of its first scan.

    Within the coded data 0xFF is followed by 0, so the marker cannot occur there. Cameras may append
    other data to the image.
    """
    scan = file.tell()
    stop = file.seek(0, os.SEEK_END)
    while stop > scan:
        start = max(scan, stop - END_SEARCH_BYTES)
        file.seek(start)
        if bytes((0xFF, JPEG_END)) in file.read(stop - start + 1):
            return
        stop = start
    raise ImageError("truncated: the JPEG has no end marker", COPY)


def _jpeg_header(file: BinaryIO) -> FileHeader:
    """Read the markers before the first scan (ITU-T T.81, annex B); pass over what libjpeg passes over."""
    file.seek(2)
    marker, body, frame = 0, b"", None
    while marker != JPEG_SCAN:
        marker = _next_marker(file)
        if marker in JPEG_STANDALONE:
            continue
        if marker == JPEG_END:
            raise ImageError("broken: the JPEG contains no image")
        (length,) = struct.unpack(">H", file.read(2))
        body = file.read(max(0, length - 2))
        if len(body) < length - 2:
            raise ImageError("truncated: the file ends within its header", COPY)
        if marker in JPEG_FRAMES:
            frame = marker, body
    if frame is None:
        raise ImageError("broken: the JPEG does not describe its size: a frame header (SOF) is missing")
    return _jpeg_frame(*frame, file)


def _next_marker(file: BinaryIO) -> int:
    """Return the next marker, past fill bytes and stray bytes."""
    while True:
        byte = file.read(1)
        while byte == b"\xff":
            byte = file.read(1)
            if byte not in (b"\xff", b"\0"):
                return byte[0]
        if not byte:
            raise ImageError("truncated: the file ends within its header", COPY)


def _jpeg_frame(marker: int, body: bytes, file: BinaryIO) -> FileHeader:
    precision, height, width, components = struct.unpack(">BHHB", body[:6])
    if precision != 8:
        raise ImageError(f"a JPEG of {precision} bit: not supported", "convert it to TIFF or PNG")
    if not height or not width:
        raise ImageError(f"broken: its size is {width:,} x {height:,} px")
    file_bytes = os.fstat(file.fileno()).st_size
    if marker in JPEG_HUFFMAN and -(-height // 8) * -(-width // 8) > 8 * file_bytes:
        raise ImageError(
            f"broken: {width:,} x {height:,} px do not fit in {file_bytes:,} bytes of JPEG", COPY
        )
    sampling = [divmod(body[7 + 3 * index], 16) for index in range(components)]
    if not sampling or not all(h and v for h, v in sampling):
        raise ImageError("broken: its frame header (SOF) describes no channels, or channels without pixels")
    widest, tallest = max(h for h, _ in sampling), max(v for _, v in sampling)
    samples = sum(h * v for h, v in sampling) / (widest * tallest)
    return FileHeader("JPEG", height, width, precision, samples)
