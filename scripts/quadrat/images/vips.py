"""PNG and JPEG reader: libvips decodes them from top to bottom, once."""

import os
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from dataclasses import replace
from threading import Lock

import numpy as np
import pyvips

from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.budget import MB, require_memory
from quadrat.images.file_headers import FileHeader, read_header
from quadrat.images.image import ImageFile, ImageInfo, Level, Reader
from quadrat.images.rows import StripePipeline
from quadrat.images.selection import channel_indices, check_level

DTYPES = {"uchar": np.uint8, "ushort": np.uint16}
# Measured: besides the two stripes of the pipeline, libvips and pyvips keep the newest rows three times.
VIPS_STRIPES, VIPS_BYTES = 3, 10 * MB
# libvips decodes strips of 16 rows and forgets a strip that was read in part.
STRIP_ROWS = 16

_FORGETTING = Lock()


class VipsImage(ImageFile):
    """An open PNG or JPEG file: each read decodes it from the top, from a descriptor of its own.

    Parameters
    ----------
    path : str

    Raises
    ------
    ImageError
        If the file is broken.
    """

    def __init__(self, path: str):
        self._path, self._header = path, read_header(path)
        self._info = _info(_open(path), self._header)
        self._held = ExitStack()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The only level of such a file."""
        return (Level(0, self._info.full_size, self._info.downsample),)

    def reader(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None) -> Reader:
        """Return a reader; see `ImageFile.reader`. A progressive or interlaced file is decoded whole."""
        check_level(level, 1)
        require_memory(self._header.whole_bytes, memory_mb, self._header.layout)
        picked = channel_indices(channels, self._info.channels)
        info = replace(self._info, channels=len(picked))
        return VipsReader(self._path, picked, info, self._header.whole_bytes, memory_mb)


class VipsReader:
    """Reads a PNG or JPEG file.

    Parameters
    ----------
    path : str
    channels : tuple of int
        Counted from 0.
    info : ImageInfo
    whole_bytes : int
        Memory in bytes that decoding takes because the file is not stored from top to bottom; 0 if it is.
    memory_mb : float or None
        Memory that buffers and decoding may take, in megabytes; None for no limit.
    """

    def __init__(
        self,
        path: str,
        channels: tuple[int, ...],
        info: ImageInfo,
        whole_bytes: int,
        memory_mb: float | None,
    ):
        self._path, self._channels, self.info = path, channels, info
        self._whole_bytes, self._memory_mb = whole_bytes, memory_mb

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are decoded; see `Reader.read_blocks`."""
        pyvips.concurrency_set(threads)
        source = _Rows(_open(self._path), self._channels)
        grid = BlockGrid.from_windows(blocks)
        pipeline = StripePipeline(source, grid, self.info)
        stripe_bytes = grid.rows.largest * self.info.width * source.bands * self.info.dtype.itemsize
        needed = pipeline.memory_bytes() + self._whole_bytes + VIPS_BYTES + VIPS_STRIPES * stripe_bytes
        require_memory(needed, self._memory_mb, "decoding the image block by block")
        return pipeline.blocks()


class _Rows:
    """Rows of a libvips image that is decoded sequentially."""

    def __init__(self, image: pyvips.Image, channels: tuple[int, ...]):
        self._image, self._channels = image, channels
        self._rest, self._rest_top = np.empty((0, 0, 0), np.uint8), 0
        self.bands = image.bands

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`; left and right must always be the same."""
        done = max(0, min(bottom, self._rest_top + len(self._rest)) - top)
        if done:
            out[:done] = self._picked(self._rest[top - self._rest_top :][:done])
        if top + done == bottom:
            return
        start = (top + done) // STRIP_ROWS * STRIP_ROWS
        stop = min(-(-bottom // STRIP_ROWS) * STRIP_ROWS, self._image.height)
        pixels = self._decoded(start, stop, left, right)
        out[done:] = self._picked(pixels[top + done - start : bottom - start])
        self._rest, self._rest_top = pixels[bottom - start :].copy(), bottom

    def _decoded(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        try:
            pixels = self._image.crop(left, top, right - left, bottom - top).numpy()
        except pyvips.Error as error:
            raise _broken(error, f"rows {top:,} to {bottom:,}") from error
        finally:
            _forget()
        return pixels.reshape(bottom - top, right - left, self.bands)

    def _picked(self, pixels: np.ndarray) -> np.ndarray:
        whole = self._channels == tuple(range(self.bands))
        return pixels if whole else pixels[..., list(self._channels)]


def _open(path: str) -> pyvips.Image:
    # By descriptor: libvips would parse "[...]" at the end of a file name as options. It keeps a copy.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        source = pyvips.Source.new_from_descriptor(fd)
        return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")
    except pyvips.Error as error:
        raise _broken(error, "the header") from error
    finally:
        os.close(fd)


def _forget() -> None:
    """Let libvips drop the operations that it caches, with their files and memory."""
    with _FORGETTING:
        most = pyvips.cache_get_max()
        pyvips.cache_set_max(0)
        # A notebook may use libvips for other images.
        pyvips.cache_set_max(most)


def _broken(error: pyvips.Error, where: str) -> ImageError:
    lines = [line.strip() for line in str(error.detail).splitlines() if line.strip()]
    return ImageError(f"{where} cannot be decoded: {lines[0] if lines else error.message}")


def _info(image: pyvips.Image, header: FileHeader) -> ImageInfo:
    if (image.width, image.height) != (header.width, header.height) or image.format not in DTYPES:
        raise ImageError(
            f"libvips reads it as {image.width:,} x {image.height:,} px of {image.format}, unlike its header"
        )
    version = ".".join(str(pyvips.version(part)) for part in range(3))
    return ImageInfo(
        format=header.format,
        height=image.height,
        width=image.width,
        channels=image.bands,
        dtype=np.dtype(DTYPES[image.format]),
        segment_height=1,
        segment_width=image.width,
        seek_height=image.height,
        alpha=image.bands if image.hasalpha() else None,
        decoders={"libvips": version, "pyvips": pyvips.__version__},
        notes=header.notes,
    )
