"""Layouts: the ways to store an image that are measured. Costs nothing to import."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATCH = 512


@dataclass(frozen=True)
class Layout:
    """A way to store an image.

    Attributes
    ----------
    description : str
        What a reader of the table sees.
    suffix : str
        File name extension.
    options : dict
        Of ``tifffile.imwrite``, or of ``PIL.Image.Image.save`` where the file is no TIFF.
    bits : int
        Of a sample: 8 for three channels, 16 for four.
    planar : bool
        Whether channels are stored one after the other.
    """

    description: str
    suffix: str = ".tif"
    options: dict[str, Any] = field(default_factory=dict)
    bits: int = 8
    planar: bool = False

    @property
    def is_lossy(self) -> bool:
        """Whether decoders may differ in the pixels that they give."""
        return self.suffix == ".jpg" or self.options.get("compression") == "jpeg"

    @property
    def is_one_stream(self) -> bool:
        """Whether the file can only be decoded from its start to its end, on one thread."""
        return self.suffix != ".tif"

    @property
    def pixel_bytes(self) -> int:
        """Size of a decoded pixel."""
        return 3 if self.bits == 8 else 8


DEFLATE = {"compression": "zlib", "compressionargs": {"level": 6}, "predictor": True}
ZSTD = {"compression": "zstd", "compressionargs": {"level": 9}, "predictor": True}
LZW = {"compression": "lzw", "predictor": True}
JPEG = {"compression": "jpeg", "compressionargs": {"level": 85}}
TILES_256, TILES_512 = {"tile": (256, 256)}, {"tile": (512, 512)}

LAYOUTS = {
    "deflate_tiles": Layout("deflate, tiles of 256", options=DEFLATE | TILES_256),
    "lzw_tiles": Layout("LZW, tiles of 512", options=LZW | TILES_512),
    "zstd_tiles": Layout("ZSTD, tiles of 512", options=ZSTD | TILES_512),
    "jpeg_tiles": Layout("JPEG, tiles of 512", options=JPEG | TILES_512),
    "deflate_strips_1": Layout("deflate, strips of 1", options=DEFLATE | {"rowsperstrip": 1}),
    "deflate_strips_16": Layout("deflate, strips of 16", options=DEFLATE | {"rowsperstrip": 16}),
    "deflate_strips_1024": Layout("deflate, strips of 1024", options=DEFLATE | {"rowsperstrip": 1024}),
    "raw_strip": Layout("uncompressed, one strip"),
    "planar_tiles": Layout("planar deflate, tiles of 256", options=DEFLATE | TILES_256, planar=True),
    "u16x4_deflate_tiles": Layout("u16x4 deflate, tiles of 256", options=DEFLATE | TILES_256, bits=16),
    "u16x4_zstd_tiles": Layout("u16x4 ZSTD, tiles of 512", options=ZSTD | TILES_512, bits=16),
    "jpeg_file": Layout("JPEG file", ".jpg", {"quality": 90}),
    "png_file": Layout("PNG file", ".png"),
}
# Layouts whose segments end where patches do: memory must not grow with the width of the image.
ALIGNED = ("deflate_tiles", "jpeg_tiles")


def image_path(folder: Path, layout: str, height: int, width: int) -> Path:
    """Return the path of an image; its name tells all that it is made from."""
    return folder / f"{layout}_{height}x{width}{LAYOUTS[layout].suffix}"
