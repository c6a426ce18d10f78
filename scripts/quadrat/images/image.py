"""An open image file, the readers of its levels, and the metadata of the image."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol, Self

import numpy as np

from quadrat.grid import Window

# The hint for pixels that GDAL reads, but not quadrat; and for files that are damaged.
CONVERT = "convert it: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE -co BIGTIFF=IF_SAFER IN OUT.tif"
COPY = "copy the file again"


@dataclass(frozen=True)
class ImageInfo:
    """The metadata of one image.

    Attributes
    ----------
    format : str
        The file's format: 'TIFF', 'PNG', 'JPEG', or a GDAL driver's name.
    height, width : int
        Size in pixels of the level that is read.
    channels : int
        Number of channels that are read.
    dtype : numpy.dtype
        Type of a sample, in native byte order.
    segment_height, segment_width : int
        Size in pixels of a stored segment (a strip or a tile) of that level.
    seek_height : int
        Height in pixels of the parts that can each be decoded without the parts above: the whole image if
        rows can only be read from the top.
    level, level_count : int
        Pyramid level that is read, 0 is full resolution, and how many the file has.
    downsample : tuple of 2 float
        Level-0 pixels per pixel of the level that is read, along y and x; 1.0 at level 0.
    full_size : tuple of 2 int
        Height and width in pixels of level 0. Default: the size that is read.
    is_first : bool
        Whether it is the first image and plane of its file; a mask that GDAL finds in the file belongs to it.
    compression : str
        How segments are compressed, in lower case; empty if the format implies it.
    nodata : tuple of (int, float or None), or None
        For each channel that is read, the value of samples that are no data, as the file declares or the
        configuration sets it; None if there is no value.
    names : tuple of str
        Of the channels that are read; empty if they have none.
    alpha : int or None
        The file's channel that is 0 where a pixel is transparent, counted from 1; it need not be read.
    crs : str or None
        Coordinate reference system of a georeferenced image ('EPSG:32612', or WKT).
    transform : tuple of 6 float or None
        Affine transform of level-0 pixel corners to the CRS, or to coordinates without one, as
        (a, b, c, d, e, f) with x = a * column + b * row + c and y = d * column + e * row + f.
    mpp : tuple of 2 float or None
        Micrometres per level-0 pixel along y and x.
    scales, offsets : tuple of float or None
        For each channel that is read, value = sample * scale + offset; None if the file has neither.
    decoders : dict of str to str
        Versions of the libraries that decode the pixels.
    bounds : Window or None
        The box around the scanned areas of level 0, if the slide has one. QuPath counts pixels from its
        corner.
    scanned : tuple of Window
        The scanned areas of level 0; empty if the file does not contain them.
    notes : tuple of str
        Conversions of the pixels, and choices among them, that a reader of the results should know.
    """

    format: str
    height: int
    width: int
    channels: int
    dtype: np.dtype
    segment_height: int
    segment_width: int
    seek_height: int = 1
    level: int = 0
    level_count: int = 1
    downsample: tuple[float, float] = (1.0, 1.0)
    full_size: tuple[int, int] = (0, 0)
    is_first: bool = True
    compression: str = ""
    nodata: tuple[int | float | None, ...] | None = None
    names: tuple[str, ...] = ()
    alpha: int | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    mpp: tuple[float, float] | None = None
    scales: tuple[float, ...] | None = None
    offsets: tuple[float, ...] | None = None
    decoders: dict[str, str] = field(default_factory=dict)
    bounds: Window | None = None
    scanned: tuple[Window, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.full_size == (0, 0):
            object.__setattr__(self, "full_size", (self.height, self.width))

    @property
    def fill(self) -> tuple[int | float, ...]:
        """Value of each channel in pixels that the file does not contain: its nodata value, or 0."""
        return tuple(value or 0 for value in self.nodata or (0,) * self.channels)

    def without_last(self) -> Self:
        """Return the metadata without the last channel that is read."""
        return replace(
            self,
            channels=self.channels - 1,
            nodata=self.nodata and self.nodata[:-1],
            scales=self.scales and self.scales[:-1],
            offsets=self.offsets and self.offsets[:-1],
        )


@dataclass(frozen=True)
class Level:
    """A level of an image: one that the file stores, or one that is averaged from it.

    Attributes
    ----------
    index : int
        Pyramid level that is decoded, 0 is full resolution.
    shape : tuple of 2 int
        Height and width in pixels.
    downsample : tuple of 2 float
        Level-0 pixels per pixel along y and x.
    ratio : Fraction
        Size of a pixel in pixels of the level that is decoded; 1 if no pixels are averaged.
    """

    index: int
    shape: tuple[int, int]
    downsample: tuple[float, float]
    ratio: Fraction = Fraction(1)

    def averaged(self, ratio: Fraction) -> Self:
        """Return the level whose pixels are each the mean of `ratio` x `ratio` pixels of this one."""
        (height, width), (down, across) = self.shape, self.downsample
        shape, size = (int(height / ratio), int(width / ratio)), float(ratio)
        return replace(self, shape=shape, downsample=(down * size, across * size), ratio=ratio)


class Reader(Protocol):
    """Reads the pixels of a level of an open image, block by block, until the image is closed.

    One thread at a time uses it, which need not be the thread that opened the image. It starts threads of its
    own.
    """

    info: ImageInfo

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read.

        Parameters
        ----------
        blocks : iterable of Window
            In the order in which they are yielded: row-major, the tops of rows ascending, and of one
            height within a row. A block may reach past the bottom and right of the image.
        threads : int
            Threads that decode.
        wanted : iterable of Window, optional
            Parts of the blocks that are wanted; all by default. Other pixels may have any value, since a
            reader need not decode segments without wanted pixels.

        Yields
        ------
        block : (height, width, channel) array
            Pixels of the window, `info.fill` outside the image. A view, valid until the next one.

        Raises
        ------
        ImageError
            If a segment cannot be decoded.
        """
        ...


class HeldFiles:
    """Open files, until they are closed; a context manager."""

    _held: ExitStack

    def close(self) -> None:
        """Close the file."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


class ImageFile(HeldFiles, ABC):
    """An open file, which the readers of its levels share.

    A subclass opens it in an `ExitStack`, which closes it if the image turns out not to be readable. The
    subclass moves the stack to `_held` once the image is open.
    """

    @property
    @abstractmethod
    def levels(self) -> tuple[Level, ...]:
        """The levels that the file stores."""

    @abstractmethod
    def reader(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None) -> Reader:
        """Return a reader of a level.

        Parameters
        ----------
        level : int
            Pyramid level, 0 is full resolution.
        channels : tuple of int or None
            Counted from 1; None for all.
        memory_mb : float or None
            Memory that buffers and decoding may take, in megabytes; None for no limit.

        Raises
        ------
        ImageError
            If the image lacks the level or a channel, or stores its pixels in a way that cannot be decoded.
        MemoryBudgetError
            If the pixels that must be decoded at once do not fit in the memory.
        """
