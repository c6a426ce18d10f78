"""TIFF segments: the places of a level's strips or tiles in the file, and the conversion of their samples."""

import os
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import tifffile

from quadrat.errors import ImageError
from quadrat.images.blocks import Spans
from quadrat.images.image import CONVERT
from quadrat.images.selection import as_slice
from quadrat.images.tiff.metadata import nodata_of
from quadrat.images.tiff.pages import PALETTE, TiffLevel
from quadrat.images.tiff.tags import GDAL_NODATA, dtype_of

# Missing segments of a slide were not scanned.
GLASS = 255


class Place(NamedTuple):
    """The place of a segment in the file.

    Attributes
    ----------
    offset, length : int
        In bytes; a length of 0 is a segment that the file leaves out.
    name : str
        For messages.
    """

    offset: int
    length: int
    name: str


class OpenLevel(NamedTuple):
    """A level of an open file, and the channels of it that are wanted.

    Attributes
    ----------
    fd : int
        Descriptor of the file.
    level : TiffLevel
    channels : tuple of int
        Wanted channels, counted from 0.
    memory_mb : float or None
        Memory in megabytes that the reader may take; None for no limit.
    """

    fd: int
    level: TiffLevel
    channels: tuple[int, ...]
    memory_mb: float | None


def available_channels(level: TiffLevel) -> int:
    """Return the number of channels of a level, palettes expanded."""
    if level.page.photometric != PALETTE:
        return len(level.planes) * level.samples
    if len(level.planes) > 1:  # PlanarConfiguration 2
        raise ImageError("a palette and other samples in separate planes cannot be decoded", CONVERT)
    return 3 + level.samples - 1


class TiffSegments:
    """The base of coded and raw segments: geometry, planes, palette and channels.

    Parameters
    ----------
    opened : OpenLevel

    Attributes
    ----------
    rows, cols : Spans
    planes : tuple of tuple of int
    planar : bool
    segment_bytes, decode_bytes, held_bytes : int
    fill : int or float
        As in `quadrat.images.segment_pipeline.SegmentTable`.
    fd : int
        Descriptor of the open file.
    page : tifffile.TiffPage
        Layout of all planes.
    stored_height, stored_width : int
        Of a strip or tile in the file, in pixels.
    dtype : numpy.dtype
        Of the samples that `read` returns.
    notes : tuple of str
        Notes on the segments for a reader of the results.

    Raises
    ------
    ImageError
        If a segment lies beyond the end of the file.
    """

    rows: Spans
    segment_bytes: int
    decode_bytes: int
    held_bytes = 0

    def __init__(self, opened: OpenLevel):
        level, channels, page = opened.level, opened.channels, opened.level.page
        self.fd, self.page = opened.fd, page
        self._palette = _palette(page)
        self.dtype = page.dtype if self._palette is None else self._palette.dtype
        self.fill = nodata_of(level.base, dtype_of(page)) or 0
        is_slide = level.base.is_svs or level.base.is_philips
        if is_slide and page.dtype == np.uint8 and page.samplesperpixel == 3:
            self.fill = GLASS
        self.planar = len(level.planes) > 1
        if self.planar:
            wanted = tuple(dict.fromkeys(channels))
            self.planes = tuple(tuple(np.flatnonzero(np.equal(channels, one)).tolist()) for one in wanted)
            self._stored = [level.planes[one] for one in wanted]
            self._pick: slice | list[int] = slice(None)
        else:
            self.planes, self._stored = (tuple(range(len(channels))),), [level.planes[0]]
            self._pick = as_slice(channels)
        _, _, self.height, self.width, self.samples = page.shaped
        self.stored_height = page.tilelength if page.is_tiled else page.rowsperstrip
        self.stored_width = page.tilewidth if page.is_tiled else self.width
        self.cols = spans(range(0, self.width, self.stored_width), self.width)
        self._check_places(os.fstat(self.fd).st_size)
        self.notes = self._sparse_notes()

    @overload
    def finished(self, pixels: np.ndarray) -> np.ndarray: ...

    @overload
    def finished(self, pixels: np.ndarray | None) -> np.ndarray | None: ...

    def finished(self, pixels):
        """Return stored pixels with their palette applied and their channels selected."""
        if self._palette is not None:
            pixels = self._expanded(pixels, self._palette)
        return pixels if pixels is None else pixels[..., self._pick]

    def _expanded(self, pixels: np.ndarray | None, palette: np.ndarray) -> np.ndarray:
        """Return the colours of stored pixels, and the samples beside their indices in the same range."""
        if pixels is None:
            pixels = np.full(
                (self.stored_height, self.stored_width, self.samples), self.fill, self.page.dtype
            )
        colors = palette[pixels[..., 0].astype(np.intp)]
        if self.samples == 1:
            return colors
        gain = np.iinfo(colors.dtype).max // ((1 << self.page.bitspersample) - 1)
        return np.concatenate([colors, pixels[..., 1:].astype(colors.dtype) * gain], axis=2)

    def place(self, plane: int, row: int, col: int) -> Place:
        """Return where a stored segment lies; `row` counts stored segments."""
        stored, number = self._stored[plane], row * len(self.cols) + col
        return Place(int(stored.offsets[number]), int(stored.counts[number]), self.name(plane, number))

    def name(self, plane: int, number: int) -> str:
        """Return the name of a stored segment of a plane for messages."""
        per_plane = len(self._stored[plane].counts)
        return f"segment {plane * per_plane + number + 1:,} of {len(self._stored) * per_plane:,}"

    def stored_rows(self) -> np.ndarray:
        """Return the height in pixels of each stored segment of a plane, as float64 array."""
        tops = np.repeat(np.arange(0, self.height, self.stored_height, dtype=float), len(self.cols))
        heights = np.full(len(tops), float(self.stored_height))
        return heights if self.page.is_tiled else np.minimum(heights, self.height - tops)

    def _check_places(self, file_bytes: int) -> None:
        for plane, stored in enumerate(self._stored):
            offsets, counts = stored.offsets, stored.counts
            is_nowhere = (counts < 0) | ((counts > 0) & (offsets <= 0))
            wrong = np.flatnonzero(is_nowhere | ((counts > 0) & (counts > file_bytes - offsets)))
            if not len(wrong):
                continue
            name = self.name(plane, wrong[0])
            if is_nowhere[wrong[0]]:
                raise ImageError(f"broken: {name} has no valid offset and size")
            beyond = int(offsets[wrong[0]]) + int(counts[wrong[0]]) - file_bytes
            raise ImageError(f"truncated: {name} ends {beyond:,} bytes past the end of the file")

    def _sparse_notes(self) -> tuple[str, ...]:
        total = sum(len(stored.counts) for stored in self._stored)
        missing = total - sum(np.count_nonzero(stored.counts) for stored in self._stored)
        # An interrupted writer, not an empty scene.
        if missing == total and GDAL_NODATA not in self.page.tags:
            raise ImageError(f"broken: none of its {total:,} segments contains data")
        if not missing:
            return ()
        return (f"{missing:,} of {total:,} segments are not in the file: they are {self.fill}",)


def read_exactly(fd: int, count: int, offset: int) -> bytes:
    """Return `count` bytes of a file.

    Raises
    ------
    ImageError
        If the file ends too early, since it was cut after it was opened.
    OSError
        If the disk fails.
    """
    data = os.pread(fd, count, offset)
    while len(data) < count:  # a single call reads at most 2 GiB on Linux
        more = os.pread(fd, count - len(data), offset + len(data))
        if not more:
            missing = count - len(data)
            raise ImageError(f"truncated while it was read: {missing:,} bytes at {offset:,} are missing")
        data += more
    return data


def spans(starts: Sequence[int], length: int) -> Spans:
    """Return spans that follow each other up to `length`."""
    return Spans(tuple(starts), (*starts[1:], length))


def _palette(page: tifffile.TiffPage) -> np.ndarray | None:
    """Return the colours of a palette image as (index, 3) uint8 or uint16 array, None for others.

    Colour maps are 16-bit by the standard. They become 8-bit if nothing is lost: if all values are
    below 256 (old writers), or low bytes are 0 or equal to the high ones.
    """
    if page.photometric != PALETTE:
        return None
    colors = page.tags.valueof(320)
    bits = page.bitspersample
    if colors is None or not isinstance(bits, int) or bits > 16 or np.size(colors) < 3 << bits:
        raise ImageError("its palette is missing or too short")
    colors = np.array(colors, np.uint16).reshape(3, -1).T[: 1 << bits]
    if bits > 8 and page.shaped[-1] > 1:  # other samples have as many bits
        return np.ascontiguousarray(colors)
    if colors.max() < 256:
        return colors.astype(np.uint8)
    low, high = colors & 255, colors >> 8
    if (low == 0).all() or (low == high).all():
        return high.astype(np.uint8)
    return np.ascontiguousarray(colors)
