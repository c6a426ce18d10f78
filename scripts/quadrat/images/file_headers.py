"""File headers of PNG and JPEG: what their pixels are and what they claim, read before any decoder runs."""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from quadrat.errors import ImageError

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_PALETTE = 3
# Deflate expands at most 1032 times (RFC 1951).
PNG_EXPANSION = 1032
# Frame headers of JPEG (ITU-T T.81, table B.1): SOF0 to SOF15 without DHT, JPG and DAC.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Frames with samples in Huffman's code, at least one bit for each block of 8x8 (F.1.2).
JPEG_HUFFMAN = {0xC0, 0xC1, 0xC2}
JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
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
    whole_bytes : int
        Memory in bytes that decoding takes because the file is not stored from top to bottom; 0 if it is.
    layout : str
        The layout that makes it necessary, for the message.
    notes : tuple of str
        Conversions of the samples.
    """

    format: str
    height: int
    width: int
    whole_bytes: int
    layout: str
    notes: tuple[str, ...]


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
            raise ImageError("truncated: the file ends within its header") from error
        if is_png:
            _check_png_end(file)
        else:
            _check_jpeg_end(file)
        return header


def _png_header(file: BinaryIO) -> FileHeader:
    """Read the chunks before the pixels (PNG specification, third edition, 11.2 and 11.3.1)."""
    _, kind, width, height, bits, color, _, _, interlace = struct.unpack(">I4sIIBBBBB", file.read(21))
    if kind != b"IHDR" or color not in PNG_SAMPLES or not width or not height:
        raise ImageError("broken: no valid PNG header")
    transparent = _png_has_chunk(file, b"tRNS")
    file_bytes = file.seek(0, os.SEEK_END)
    claimed = -(-width * bits * PNG_SAMPLES[color] // 8) * height
    if claimed > PNG_EXPANSION * file_bytes:
        raise ImageError(f"broken: {width:,} x {height:,} px do not fit in {file_bytes:,} bytes of PNG")
    notes = []
    if color == PNG_PALETTE:
        notes.append("palette expanded to RGBA" if transparent else "palette expanded to RGB")
    elif transparent:
        notes.append("the transparent colour is given as an alpha channel")
    if bits < 8 and color != PNG_PALETTE:
        notes.append(f"{bits}-bit samples scaled to 0-255")
    samples = 3 if color == PNG_PALETTE else PNG_SAMPLES[color]
    whole = width * height * (samples + transparent) * max(1, bits // 8) if interlace else 0
    return FileHeader("PNG", height, width, whole, "an interlaced PNG", tuple(notes))


def _png_has_chunk(file: BinaryIO, wanted: bytes) -> bool:
    file.seek(33)
    while True:
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind in (wanted, b"IDAT", b"IEND"):
            return kind == wanted
        file.seek(length + 4, os.SEEK_CUR)


def _check_png_end(file: BinaryIO) -> None:
    """Refuse a PNG whose last chunk is missing."""
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(-12, os.SEEK_END)
    if file.read(8) == b"\0\0\0\0IEND":
        return
    position = len(PNG_MAGIC)  # other data may follow the last chunk, so the chunks are counted
    while position + 12 <= file_bytes:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if kind == b"IEND":
            return
    beyond = max(1, position - file_bytes)
    raise ImageError(f"truncated: its last chunk ends at least {beyond:,} bytes past the end of the file")


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
    raise ImageError("truncated: the JPEG has no end marker")


def _jpeg_header(file: BinaryIO) -> FileHeader:
    """Read the markers before the first scan (ITU-T T.81, annex B)."""
    file.seek(2)
    frame, notes = None, []
    while True:
        marker = _next_marker(file)
        if marker in JPEG_STANDALONE:
            continue
        if marker == JPEG_END:
            raise ImageError("broken: the JPEG contains no image")
        (length,) = struct.unpack(">H", file.read(2))
        body = file.read(length - 2) if length > 2 else b""
        if len(body) != length - 2:
            raise ImageError("truncated: the file ends within its header")
        if marker in JPEG_FRAMES:
            frame = marker, body
        elif marker == 0xE1 and body.startswith(b"Exif\0"):
            notes.append("EXIF orientation is not applied")
        elif marker == JPEG_SCAN:
            break
    if frame is None:
        raise ImageError("broken: the JPEG has no frame header")
    _check_jpeg_claim(*frame, file)
    return _jpeg_frame(*frame, scan_components=body[0], notes=tuple(notes))


def _check_jpeg_claim(marker: int, body: bytes, file: BinaryIO) -> None:
    """Refuse a JPEG that is too small for its pixels; the position in the file stays."""
    height, width = struct.unpack(">HH", body[1:5])
    file_bytes = os.fstat(file.fileno()).st_size
    if marker in JPEG_HUFFMAN and -(-height // 8) * -(-width // 8) > 8 * file_bytes:
        raise ImageError(f"broken: {width:,} x {height:,} px do not fit in {file_bytes:,} bytes of JPEG")


def _next_marker(file: BinaryIO) -> int:
    if file.read(1) != b"\xff":
        raise ImageError("broken: a JPEG marker is missing in its header")
    byte = file.read(1)
    while byte == b"\xff":  # fill bytes
        byte = file.read(1)
    return byte[0]


def _jpeg_frame(marker: int, body: bytes, scan_components: int, notes: tuple[str, ...]) -> FileHeader:
    precision, height, width, components = struct.unpack(">BHHB", body[:6])
    if precision != 8:
        raise ImageError(f"a JPEG of {precision} bit: not supported", "convert it to TIFF or PNG")
    if not height or not width:
        raise ImageError(f"broken: its size is {width:,} x {height:,} px")
    sampling = [divmod(body[7 + 3 * index], 16) for index in range(components)]
    if not sampling or not all(h and v for h, v in sampling):
        raise ImageError("broken: no valid JPEG frame header")
    widest, tallest = max(h for h, _ in sampling), max(v for _, v in sampling)
    if marker not in JPEG_PROGRESSIVE and scan_components == components:
        return FileHeader("JPEG", height, width, 0, "", notes)
    # libjpeg holds all coefficients as 16-bit integers until the last scan has come.
    coefficients = sum(h * v for h, v in sampling) * height * width // (widest * tallest)
    layout = "a progressive JPEG" if marker in JPEG_PROGRESSIVE else "a JPEG of several scans"
    return FileHeader("JPEG", height, width, 2 * coefficients, layout, notes)
