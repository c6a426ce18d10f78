"""Scenes: images whose channels are files of their own, brought to the pixels of the finest one."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from math import ceil
from typing import NamedTuple

import numpy as np

from quadrat.errors import ImageError
from quadrat.files.world_files import WorldFile
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.budget import MB, require_memory
from quadrat.images.image import ImageFile, ImageInfo, Level, Reader
from quadrat.images.nodata import nodata_mask
from quadrat.images.place import placed
from quadrat.images.rows import StripePipeline, blocks_made_of
from quadrat.images.selection import channel_indices, check_level

# Bytes of pixels of a coarser band that are read at a time, and pixels that are made of them at a time.
STRIP_BYTES = 1 << 20
MADE_PIXELS = 1 << 19

# Share of a pixel by which the corners of two bands may differ.
NEAR = 0.01


class SceneImage(ImageFile):
    """The open bands of a scene.

    Parameters
    ----------
    bands : dict of str to ImageFile
        By their names, in the order of the channels. They are closed with the scene.
    resample : {'nearest', 'bilinear'}
        How coarser bands are brought to the pixels of the finest.
    world_files : mapping of str to WorldFile or None
        The world file beside each band, if it has one.

    Raises
    ------
    ImageError
        If a band has several channels, or if bands differ in type, place or reference system.
    """

    def __init__(
        self, bands: dict[str, ImageFile], resample: str, world_files: Mapping[str, WorldFile | None]
    ):
        self._names, self._bands, self._resample = tuple(bands), tuple(bands.values()), resample
        with ExitStack() as held:
            for band in self._bands:
                held.callback(band.close)
            infos = {name: _info(name, band, world_files[name]) for name, band in bands.items()}
            finest = max(infos, key=lambda name: (infos[name].height, infos[name].width))
            self._finest = self._names.index(finest)
            for name, info in infos.items():
                _check_fit(name, info, finest, infos[finest])
            self._place = infos[finest].transform
            self._held = held.pop_all()

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the finest band for which each other band has a level that is not finer."""
        found: list[Level] = []
        for level in self._bands[self._finest].levels:
            if all(_level_for(band, level.shape) is not None for band in self._bands):
                found.append(replace(level, index=len(found)))
            else:
                break
        return tuple(found)

    def reader(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None) -> Reader:
        """Return a reader of a level; see `ImageFile.reader`. Its bands share the memory."""
        check_level(level, len(self.levels))
        places = channel_indices(channels, len(self._bands))
        shape, share = self.levels[level].shape, None if memory_mb is None else memory_mb / len(places)
        readers: list[Reader] = []
        for place in places:
            with of_band(self._names[place]):
                index = _level_for(self._bands[place], shape)
                assert index is not None
                read = partial(self._bands[place].reader, index, (1,))
                if self._bands[place].levels[index].shape == shape:
                    readers.append(read(share))
                else:
                    readers.append(UpsampledReader(read, shape, self._resample, share))
        with of_band(self._names[self._finest]):
            finest = replace(self._bands[self._finest].reader(level, (1,), None).info, transform=self._place)
        names = tuple(self._names[place] for place in places)
        return SceneReader(readers, _joined(names, [one.info for one in readers], finest, len(self.levels)))


class SceneReader:
    """Reads one level of all bands at once.

    Parameters
    ----------
    readers : list of Reader
        Of one channel each, and of one size.
    info : ImageInfo
        Of the scene.
    """

    def __init__(self, readers: list[Reader], info: ImageInfo):
        self._readers, self.info = readers, info

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        windows, wanted = list(blocks), None if wanted is None else list(wanted)
        each = max(1, -(-threads // len(self._readers)))
        with ExitStack() as held:
            streams = []
            for name, reader in zip(self.info.names, self._readers, strict=True):
                with of_band(name):
                    stream = held.enter_context(closing(reader.read_blocks(windows, each, wanted)))
                streams.append(_with_name(name, stream))
            return self._blocks(held.pop_all(), streams)

    def _blocks(
        self, held: ExitStack, streams: list[Iterator[np.ndarray]]
    ) -> Generator[np.ndarray, None, None]:
        with held:
            for bands in zip(*streams, strict=True):
                yield np.concatenate(bands, axis=-1)


def _with_name(name: str, stream: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    with of_band(name):
        yield from stream


class UpsampledReader:
    """Reads an image as if its pixels were smaller.

    The pixels of both grids share the corner of the image. Samples with the nodata value do not count in
    `bilinear`; if no sample counts, so is the result.

    Parameters
    ----------
    read : callable
        Takes memory in megabytes, or None, and returns a reader of one channel.
    shape : tuple of 2 int
        Height and width in pixels, at least the ones of the image.
    method : {'nearest', 'bilinear'}
    memory_mb : float or None
        Memory that it may take with its reader, in megabytes; None for no limit.
    """

    def __init__(
        self,
        read: Callable[[float | None], Reader],
        shape: tuple[int, int],
        method: str,
        memory_mb: float | None,
    ):
        self._read, self._is_linear, self._memory_mb = read, method == "bilinear", memory_mb
        source = self._source = read(None).info
        self._scale = source.height / shape[0], source.width / shape[1]
        seek_height = ceil(source.seek_height / self._scale[0])
        self.info = replace(source, height=shape[0], width=shape[1], seek_height=seek_height)

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        grid = BlockGrid.from_windows(blocks)
        if not len(grid):
            none: list[np.ndarray] = []
            return (array for array in none)
        bottom, right = min(grid.rows.stops[-1], self.info.height), min(grid.cols.stops[-1], self.info.width)
        whole = self._source_window(grid.rows.starts[0], grid.cols.starts[0], bottom, right)
        row_bytes = whole.width * self.info.dtype.itemsize
        step = min(whole.height, max(1, STRIP_BYTES // row_bytes))
        tops = range(whole.y, whole.y + whole.height, step)
        strips = [Window(y, whole.x, min(step, whole.y + whole.height - y), whole.width) for y in tops]
        if wanted is None:
            wanted = grid.windows()
        needed = [self._source_window(y, x, y + height, x + width) for y, x, height, width in wanted]
        rows = int(grid.rows.largest * self._scale[0]) + 2 + step
        stripes = min(2, len(grid.rows)) * grid.rows.largest * (grid.cols.stops[-1] - grid.cols.starts[0])
        memory = stripes * self.info.dtype.itemsize + rows * row_bytes
        # Means are made of some six arrays in float64.
        memory += (48 if self._is_linear else 8) * max(MADE_PIXELS, right - grid.cols.starts[0])
        require_memory(memory, self._memory_mb, "bringing a band to the pixels of the finest")
        reader = self._read(None if self._memory_mb is None else self._memory_mb - memory / MB)
        arrays = reader.read_blocks(strips, threads, needed)
        source = _Rows(arrays, whole, self._taps, self.info.nodata)
        return blocks_made_of(arrays, StripePipeline(source, grid, self.info))

    def _source_window(self, top: int, left: int, bottom: int, right: int) -> Window:
        """Return the window of the source that a rectangle of pixels is made from."""
        down, across = self._taps(0, top, bottom), self._taps(1, left, right)
        y, x = int(down.first[0]), int(across.first[0])
        return Window(y, x, int(down.second[-1]) + 1 - y, int(across.second[-1]) + 1 - x)

    def _taps(self, axis: int, start: int, stop: int) -> "_Taps":
        info = self._source
        length, places = (info.height, info.width)[axis], np.arange(start, stop) + 0.5
        if not self._is_linear:
            # GDAL adds as much before it cuts, for quotients that are just below a whole number.
            nearest = np.minimum((places * self._scale[axis] + 1e-10).astype(np.int64), length - 1)
            return _Taps(nearest, nearest, None)
        centres = places * self._scale[axis] - 0.5
        first = np.floor(centres).astype(np.int64)
        return _Taps(np.maximum(first, 0), np.minimum(first + 1, length - 1), centres - first)


class _Taps(NamedTuple):
    """The two source pixels that each pixel is made from, along an axis.

    Attributes
    ----------
    first, second : (n,) int array
    share : (n,) float array or None
        Of the second; None if the first is taken as it is.
    """

    first: np.ndarray
    second: np.ndarray
    share: np.ndarray | None

    def part(self, span: slice, start: int) -> "_Taps":
        """Return some of the taps, of source pixels counted from a start."""
        share = None if self.share is None else self.share[span]
        return _Taps(self.first[span] - start, self.second[span] - start, share)


class _Rows:
    """Rows of an upsampled reader, from top to bottom."""

    def __init__(self, arrays: Iterator[np.ndarray], whole: Window, taps, nodata) -> None:
        self._arrays, self._whole, self._taps, self._nodata = arrays, whole, taps, nodata
        self._held, self._top = np.empty((0, whole.width, 1)), whole.y

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`."""
        down, across = self._taps(0, top, bottom), self._taps(1, left, right)
        self._hold(int(down.first[0]), int(down.second[-1]) + 1)
        across = across.part(slice(None), self._whole.x)
        step = max(1, MADE_PIXELS // len(across.first))
        for start in range(0, len(out), step):
            span = slice(start, start + step)
            first = int(down.first[start])
            pixels, rows = self._held[first - self._top :], down.part(span, first)
            if rows.share is None:
                out[span] = np.take(np.take(pixels, rows.first, 0), across.first, 1)
            else:
                _interpolate(pixels[: rows.second[-1] + 1], rows, across, self._nodata, out[span])

    def _hold(self, top: int, bottom: int) -> None:
        """Read on until some rows of the source are held; forget the rows above them."""
        parts, held_to = [self._held], self._top + len(self._held)
        while held_to < bottom:
            if top >= held_to:
                parts, self._top = [], held_to
            parts.append(next(self._arrays).copy())
            held_to += len(parts[-1])
        held = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._held, self._top = held[max(0, top - self._top) :], max(top, self._top)


def _interpolate(
    pixels: np.ndarray,
    down: _Taps,
    across: _Taps,
    nodata: tuple[int | float | None, ...] | None,
    out: np.ndarray,
) -> None:
    """Write the mean of four source pixels, weighted by their nearness, to `out`.

    As in GDAL the means of rows are made first, of the samples that are data, and then their mean.
    """
    is_data = np.ones(pixels.shape, bool) if nodata is None else ~nodata_mask(pixels, nodata)
    means, is_data = _mixed(np.where(is_data, pixels, 0), is_data, across, 1)
    means, is_data = _mixed(means, is_data, down, 0)
    out[...] = np.rint(means, out=means) if out.dtype.kind in "iub" else means
    if nodata is not None and nodata[0] is not None:
        out[~is_data] = nodata[0]


def _mixed(pixels: np.ndarray, is_data: np.ndarray, taps: _Taps, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of two pixels along an axis, of the samples that are data, and whether there is one."""
    assert taps.share is not None
    share = taps.share.reshape(-1, *[1] * (2 - axis))
    first, second = np.take(is_data, taps.first, axis), np.take(is_data, taps.second, axis) & (share > 0)
    share = np.where(second, np.where(first, share, 1.0), 0.0)
    ones, others = np.take(pixels, taps.first, axis), np.take(pixels, taps.second, axis)
    # Not multiplied where only one counts, since the other may be no number.
    means = np.where(share == 0, ones, np.where(share == 1, others, ones * (1 - share) + others * share))
    return means, first | second


def _info(name: str, band: ImageFile, world_file: WorldFile | None) -> ImageInfo:
    with of_band(name):
        info = band.reader(0, None, None).info
    info = placed(info, world_file if info.transform is None else None)
    if info.channels != 1:
        raise ImageError(f"its band {name} has {info.channels} channels; a band is expected to have one")
    return info


def _check_fit(name: str, info: ImageInfo, finest: str, other: ImageInfo) -> None:
    """Refuse a band that is not of the type and place of the finest one."""
    if info.dtype != other.dtype:
        raise ImageError(f"its bands differ in type: {finest} is {other.dtype}, {name} is {info.dtype}")
    if info.crs != other.crs:
        raise ImageError(
            f"its bands differ in reference system: {finest} has {other.crs}, {name} has {info.crs}"
        )
    if (info.transform is None) != (other.transform is None):
        placed = finest if info.transform is None else name
        raise ImageError(f"of its bands {finest} and {name}, only {placed} contains its place on Earth")
    if info.width > other.width:
        raise ImageError(
            f"of its bands {finest} and {name}, each has the finer pixels along one axis; one is expected to "
            "have them along both"
        )
    ours, theirs = _corners(info), _corners(other)
    if np.abs(ours - theirs).max() > NEAR * _pixel(other):
        raise ImageError(
            f"its bands differ in extent: {finest} reaches from {_named(theirs)}, {name} from {_named(ours)}"
        )


def _corners(info: ImageInfo) -> np.ndarray:
    """Return the top left, top right and bottom left corner as (3, 2) array; without a place, in pixels."""
    a, b, c, d, e, f = info.transform or (1, 0, 0, 0, 1, 0)
    columns, rows = np.array([0, info.width, 0]), np.array([0, 0, info.height])
    return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=1)


def _pixel(info: ImageInfo) -> float:
    return 1.0 if info.transform is None else max(abs(number) for number in info.transform[:2])


def _named(corners: np.ndarray) -> str:
    (x, y), (right, _), (_, bottom) = corners.tolist()
    return f"({x:.10g}, {y:.10g}) to ({right:.10g}, {bottom:.10g})"


def _level_for(band: ImageFile, shape: tuple[int, int]) -> int | None:
    """Return the level of a band whose pixels are as large as in a shape, or larger by least."""
    fitting = [level for level in band.levels if level.shape[0] <= shape[0] and level.shape[1] <= shape[1]]
    return max(fitting, key=lambda level: level.shape).index if fitting else None


def _joined(names: tuple[str, ...], infos: list[ImageInfo], finest: ImageInfo, level_count: int) -> ImageInfo:
    """Return the metadata of a scene."""
    nodata = tuple(chain.from_iterable(info.nodata or (None,) for info in infos))
    scales = tuple(chain.from_iterable(info.scales or (1.0,) for info in infos))
    offsets = tuple(chain.from_iterable(info.offsets or (0.0,) for info in infos))
    is_scaled = any(info.scales or info.offsets for info in infos)
    decoders: dict[str, str] = {}
    for info in infos:
        decoders |= info.decoders
    return replace(
        finest,
        format=f"scene of {finest.format}",
        channels=len(names),
        names=names,
        seek_height=max(info.seek_height for info in infos),
        level_count=level_count,
        is_first=False,
        alpha=None,
        nodata=None if set(nodata) == {None} else nodata,
        scales=scales if is_scaled else None,
        offsets=offsets if is_scaled else None,
        decoders=decoders,
        notes=tuple(dict.fromkeys(chain.from_iterable(info.notes for info in infos))),
    )


@contextmanager
def of_band(name: str) -> Iterator[None]:
    """Let errors name the band."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"its band {name}: {error}", error.hint) from error
