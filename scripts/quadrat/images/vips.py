"""PNG and JPEG reader: libvips decodes them from top to bottom, once."""

import logging
import os
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Lock

import numpy as np
import pyvips

from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.budget import MB, require_memory
from quadrat.images.file_headers import FileHeader, read_header
from quadrat.images.image import COPY, ImageFile, ImageInfo, Level, Reader
from quadrat.images.rows import StripePipeline
from quadrat.images.selection import channel_indices, check_level

DTYPES = {"uchar": np.uint8, "ushort": np.uint16}
# Measured: besides the two stripes of the pipeline, libvips and pyvips keep the newest rows three times.
VIPS_STRIPES, VIPS_BYTES = 3, 10 * MB
# libvips decodes strips of 16 rows and forgets a strip that was read in part.
STRIP_ROWS = 16

# Lines of libvips that do not say what is broken.
SAYS_NOTHING = re.compile(r"error in tile|read gave \d+ warning|libpng read error|images do not match|^$")
CHUNK = re.compile(r"^(?=\w{4}: )")

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
        self._path, header = path, read_header(path)
        image = _open(path)
        self._info = _info(image, header)
        self._whole_bytes, self._layout = _whole_bytes(image, header, self._info)
        self._held = ExitStack()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The only level of such a file."""
        return (Level(0, self._info.full_size, self._info.downsample),)

    def reader(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None) -> Reader:
        """Return a reader; see `ImageFile.reader`. A progressive or interlaced file is decoded whole."""
        check_level(level, 1)
        require_memory(self._whole_bytes, memory_mb, self._layout)
        picked = channel_indices(channels, self._info.channels)
        info = replace(self._info, channels=len(picked))
        return VipsReader(self._path, picked, info, self._whole_bytes, memory_mb)


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
            with _vips_errors(f"rows {top:,} to {bottom:,} cannot be decoded"):
                pixels = self._image.crop(left, top, right - left, bottom - top).numpy()
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
        with _vips_errors("broken: its header cannot be read"):
            source = pyvips.Source.new_from_descriptor(fd)
            return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")
    finally:
        os.close(fd)


def _forget() -> None:
    """Let libvips drop the operations that it caches, with their files and memory."""
    with _FORGETTING:
        most = pyvips.cache_get_max()
        pyvips.cache_set_max(0)
        # A notebook may use libvips for other images.
        pyvips.cache_set_max(most)


class _Logged(logging.Handler):
    """Collects what libvips logs: libpng's reasons are nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().removeprefix("VIPS: ").splitlines()


@contextmanager
def _vips_errors(doing: str) -> Iterator[None]:
    """Turn errors of libvips into an ImageError."""
    logged, logger = _Logged(), logging.getLogger("pyvips")
    logger.addHandler(logged)
    try:
        yield
    except pyvips.Error as error:
        # The last line is the reason; the lines before it may be warnings.
        lines = [line.strip() for line in (*logged.lines, *str(error.detail).splitlines())]
        reasons = [line.rpartition("VipsJpeg: ")[2] for line in lines if not SAYS_NOTHING.search(line)]
        reason = CHUNK.sub("chunk ", reasons[-1]) if reasons else "its data are damaged"
        raise ImageError(f"{doing}; libvips reports: {reason}", COPY) from error
    finally:
        logger.removeHandler(logged)


def _whole_bytes(image: pyvips.Image, header: FileHeader, info: ImageInfo) -> tuple[int, str]:
    """Return the memory that decoding takes if rows are not stored from top to bottom, and the layout."""
    pixels = header.height * header.width
    if header.format == "PNG" and _field(image, "interlaced"):
        return pixels * info.channels * info.dtype.itemsize, "an interlaced PNG"
    if header.format == "JPEG" and _field(image, "jpeg-multiscan"):
        # libjpeg holds all coefficients as 16-bit integers until the last scan has come.
        is_progressive = _field(image, "interlaced")
        layout = "a progressive JPEG" if is_progressive else "a JPEG of several scans"
        return 2 * int(pixels * header.samples), layout
    return 0, ""


def _field(image: pyvips.Image, name: str) -> int:
    return image.get(name) if image.get_typeof(name) else 0


def _notes(image: pyvips.Image, header: FileHeader) -> tuple[str, ...]:
    notes = []
    if header.has_palette:
        notes.append("palette expanded to RGBA" if image.hasalpha() else "palette expanded to RGB")
    elif header.format == "PNG":
        if image.bands > header.samples:
            notes.append("the transparent colour is given as an alpha channel")
        if header.bits < 8:
            notes.append(f"{header.bits}-bit samples scaled to 0-255")
    if image.interpretation == "cmyk":
        notes.append("CMYK inverted, not RGB: 0 is no ink")
    if _field(image, "orientation") > 1:
        notes.append("EXIF orientation is not applied")
    if not header.has_end:
        notes.append("its last chunk, IEND, is missing")
    return tuple(notes)


def _info(image: pyvips.Image, header: FileHeader) -> ImageInfo:
    if (image.width, image.height) != (header.width, header.height) or image.format not in DTYPES:
        raise ImageError(
            f"its header describes {header.width:,} x {header.height:,} px, but libvips finds "
            f"{image.width:,} x {image.height:,} px of {image.format}; was it replaced meanwhile?"
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
        notes=_notes(image, header),
    )
