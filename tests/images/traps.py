"""Trap images: small files of every layout and codec; where lossless, each pixel carries its own y and x."""

import struct
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyvips
import rasterio
import tifffile
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

HEIGHT, WIDTH = 1061, 619
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RGB = np.stack([Y % 251, X % 241, (Y * 7 + X * 3) % 239], -1).astype(np.uint8)
GRAY = RGB[..., 2]
U16 = (Y * 61 + X).astype(np.uint16)
F32 = (Y + X / 1000).astype(np.float32)
SMOOTH = ((np.sin(Y / 90) + np.cos(X / 70)) * 60 + 125).astype(np.uint8)
MASK = (Y // 3 + X // 5) % 2 == 0
DELTAS = np.diff(RGB, axis=1, prepend=np.zeros_like(RGB[:, :1]))
TILE = {"tile": (128, 112)}


def _planes(array):
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def _palette(rng, step=257):
    return (rng.integers(0, 256, (3, 256)) * step).astype(np.uint16)


def _written(array, photometric, **options):
    """Return a function that writes the array to a TIFF in a folder."""

    def write(path: Path) -> None:
        tifffile.imwrite(path, array, **{"photometric": photometric, "metadata": None} | options)

    return write


def _rgb(**options):
    return _written(RGB, "rgb", **options)


def _gray(array=GRAY, **options):
    return _written(array, "minisblack", **options)


RNG = np.random.default_rng(5)
# name: function that writes the file
TIFF_TRAPS = {
    # uncompressed
    "raw_one_strip": _rgb(rowsperstrip=HEIGHT),
    "raw_strips_of_1": _rgb(rowsperstrip=1),
    "raw_strips_of_37": _rgb(rowsperstrip=37),
    "raw_tiles": _rgb(**TILE),
    "raw_tile_larger_than_image": _rgb(tile=(1072, 640)),
    "raw_planar_strips": _written(_planes(RGB), "rgb", planarconfig="separate", rowsperstrip=100),
    "raw_planar_one_run": _written(_planes(RGB), "rgb", planarconfig="separate"),
    "raw_big_endian_u16": _gray(U16, byteorder=">"),
    "raw_big_endian_f32_tiles": _gray(F32, byteorder=">", **TILE),
    "raw_predictor": _written(DELTAS, "rgb", rowsperstrip=40, extratags=[(317, "H", 1, 2, True)]),
    "bigtiff_big_endian": _rgb(bigtiff=True, byteorder=">", **TILE),
    # deflate
    "deflate_tiles": _rgb(compression="zlib", **TILE),
    "deflate_tiles_predictor": _rgb(compression="zlib", predictor=True, **TILE),
    "deflate_strips_of_1": _rgb(compression="zlib", rowsperstrip=1),
    "deflate_strips_of_16": _rgb(compression="zlib", predictor=True, rowsperstrip=16),
    "deflate_strips_of_37": _rgb(compression="zlib", predictor=True, rowsperstrip=37),
    "deflate_tall_strips": _rgb(compression="zlib", rowsperstrip=700),
    "deflate_one_strip": _rgb(compression="zlib", predictor=True, rowsperstrip=HEIGHT),
    "deflate_one_tile": _rgb(compression="zlib", predictor=True, tile=(1072, 624)),
    "deflate_planar_tiles": _written(
        _planes(RGB), "rgb", planarconfig="separate", compression="zlib", predictor=True, **TILE
    ),
    "deflate_planar_strips": _written(
        _planes(RGB), "rgb", planarconfig="separate", compression="zlib", rowsperstrip=41
    ),
    "deflate_f32_predictor": _gray(F32, compression="zlib", predictor=True, **TILE),
    "deflate_f32_predictor_strips": _gray(F32, compression="zlib", predictor=True, rowsperstrip=50),
    "deflate_f16": _gray(F32.astype(np.float16), compression="zlib", **TILE),
    "deflate_f64": _gray(F32.astype(np.float64), compression="zlib", **TILE),
    "deflate_i8": _gray(GRAY.view(np.int8), compression="zlib", **TILE),
    "deflate_i16_predictor": _gray(U16.view(np.int16), compression="zlib", predictor=True, **TILE),
    "deflate_u32_big_endian": _gray(
        (Y * 65536 + X).astype(np.uint32), byteorder=">", compression="zlib", predictor=True, **TILE
    ),
    "deflate_12_channels": _gray(
        (Y[..., None] * 31 + X[..., None] + np.arange(12)).astype(np.uint16),
        planarconfig="contig",
        compression="zlib",
        **TILE,
    ),
    "rgba": _written(
        np.dstack([RGB, GRAY]), "rgb", extrasamples=["unassalpha"], compression="zlib", predictor=True, **TILE
    ),
    "smaller_than_a_patch": _written(RGB[:120, :90], "rgb", compression="zlib", **TILE),
    "one_pixel": _written(RGB[:1, :1], "rgb"),
    # other lossless codecs
    "lzw_tiles_predictor_big_endian": _gray(U16, byteorder=">", compression="lzw", predictor=True, **TILE),
    "lzw_strips": _rgb(compression="lzw", rowsperstrip=19),
    "zstd_tiles": _rgb(compression="zstd", predictor=True, **TILE),
    "zstd_u16x4": _written(
        np.dstack([U16, U16 + 1, U16 + 2, U16 + 3]),
        "minisblack",
        planarconfig="contig",
        compression="zstd",
        **TILE,
    ),
    "lzma_tiles": _rgb(compression="lzma", **TILE),
    "packbits_strips": _rgb(compression="packbits", rowsperstrip=16),
    "lerc_tiles": _rgb(compression="lerc", **TILE),
    "lerc_f32": _gray(F32, compression="lerc", **TILE),
    "png_tiles": _rgb(compression="png", **TILE),
    "webp_tiles": _rgb(compression="webp", compressionargs={"lossless": True}, **TILE),
    "webp_rgba": _written(
        np.dstack([RGB, np.full_like(GRAY, 255)]),
        "rgb",
        extrasamples=["unassalpha"],
        compression="webp",
        compressionargs={"lossless": True},
        **TILE,
    ),
    "jpeg2000_tiles": _rgb(compression="jpeg2000", **TILE),
    "jpeg2000_u16": _gray(U16, compression="jpeg2000", **TILE),
    "jpegxl_tiles": _rgb(compression="jpegxl", **TILE),
    # lossy codecs
    "jpeg_420_tiles": _rgb(compression="jpeg", subsampling=(2, 2), **TILE),
    "jpeg_422_strips": _rgb(compression="jpeg", subsampling=(2, 1), rowsperstrip=64),
    "jpeg_stored_as_rgb": _rgb(compression="jpeg", compressionargs={"outcolorspace": "rgb"}, **TILE),
    "jpeg_gray": _gray(SMOOTH, compression="jpeg", **TILE),
    "jpeg_planar": _written(_planes(RGB), "rgb", planarconfig="separate", compression="jpeg", **TILE),
    # samples that are no whole bytes, and photometric interpretations
    "bilevel_raw": _gray(MASK),
    "bilevel_deflate": _gray(MASK, compression="zlib", rowsperstrip=64),
    "bilevel_miniswhite": _written(MASK, "miniswhite", rowsperstrip=64),
    "u8_miniswhite": _written(GRAY, "miniswhite", rowsperstrip=64),
    "4_bit": _gray(GRAY >> 4, bitspersample=4, rowsperstrip=64),
    "12_bit": _gray(U16 >> 4, bitspersample=12, rowsperstrip=64),
    "12_bit_rgb_tiles": _written(np.dstack([U16 >> 4] * 3), "rgb", bitspersample=12, **TILE),
    "palette": _written(GRAY, "palette", colormap=_palette(RNG), compression="zlib", tile=(128, 112)),
    "palette_raw": _written(GRAY, "palette", colormap=_palette(RNG, 256)),
    "palette_16_bit": _written(GRAY, "palette", colormap=RNG.integers(0, 65536, (3, 256)).astype(np.uint16)),
    # several planes and levels
    "stack_of_pages": _gray(np.stack([GRAY, GRAY // 2, GRAY // 3]), compression="zlib", **TILE),
    "volume": _gray(np.stack([GRAY, GRAY // 2]), volumetric=True, tile=(1, 128, 112), compression="zlib"),
}


def _trap(function):
    TIFF_TRAPS[function.__name__.strip("_")] = function
    return function


@_trap
def _ccitt_group4(path: Path) -> None:
    Image.fromarray(MASK).save(path, compression="group4")


@_trap
def _ccitt_group3(path: Path) -> None:
    Image.fromarray(MASK).save(path, compression="group3")


@_trap
def _ccitt_tiles_of_libvips(path: Path) -> None:
    image = pyvips.Image.new_from_memory((MASK * np.uint8(255)).tobytes(), WIDTH, HEIGHT, 1, "uchar")
    image.tiffsave(str(path), compression="ccittfax4", bitdepth=1, tile=True)


@contextmanager
def written_by_gdal(path, channels, dtype, size=(HEIGHT, WIDTH), driver="GTiff", **options):
    """Open a new image for writing by GDAL."""
    shape = {"height": size[0], "width": size[1], "count": channels, "dtype": dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver=driver, **shape, **options) as image:
            yield image


GDAL_TILES = {"tiled": True, "blockxsize": 128, "blockysize": 128}


@_trap
def _sparse_with_nodata(path: Path) -> None:
    storage = {"compress": "deflate", "nodata": -9999, "SPARSE_OK": "TRUE", **GDAL_TILES}
    with written_by_gdal(path, 1, "int16", **storage) as image:
        image.write(U16[256:512, 128:384].view(np.int16), 1, window=Window(128, 256, 256, 256))


@_trap
def _raw_sparse_planar(path: Path) -> None:
    storage = {"interleave": "band", "blockysize": 64, "nodata": float("nan"), "SPARSE_OK": "TRUE"}
    with written_by_gdal(path, 2, "float32", **storage) as image:
        image.write(F32[320:448], 2, window=Window(0, 320, WIDTH, 128))


@_trap
def _gdal_jpeg_with_overviews_and_mask(path: Path) -> None:
    storage = {"compress": "jpeg", "photometric": "ycbcr", **GDAL_TILES}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), written_by_gdal(path, 3, "uint8", **storage) as image:
        image.write(_planes(RGB))
        image.write_mask(MASK)
        image.build_overviews([2, 4])


@_trap
def _pyramid_in_subifds(path: Path) -> None:
    storage = {"photometric": "rgb", "compression": "zlib", **TILE}
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(RGB, subifds=2, metadata={"axes": "YXS"}, **storage)
        for step in (2, 4):
            tif.write(np.ascontiguousarray(RGB[::step, ::step]), subfiletype=1, metadata=None, **storage)


@_trap
def _ome_z_stack(path: Path) -> None:
    stack = np.stack([GRAY, GRAY // 2, GRAY // 3])
    tifffile.imwrite(
        path, stack, ome=True, photometric="minisblack", metadata={"axes": "ZYX"}, compression="zlib"
    )


@_trap
def _ndpi_of_restart_intervals(path: Path) -> None:
    """Write what NDPI is: a JPEG of restart intervals in one strip, and 64-bit offsets in a classic TIFF."""
    jpeg = path.with_suffix(".jpg")
    width, height = 608, 1040
    Image.fromarray(RGB[:height, :width]).save(jpeg, subsampling=0, restart_marker_blocks=width // 8 // 4)
    data = jpeg.read_bytes()
    jpeg.unlink()
    scan = data.index(b"\xff\xda")
    first = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    restarts = [i + 2 for i in range(first, len(data) - 1) if data[i] == 0xFF and 0xD0 <= data[i + 1] <= 0xD7]
    starts = np.array([first, *restarts], "<u4")
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 7), (262, 3, 1, 6),
        (271, 2, 4, int.from_bytes(b"Ham\0", "little")), (273, 4, 1, 16), (277, 3, 1, 3), (278, 4, 1, height),
        (279, 4, 1, len(data)), (65420, 4, 1, 1), (65426, 4, len(starts), 16 + len(data)),
    ]  # fmt: skip
    with open(path, "wb") as file:
        position = 16 + len(data) + starts.nbytes
        file.write(struct.pack("<4sQ4x", b"II*\0", position) + data + starts.tobytes())
        file.write(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags))
        file.write(struct.pack("<Q", 0) + bytes(4 * len(tags)))
