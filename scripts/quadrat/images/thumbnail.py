"""The thumbnail: a small picture of an image, made of what a prediction reads, or of a coarser level."""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np

from quadrat.errors import ImageError, MemoryBudgetError, ResultsError
from quadrat.files.atomic import replacing
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid, Spans
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.nodata import nodata_mask
from quadrat.images.open import Image, open_image
from quadrat.images.rows import fresh_rows

# Length of a thumbnail's longer side in pixels, at most; a level this large or larger is read.
SIDE = 1000

# A level that is read for its thumbnail alone is read in strips of about so many rows and bytes. Taller
# segments than the last are read in parts.
STRIP_ROWS, STRIP_BYTES, TALLEST_SEGMENT = 512, 1 << 24, 4096

# Samples that are not 8-bit colours are spread from black to white between these percentiles.
PERCENTILES = (1, 99)

GREY = 160  # where the image was not read


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an image.

    Attributes
    ----------
    pixels : (height, width, 3) uint8 array
        Red, green and blue. Mid-grey where the image was not read.
    steps : tuple of 2 float
        Level-0 pixels per pixel of the picture along y and x.
    problem : str
        Why the image could not be read; empty if it could.
    """

    pixels: np.ndarray
    steps: tuple[float, float]
    problem: str = ""

    def save(self, path: str | os.PathLike, results: str | os.PathLike | None) -> None:
        """Write it to a file in the results folder."""
        with replacing(path, results) as temporary, open(temporary, "wb") as file:
            np.savez(file, pixels=self.pixels, steps=self.steps, problem=self.problem)


@dataclass(frozen=True)
class AreaMeans:
    """Sums of the squares of pixels that become the pixels of a thumbnail, from blocks that come one by one.

    Sums of integers are exact: they do not depend on the blocks, and the sums of shards add up.

    Attributes
    ----------
    sums : (height, width, channel) float64 array
        Of the samples that are data.
    counts : (height, width, channel) uint32 array
        Number of these samples; of one channel for all, if all samples are data.
    is_read : (height, width) bool array
        Whether any pixel of the square was added.
    factor : int
        Side of a square in pixels; those at the bottom and right are cut at the image.
    steps : tuple of 2 float
        Side of a square in level-0 pixels along y and x.
    is_colour : bool
        Whether samples are 8-bit colours, which are shown as they are.
    """

    sums: np.ndarray
    counts: np.ndarray
    is_read: np.ndarray
    factor: int
    steps: tuple[float, float]
    is_colour: bool

    @classmethod
    def of_level(cls, info: ImageInfo, is_colour: bool) -> Self:
        """Return sums without any pixel of a level yet."""
        factor = -(-max(info.height, info.width) // SIDE)
        height, width = -(-info.height // factor), -(-info.width // factor)
        shape, (down, across) = (height, width, info.channels), info.downsample
        is_all_data = info.nodata is None and info.dtype.kind != "f"
        counts = np.zeros((height, width, 1 if is_all_data else info.channels), np.uint32)
        sums, is_read = np.zeros(shape), np.zeros(shape[:2], bool)
        return cls(sums, counts, is_read, factor, (factor * down, factor * across), is_colour)

    def add(self, y: int, x: int, pixels: np.ndarray, nodata: Sequence[float | None] | None = None) -> None:
        """Add pixels, each of which must be added once.

        Parameters
        ----------
        y, x : int
            Where they are in the level.
        pixels : (height, width, channel) array
        nodata : sequence of (int, float or None), optional
            Of each channel: the value of samples that are no data. Samples that are not finite never are.
        """
        height, width = pixels.shape[:2]
        rows, cols = _cuts(y, height, self.factor), _cuts(x, width, self.factor)
        top, left = y // self.factor, x // self.factor
        cells = np.s_[top : top + len(rows), left : left + len(cols)]
        self.is_read[cells] = True
        if nodata is None and pixels.dtype.kind != "f":
            self.sums[cells] += _sums(pixels, rows, cols)
            heights, widths = np.diff([*rows, height]), np.diff([*cols, width])
            self.counts[cells] += np.multiply.outer(heights, widths)[..., np.newaxis].astype(np.uint32)
        else:
            is_data = np.isfinite(pixels) & ~nodata_mask(pixels, nodata or ())
            self.sums[cells] += _sums(np.where(is_data, pixels, 0), rows, cols)
            self.counts[cells] += _sums(is_data, rows, cols).astype(np.uint32)

    def plus(self, other: Self) -> Self:
        """Return the sums of both, which have no pixel in common."""
        return type(self)(
            self.sums + other.sums,
            self.counts + other.counts,
            self.is_read | other.is_read,
            self.factor,
            self.steps,
            self.is_colour,
        )

    def means(self) -> np.ndarray:
        """Return (height, width, channel) float64 means; NaN where a square holds no data."""
        means = self.sums / np.maximum(self.counts, 1)
        if not self.counts.all():
            means[np.broadcast_to(self.counts == 0, means.shape)] = np.nan
        return means

    def thumbnail(self) -> Thumbnail:
        """Return the thumbnail: black where the image holds no data, grey where it was not read."""
        # The sum of a square without data is 0.
        shown = self.sums / np.maximum(self.counts, 1) if self.is_colour else _stretched(self.means())
        pixels = np.empty((*shown.shape[:2], 3), np.uint8)
        pixels[...] = np.rint(shown, out=shown)
        if not self.is_read.all():
            pixels[~self.is_read] = GREY
        return Thumbnail(pixels, self.steps)

    def save(self, path: str | os.PathLike, results: str | os.PathLike | None) -> None:
        """Write them to a file in the results folder."""
        with replacing(path, results) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(self))


class ThumbnailMaker:
    """Makes the thumbnail of an open image, of the pixels that a prediction reads if it needs the same.

    They are then decoded once. A coarser level of a pyramid is read by itself, which costs little.

    Parameters
    ----------
    image : Image
    shown : list of int or None
        One channel, or the channels of red, green and blue, counted from 1; None for the first three, or the
        first one where the image has fewer.

    Attributes
    ----------
    means : AreaMeans
    watched : WatchedReader or None
        The reader of a prediction that the thumbnail is made with; None if it is read by itself.

    Raises
    ------
    ImageError
        If the image cannot be read.
    """

    def __init__(self, image: Image, shown: list[int] | None):
        info = image.info
        self._shown = shown or ([1, 2, 3] if info.channels >= 3 else [1])
        self._reader = _coarsest_reader(image, self._shown)
        is_colour = info.dtype == np.uint8 and info.channels in (1, 3, 4) and not shown
        self.means = AreaMeans.of_level(self._reader.info, is_colour)
        self.watched: WatchedReader | None = None

    def watch(self, reader: Reader, channels: Sequence[int] | None) -> Reader:
        """Return a reader of the same blocks whose pixels become the thumbnail, if they are what it needs.

        Parameters
        ----------
        reader : Reader
            Of a stored level of the image.
        channels : sequence of int or None
            What it reads, counted from 1; None for all.
        """
        read = channels or range(1, reader.info.channels + 1)
        if reader.info.level != self._reader.info.level or not {*self._shown} <= {*read}:
            return reader
        self.watched = WatchedReader(reader, self.means, [read.index(channel) for channel in self._shown])
        return self.watched

    def thumbnail(self, threads: int) -> Thumbnail:
        """Return the thumbnail; of a level that no prediction has read, its pixels are read now.

        Raises
        ------
        ImageError
            If they cannot be.
        """
        if self.watched is None:
            watched = WatchedReader(self._reader, self.means, [*range(len(self._shown))])
            for _ in watched.read_blocks(_strips(watched.info), threads):
                pass
        return self.means.thumbnail()


class WatchedReader:
    """Reads what another reader reads, and adds each of the pixels to the sums of a thumbnail.

    It may also read what is left of the image beside and below the blocks.

    Parameters
    ----------
    reader : Reader
    means : AreaMeans
        Of the level that it reads.
    channels : list of int
        The channels that are added, counted from 0.

    Attributes
    ----------
    info : ImageInfo
    rows : range
        Rows of pixels that are added; no two shards have a row in common.
    completes : bool
        Whether what the blocks leave out of these rows is read too. Default: no.
    """

    def __init__(self, reader: Reader, means: AreaMeans, channels: list[int]):
        self.info = reader.info
        self.rows, self.completes = range(self.info.height), False
        self._reader, self._means = reader, means
        first, last = channels[0], channels[-1]
        # A slice is a view, and a list makes a copy.
        is_span = channels == [*range(first, last + 1)]
        self._channels: slice | list[int] = slice(first, last + 1) if is_span else channels
        nodata = self.info.nodata
        self._nodata = nodata and tuple(nodata[channel] for channel in channels)

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        grid = BlockGrid.from_windows(blocks)
        windows = None if wanted is None else list(wanted)
        read = self._completed(grid) if self.completes and len(grid) else grid
        try:
            arrays = self._reader.read_blocks(read.windows(), threads, windows)
        except MemoryBudgetError:  # what is wanted of the image comes first
            read = grid
            arrays = self._reader.read_blocks(read.windows(), threads, windows)
        return self._watched(arrays, grid, read, windows)

    def _completed(self, grid: BlockGrid) -> BlockGrid:
        """Return a grid whose last column reaches to the right of the image, and more rows to its bottom."""
        rows, cols = grid.rows, grid.cols
        stops = (*cols.stops[:-1], max(cols.stops[-1], self.info.width))
        tops = range(rows.stops[-1], self.rows.stop, rows.largest)
        bottoms = (min(top + rows.largest, self.rows.stop) for top in tops)
        return BlockGrid(Spans((*rows.starts, *tops), (*rows.stops, *bottoms)), Spans(cols.starts, stops))

    def _watched(
        self,
        arrays: Generator[np.ndarray, None, None],
        grid: BlockGrid,
        read: BlockGrid,
        wanted: list[Window] | None,
    ) -> Generator[np.ndarray, None, None]:
        """Yield blocks of the grid; each is added, on a thread, while it is consumed."""
        down, across = fresh_rows(read.rows, self.info.height), fresh_rows(read.cols, self.info.width)
        places = product(range(len(read.rows)), range(len(read.cols)))
        with closing(arrays), ThreadPoolExecutor(1, thread_name_prefix="quadrat-thumbnail") as pool:
            for (row, col), array in zip(places, arrays, strict=True):
                rows = range(max(down[row].start, self.rows.start), min(down[row].stop, self.rows.stop))
                corner = read.rows.starts[row], read.cols.starts[col]
                adding = pool.submit(self._add, array, corner, rows, across[col], wanted)
                if row < len(grid.rows):
                    yield array[:, : grid.cols.size(col)]
                adding.result()

    def _add(
        self,
        array: np.ndarray,
        corner: tuple[int, int],
        rows: range,
        cols: range,
        wanted: list[Window] | None,
    ) -> None:
        """Add pixels of some rows and columns of a block, or those windows of them that are wanted."""
        if not (rows and cols):
            return
        whole = Window(rows.start, cols.start, len(rows), len(cols))
        for y, x, height, width in [whole] if wanted is None else _disjoint(whole, wanted):
            top, left = y - corner[0], x - corner[1]
            pixels = array[top : top + height, left : left + width][..., self._channels]
            self._means.add(y, x, pixels, self._nodata)


def read_thumbnail(
    path: str | os.PathLike,
    shown: list[int] | None,
    plane: dict[str, int] | None,
    threads: int,
    memory_mb: float | None,
    nodata: float | str | dict[int, float | str] | None = None,
) -> Thumbnail:
    """Read a small picture of an image in bounded memory.

    Only the pixels of the image itself are read, never a slide's label or overview.

    Parameters
    ----------
    path : path
    shown : list of int or None
        See `ThumbnailMaker`.
    plane : dict of str to int, or None
        Which plane of a stack, counted from 1; None for the first.
    threads : int
        Threads that decode.
    memory_mb : float or None
        Memory that the reader may take, in megabytes.
    nodata : int, float, str, dict or None
        See `open_image`.

    Returns
    -------
    Thumbnail

    Raises
    ------
    ImageError
        If the image cannot be read.
    """
    with open_image(path, plane, memory_mb, nodata) as image:
        return ThumbnailMaker(image, shown).thumbnail(threads)


def blank_thumbnail(height: int, width: int, problem: str) -> Thumbnail:
    """Return a grey picture in place of an image of this size that cannot be read."""
    factor = -(-max(height, width) // SIDE)
    pixels = np.full((-(-height // factor), -(-width // factor), 3), GREY, np.uint8)
    return Thumbnail(pixels, (factor, factor), problem)


def load_thumbnail(path: str | os.PathLike) -> Thumbnail:
    """Read a thumbnail that was saved.

    Raises
    ------
    ResultsError
        If the file does not hold one.
    """
    with _saved(path) as saved:
        pixels, (down, across) = saved["pixels"], map(float, saved["steps"])
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError("the pixels have another form")
        return Thumbnail(pixels, (down, across), str(saved["problem"]))


def join_thumbnails(paths: Iterable[str | os.PathLike]) -> Thumbnail:
    """Return the thumbnail of an image from the sums that its shards saved.

    Raises
    ------
    ResultsError
        If a file does not hold such sums.
    """
    return reduce(AreaMeans.plus, map(_load_means, paths)).thumbnail()


def _load_means(path: str | os.PathLike) -> AreaMeans:
    with _saved(path) as saved:
        sums, counts, is_read = saved["sums"], saved["counts"], saved["is_read"]
        down, across = map(float, saved["steps"])
        return AreaMeans(
            sums, counts, is_read, int(saved["factor"]), (down, across), bool(saved["is_colour"])
        )


@contextmanager
def _saved(path: str | os.PathLike) -> Iterator[Any]:
    """Open a file of arrays; anyone may have put another in its place."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            yield saved
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise ResultsError(f"{path} holds no thumbnail: {error}") from error


def _coarsest_reader(image: Image, channels: Sequence[int]) -> Reader:
    """Return a reader of the coarsest level that is no smaller than a thumbnail, and can be decoded."""
    enough = min(SIDE, max(image.levels[0].shape))
    for level in image.levels[:0:-1]:
        if max(level.shape) >= enough:
            try:
                return image.reader(level, channels)
            except ImageError:
                continue  # a level may be stored in a way that cannot be decoded
    return image.reader(0, channels)


def _strips(info: ImageInfo) -> list[Window]:
    """Return strips over a whole level, of which few rows are held and no segment is decoded twice."""
    rows = max(1, min(STRIP_ROWS, STRIP_BYTES // (info.width * info.channels * info.dtype.itemsize)))
    if info.segment_height <= TALLEST_SEGMENT:
        rows = info.segment_height * max(1, rows // info.segment_height)
    tops = range(0, info.height, rows)
    return [Window(top, 0, min(rows, info.height - top), info.width) for top in tops]


def _disjoint(whole: Window, windows: list[Window]) -> Iterator[Window]:
    """Yield windows without overlap that cover the parts of a rectangle that some windows cover."""
    bottom, right = whole.y + whole.height, whole.x + whole.width
    parts = [
        (max(y, whole.y), min(y + height, bottom), max(x, whole.x), min(x + width, right))
        for y, x, height, width in windows
        if y < bottom and y + height > whole.y and x < right and x + width > whole.x
    ]
    for top, stop in pairwise(sorted({edge for part in parts for edge in part[:2]})):
        done = whole.x
        for left, end in sorted(part[2:] for part in parts if part[0] < stop and part[1] > top):
            if end > (left := max(left, done)):
                yield Window(top, left, stop - top, end - left)
                done = end


def _cuts(start: int, length: int, factor: int) -> np.ndarray:
    """Return where squares begin within a block, in pixels of the block."""
    return np.unique(np.maximum(np.arange(start // factor * factor, start + length, factor) - start, 0))


def _sums(pixels: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Sum squares; a loop over their rows is forty times as fast as numpy's reduceat along that axis."""
    height, width, channels = pixels.shape
    if len(rows) == height and len(cols) == width:  # squares of one pixel
        return pixels
    stops = [*rows[1:], height]
    wide = _sum_dtype(pixels.dtype, int(np.diff([*rows, height]).max()))
    summed = np.empty((len(rows), width * channels), wide)
    for start, stop, row in zip(rows, stops, summed, strict=True):
        np.add.reduce(pixels[start:stop].reshape(stop - start, -1), axis=0, dtype=wide, out=row)
    return np.add.reduceat(summed.reshape(len(rows), width, channels), cols, axis=1, dtype=np.float64)


def _sum_dtype(dtype: np.dtype, count: int) -> np.dtype:
    """Return the smallest type that holds sums of so many samples: the wider, the slower."""
    if dtype.kind == "f" or dtype.itemsize == 8:
        return np.dtype(np.float64)
    bits = 8 * dtype.itemsize + count.bit_length()
    size = next(size for size in (16, 32, 64) if bits <= size)
    return np.dtype(f"{'int' if dtype.kind == 'i' else 'uint'}{size}")


def _stretched(means: np.ndarray) -> np.ndarray:
    """Spread each channel from 0 to 255; what is not a number is black."""
    finite = np.where(np.isfinite(means), means, np.nan)
    if np.isnan(finite).all():
        return np.zeros_like(means)
    low, high = np.nanpercentile(finite, PERCENTILES, axis=(0, 1))
    spread = np.where(high > low, high - low, 1)
    return np.nan_to_num(np.clip((finite - low) / spread, 0, 1) * 255)
