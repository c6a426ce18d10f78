"""Readers: from an image file to its pixels, block by block.

The file's content, never its extension, chooses the reader; each imports its decoder only when needed. Only
of a slide in a folder the file itself says nothing: its name does.
"""

import os

from quadrat.errors import ImageError, MissingReaderError
from quadrat.files.sources import MRXS_ENDING
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.selection import refuse_planes

__all__ = ["ImageInfo", "Reader", "open_image"]

# Byte order mark, then 42 (TIFF) or 43 (BigTIFF) in that order.
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A slide whose file holds a preview or no pixels at all: they lie in folders that are not watched.
UNWATCHED_SLIDE = ".vsi"
STREAMED_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def open_image(
    path: str | os.PathLike,
    channels: tuple[int, ...] | None = None,
    level: int = 0,
    plane: dict[str, int] | None = None,
    memory_mb: float | None = None,
) -> Reader:
    """Open an image with the reader that fits its content; only metadata are read.

    Parameters
    ----------
    path : str or os.PathLike
        The image file.
    channels : tuple of int, optional
        Channels to read, counted from 1, in the order of the result; all by default.
    level : int, optional
        Pyramid level, 0 is full resolution.
    plane : dict of str to int, optional
        Which plane of a stack to read: its 'z', 't' and 'series', each counted from 1; the first of what
        is left out.
    memory_mb : float, optional
        Memory in megabytes that the reader may take for buffers and decoding; no limit by default.

    Returns
    -------
    reader : Reader
        A context manager.

    Raises
    ------
    ImageError
        If the file is not an image, is broken, lacks a wanted channel, level or plane, or stores
        its pixels in a way that cannot be decoded. The message does not name the file.
    MemoryBudgetError
        If the image cannot be read within `memory_mb`.
    MissingReaderError
        If the library that reads it is not installed.
    OSError
        If the disk fails.
    """
    path = os.fspath(path)
    magic = _magic(path)
    if path.lower().endswith(UNWATCHED_SLIDE):
        raise ImageError(
            "a slide whose pixels lie in a folder beside it: not read",
            "convert it to OME-TIFF, such as with QuPath",
        )
    vendor = "mirax" if path.lower().endswith(MRXS_ENDING) else None
    if magic.startswith(TIFF_MAGICS):
        from quadrat.images.tiff.pages import stitched_vendor
        from quadrat.images.tiff.reader import TiffReader

        vendor = stitched_vendor(path)
        # A series that is asked for is one image of the slide, alone.
        if vendor is None or (vendor == "leica" and "series" in (plane or {})):
            return TiffReader(path, channels, level, plane, memory_mb)
    refuse_planes(plane)
    if vendor:
        return _open_slide(path, vendor, channels, level, memory_mb)
    if magic.startswith(STREAMED_MAGICS):
        from quadrat.images.vips import VipsReader

        return VipsReader(path, channels, level, memory_mb)
    from quadrat.images.gdal import GdalReader

    return GdalReader(path, channels, level, memory_mb)


def _open_slide(
    path: str, vendor: str, channels: tuple[int, ...] | None, level: int, memory_mb: float | None
) -> Reader:
    try:
        from quadrat.images.openslide import OpenSlideReader
    except ImportError as error:
        reason = "a slide that OpenSlide reads, which is not installed"
        raise MissingReaderError(reason, "pip install openslide-python openslide-bin") from error
    return OpenSlideReader(path, vendor, channels, level, memory_mb)


def _magic(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            magic = file.read(16)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise ImageError(f"cannot be opened: {error.strerror}") from error
    if not magic:
        raise ImageError("empty file")
    return magic
