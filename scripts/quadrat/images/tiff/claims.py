"""Codestreams: the size that an image within a TIFF claims for itself, read before a codec allocates it."""

import struct

JPEG_START, JPEG_2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
JPEG_XL_START, JPEG_XL_BOXES = b"\xff\x0a", b"\0\0\0\x0cJXL "
JPEG_XR_START, JPEG_XR_CODED, JPEG_XR_OFFSET_TAG = b"II\xbc", b"WMPHOTO\0", 0xBCC0
PNG_START, LERC_START = b"\x89PNG\r\n\x1a\n", b"Lerc2 "
# Frame headers: SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1), and JPEG-LS's.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
JPEG_SCAN = 0xDA
# Markers without content: none, TEM, RST0 to SOI; and a fill byte.
JPEG_ALONE = {0x00, 0x01, *range(0xD0, 0xD9), 0xFF}
# Of JPEG XL's ratio field: width per height (ISO/IEC 18181-1, SizeHeader).
JPEG_XL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
JPEG_XL_BITS = (9, 13, 18, 30)


def claimed_size(data: bytes | bytearray) -> tuple[int, int] | None:
    """Return the size that a codestream claims.

    Parameters
    ----------
    data : bytes
        JPEG, JPEG-LS, JPEG 2000, JPEG XL, JPEG XR, PNG, WebP or LERC.

    Returns
    -------
    (height, width) in pixels, or None
        None if the data have none of these formats or are too broken to read; the codec then reports it.
    """
    try:
        if data.startswith(JPEG_START):
            return _jpeg_size(data)
        if data[:4] == b"RIFF":
            return _webp_size(data)
        if data.startswith(LERC_START):
            return _lerc_size(data)
        if data.startswith(PNG_START):
            width, height = struct.unpack_from(">II", data, 16)
            return height, width
        if data.startswith(JPEG_XL_START):
            return _jpeg_xl_size(data)
        if data.startswith(JPEG_XL_BOXES):
            return _jpeg_xl_size(data[data.index(JPEG_XL_START) :])
        if data.startswith((JPEG_XR_START, JPEG_XR_CODED)):
            return _jpeg_xr_size(data)
        start = data.find(JPEG_2000_START, 0, 4096)  # in a JP2 file it follows some boxes
        return None if start < 0 else _jpeg_2000_size(data, start)
    except (struct.error, IndexError, ValueError):
        return None


def _jpeg_size(data: bytes | bytearray) -> tuple[int, int] | None:
    """Read the markers; pass over bytes between them that libjpeg passes over."""
    position = marker = 0
    while marker != JPEG_SCAN:
        position = data.index(b"\xff", position + 1)
        marker = data[position + 1]
        if marker in JPEG_FRAMES:
            return struct.unpack_from(">HH", data, position + 5)
        if marker not in JPEG_ALONE:
            position += 1 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return None


def _jpeg_2000_size(data: bytes | bytearray, start: int) -> tuple[int, int]:
    """Read the SIZ marker segment (ITU-T T.800, A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    return bottom - top, right - left


def is_subsampled(data: bytes | bytearray) -> bool:
    """Whether the second of three components of a JPEG 2000 is coarser than the first, as only in YCbCr."""
    start = data.find(JPEG_2000_START, 0, 4096)
    return start >= 0 and data[start + 40 : start + 42] == b"\0\3" and data[start + 46 : start + 47] > b"\1"


def _webp_size(data: bytes | bytearray) -> tuple[int, int] | None:
    """Read the first chunk (RFC 9649, section 2)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[27:30], "little"), 1 + int.from_bytes(data[24:27], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _lerc_size(data: bytes | bytearray) -> tuple[int, int]:
    """Read the header of Lerc2; since version 3 it contains a checksum."""
    (version,) = struct.unpack_from("<i", data, 6)
    return struct.unpack_from("<II", data, 14 if version >= 3 else 10)


def _jpeg_xl_size(data: bytes | bytearray) -> tuple[int, int]:
    """Read SizeHeader (ISO/IEC 18181-1): fields of bits, the lowest first."""
    bits, position = int.from_bytes(data[2:16], "little"), 0

    def take(count: int) -> int:
        nonlocal position
        position += count
        return bits >> (position - count) & ((1 << count) - 1)

    def side() -> int:
        return 8 * (1 + take(5)) if is_small else 1 + take(JPEG_XL_BITS[take(2)])

    is_small = take(1)
    height, ratio = side(), take(3)
    if not ratio:
        return height, side()
    across, down = JPEG_XL_RATIOS[ratio]
    return height, height * across // down


def _jpeg_xr_size(data: bytes | bytearray) -> tuple[int, int] | None:
    """Read the header of the coded image, which the file's directory leads to (ITU-T T.832, annex A)."""
    start = 0 if data.startswith(JPEG_XR_CODED) else _jpeg_xr_start(data)
    if start is None or not data.startswith(JPEG_XR_CODED, start):
        return None
    is_short = data[start + 10] >> 7
    width, height = struct.unpack_from(">HH" if is_short else ">II", data, start + 12)
    return height + 1, width + 1


def _jpeg_xr_start(data: bytes | bytearray) -> int | None:
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from("<HHII", data, entry)
        if tag == JPEG_XR_OFFSET_TAG:
            return value
    return None
