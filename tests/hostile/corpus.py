"""Hostile files: small good images, each with one thing wrong."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 96, 80
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RGB = np.stack([Y * 2, X * 3, (Y + X) % 251], axis=-1).astype(np.uint8)

# Values of a header's 32-bit field: nothing, and what overflows a signed number, and an unsigned one.
EXTREMES = (0, 2**31, 2**32 - 1)
# Types of a TIFF field, TIFF 6.0 section 2: none, ASCII, DOUBLE, and one that does not exist.
TYPES = (0, 2, 12, 255)
FLIPS = 10
MUTATED_TIFFS = ("strips.tif", "tiles.tif")
# Square images of zeros of 2.1 and 12.9 gigapixels.
BOMB_SIDES = (46_000, 65_500)


def corpus() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file, the good ones included; the same on every call."""
    for kind, good in good_files().items():
        yield f"good.{kind}", good
        yield from _named("cut", kind, truncated(good))
        yield from _named("flip", kind, flipped(good))
    for kind, good in good_files().items():
        if kind in MUTATED_TIFFS:
            yield from _named("field", kind, mutated_tiff(good))
    yield from _named("field", "png", mutated_png(good_files()["png"]))
    yield from _named("field", "jpg", mutated_jpeg(good_files()["jpg"]))
    yield from bombs()


def _named(what: str, kind: str, files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    for name, content in files:
        yield f"{what}_{name}.{kind}", content


def good_files() -> dict[str, bytes]:
    """Return a good file of each kind, by the end of its name."""
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    return {
        "strips.tif": _tiff(RGB, compression="zlib", predictor=True, rowsperstrip=16),
        "raw.tif": _tiff(RGB, rowsperstrip=HEIGHT),
        "tiles.tif": _tiff(RGB, compression="jpeg", tile=(32, 32)),
        "planar.tif": _tiff(planes, compression="lzw", planarconfig="separate", tile=(48, 48)),
        "png": _pillow("PNG"),
        "jpg": _pillow("JPEG", quality=90),
        "progressive.jpg": _pillow("JPEG", quality=90, progressive=True),
        "jp2": imagecodecs.jpeg2k_encode(RGB, level=0),
    }


def _tiff(pixels: np.ndarray, **layout: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, software=False, **layout)
    return file.getvalue()


def _pillow(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, kind, **options)
    return file.getvalue()


def truncated(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut a file at each tenth of its length, and before its last byte."""
    for tenth in range(1, 10):
        yield f"{tenth}", good[: len(good) * tenth // 10]
    yield "last_byte", good[:-1]


def flipped(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Turn a bit of a file over, here and there."""
    random = np.random.default_rng(len(good))
    for number in range(FLIPS):
        content = bytearray(good)
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        yield f"{number}", bytes(content)


def mutated_tiff(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Change each number of the header and the first directory of a little-endian TIFF in turn.

    References
    ----------
    TIFF 6.0, section 2: a header of 8 bytes, a count of fields, fields of 12 bytes, the next directory.
    """
    (start,) = struct.unpack_from("<I", good, 4)
    (count,) = struct.unpack_from("<H", good, start)
    end = start + 2 + 12 * count
    places = (*EXTREMES, 1, len(good) - 2)
    yield from _changed(good, 4, "<I", places, "first_directory")
    yield from _changed(good, start, "<H", (0, 1, 65_535), "field_count")
    # A directory that follows itself.
    yield from _changed(good, end, "<I", (start, *places), "next_directory")
    for entry in range(start + 2, end, 12):
        tag, kind, values = struct.unpack_from("<HHI", good, entry)
        size = struct.calcsize({1: "B", 2: "B", 3: "H", 4: "I", 5: "Q"}.get(kind, "B")) * values
        yield from _changed(good, entry, "<H", (0, 65_535), f"{tag}_tag")
        yield from _changed(good, entry + 2, "<H", TYPES, f"{tag}_type")
        yield from _changed(good, entry + 4, "<I", EXTREMES, f"{tag}_count")
        yield from _changed(good, entry + 8, "<I", places, f"{tag}_value")
        if size > 4:
            (offset,) = struct.unpack_from("<I", good, entry + 8)
            yield from _changed(good, offset, "<I", places, f"{tag}_first")
        elif kind == 3:
            yield from _changed(good, entry + 8, "<H", (0, 65_535), f"{tag}_short")


def _changed(
    good: bytes, offset: int, form: str, values: tuple[int, ...], name: str
) -> Iterator[tuple[str, bytes]]:
    for value in values:
        content = bytearray(good)
        struct.pack_into(form, content, offset, value)
        if content != good:
            yield f"{name}_{value}", bytes(content)


def mutated_png(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Change each number of the header and the length of each chunk, with check sums that are right.

    References
    ----------
    PNG, third edition, sections 5.3 (chunks) and 11.2.1 (IHDR).
    """
    for offset, name in ((16, "width"), (20, "height")):
        for key, content in _changed(good, offset, ">I", EXTREMES, name):
            yield key, _with_check_sum(content)
    for offset, name in enumerate(("depth", "colour", "compression", "filter", "interlace"), start=24):
        for key, content in _changed(good, offset, ">B", (0, 1, 3, 5, 7, 16, 255), name):
            yield key, _with_check_sum(content)
    yield from _changed(good, 33, ">I", EXTREMES, "chunk_length")
    yield from _changed(good, 8, ">I", EXTREMES, "header_length")
    yield from _changed(good, 29, ">I", (0,), "check_sum")
    pixels = good.index(b"IDAT")
    yield "no_pixels", good[: pixels - 4] + good[-12:]
    yield "pixels_twice", good[:-12] + good[pixels - 4 : -12] + good[-12:]


def _with_check_sum(content: bytes) -> bytes:
    return content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:]


def mutated_jpeg(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Change each number of the frame header, and the length of each marker's segment.

    References
    ----------
    ITU-T T.81, B.2.2 (frame header), B.1.1.4 (marker segments).
    """
    frame = good.index(b"\xff\xc0")
    fields = {4: ("depth", ">B"), 5: ("height", ">H"), 7: ("width", ">H"), 9: ("components", ">B")}
    fields |= {10: ("id", ">B"), 11: ("sampling", ">B"), 12: ("table", ">B")}
    for offset, (name, form) in fields.items():
        most = 255 if form == ">B" else 65_535
        yield from _changed(good, frame + offset, form, (0, 1, 12, most), name)
    marker = 2
    while good[marker + 1] != 0xDA:
        yield from _changed(good, marker + 2, ">H", (0, 2, 65_535), f"length_{marker}")
        marker += 2 + struct.unpack_from(">H", good, marker + 2)[0]


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield files of a few kilobytes that claim to be images of gigapixels."""
    zeros = np.zeros((1024, 1024), np.uint8)
    encoders: dict[str, tuple[int, Callable[[np.ndarray], bytes]]] = {
        "packbits": (32773, imagecodecs.packbits_encode),
        "lzw": (5, imagecodecs.lzw_encode),
        "deflate": (8, lambda pixels: zlib.compress(pixels.tobytes(), 9)),
        "lzma": (34925, imagecodecs.lzma_encode),
        "zstd": (50000, lambda pixels: imagecodecs.zstd_encode(pixels.tobytes(), level=9)),
        "webp": (50001, lambda pixels: imagecodecs.webp_encode(np.stack([pixels] * 3, -1))),
        "jpeg": (7, imagecodecs.jpeg8_encode),
        "jpeg2000": (34712, lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0)),
        "jpegxl": (50002, imagecodecs.jpegxl_encode),
        "lerc": (34887, imagecodecs.lerc_encode),
    }
    for name, (compression, encode) in encoders.items():
        for side in BOMB_SIDES:
            yield f"bomb_{name}_{side}.tif", _one_strip(side, compression, encode(zeros))
    claim = good_files()["png"][:16] + struct.pack(">II", 65_500, 65_500) + good_files()["png"][24:]
    yield "bomb.png", _with_check_sum(claim)
    for kind in ("jpg", "progressive.jpg"):
        content = bytearray(good_files()[kind])
        frame = content.index(b"\xff\xc0" if kind == "jpg" else b"\xff\xc2")
        struct.pack_into(">HH", content, frame + 5, 65_500, 65_500)
        yield f"bomb.{kind}", bytes(content)


def _one_strip(side: int, compression: int, coded: bytes) -> bytes:
    """Return a TIFF of one strip that holds less than it claims."""
    fields = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, side),
        (279, 4, 1, len(coded)),
    ]
    directory = struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", *field) for field in fields)
    return struct.pack("<2sHI", b"II", 42, 8 + len(coded)) + coded + directory + bytes(4)
