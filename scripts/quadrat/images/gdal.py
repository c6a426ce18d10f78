"""GDAL reader: JPEG 2000, VRT and the other formats of `quadrat.images.drivers`, by rasterio."""

import os
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from quadrat.errors import ImageError
from quadrat.files.sources import find_sources
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.budget import MB, require_memory
from quadrat.images.drivers import VRT, open_local
from quadrat.images.image import CONVERT, COPY, ImageFile, ImageInfo, Level, Reader
from quadrat.images.nodata import declared_nodata
from quadrat.images.place import CONTROL_POINTS
from quadrat.images.rows import StripePipeline
from quadrat.images.selection import channel_indices, check_level, complex_error, downsample_of

MIN_CACHE_BYTES = 64 * MB
DAMAGED = "its data are damaged or incomplete"
# Reports of GDAL about its own code, and words about the file in their place.
WORDS = {
    r".*IReadBlock failed at X offset \d+, Y offset \d+: ": "",
    r".*GetBlockRef failed at X block offset \d+, Y block offset \d+: ": "",
    r".*\w+\(\) failed.*|.*Read failed.*": DAMAGED,
    r"Can't read from offset (\d+) in input file": rf"{DAMAGED}: it has no byte \1",
    r".*cannot allocate (\d+) bytes": r"its header claims blocks of \1 bytes",
    r"GDALDataset::GetRasterBand\((\d+)\) - Illegal band #": r"it has no band \1",
    r"Recursion detected": "it is a source of itself",
}
ALPHA = 4  # the channel of an expanded palette, counted from 1
OPTIONS = {
    # GDAL writes no file beside the images, and reads none (.aux.xml, .ovr) that is not watched for changes.
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # On several threads GDAL 3.10 loses the error of a source that cannot be read, and returns zeros.
    "VRT_NUM_THREADS": 1,
    # A VRT may contain Python code, and a user's environment may allow GDAL to run it.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}

# Bytes of GDAL's cache that each stream needs. They share it, and the first block that is read sets its size.
_caches: list[int] = []


class GdalImage(ImageFile):
    """An image that GDAL has open, with its overviews.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    path : str
        Absolute.
    level_count : int
    block_height, block_bytes : int
        Height in pixels of the tallest block of the image and its sources, and size of the largest.

    Raises
    ------
    ImageError
        If GDAL cannot read the file.
    """

    def __init__(self, path: str):
        self.path = os.path.abspath(path)
        if self.path != self.path.encode(errors="replace").decode():
            raise ImageError("its name is not valid UTF-8, and GDAL opens no other names", "rename it")
        with ExitStack() as held:
            with self._opening():
                full, self.block_height, self.block_bytes = _open_checked(self.path, held)
                self.level_count = 1 + len(full.overviews(1) if full.count else ())
            self._datasets = {0: full}
            self._held = held.pop_all()

    @contextmanager
    def _opening(self) -> Iterator[None]:
        with _gdal_errors("not an image that quadrat can read", self.path), rasterio.Env(**OPTIONS):
            yield

    @property
    def levels(self) -> tuple[Level, ...]:
        """Full resolution, and the file's overviews."""
        shapes = [self.dataset(level).shape for level in range(self.level_count)]
        return tuple(Level(i, shape, downsample_of(shapes[0], shape)) for i, shape in enumerate(shapes))

    def dataset(self, level: int) -> DatasetReader:
        """Return the open dataset of a level."""
        check_level(level, self.level_count)
        if level not in self._datasets:
            with self._opening():
                opened = open_local(self.path, overview_level=level - 1)
            self._datasets[level] = self._held.enter_context(opened)
        return self._datasets[level]

    def reader(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None) -> Reader:
        """Return a reader of a level; see `ImageFile.reader`. It needs memory for a row of stored blocks."""
        return GdalReader(self, level, channels, memory_mb)


class GdalReader:
    """Reads one level of an image that GDAL opens.

    Parameters
    ----------
    image : GdalImage
    level : int
    channels : tuple of int or None
        Counted from 1; None for all.
    memory_mb : float or None
        Memory that buffers and decoding may take, in megabytes; None for no limit.

    Raises
    ------
    ImageError
        If the image lacks the level or a wanted channel.
    MemoryBudgetError
        If a row of stored blocks does not fit the memory.
    """

    def __init__(
        self, image: GdalImage, level: int, channels: tuple[int, ...] | None, memory_mb: float | None
    ):
        self._image, self._full, self._memory_mb = image, image.dataset(0), memory_mb
        self._dataset = image.dataset(level)
        self._palette = _palette(self._dataset)
        available = self._dataset.count if self._palette is None else self._palette.shape[1]
        self._channels = channel_indices(channels, available)
        self.info = self._describe(level)
        require_memory(self._cache_bytes(), memory_mb, "a row of the file's blocks")

    def _describe(self, level: int) -> ImageInfo:
        dataset, full_size, transform = self._dataset, self._full.shape, self._full.transform
        block_height, block_width = dataset.block_shapes[0]
        points, crs_of_points = dataset.gcps
        crs = dataset.crs or crs_of_points
        notes = [] if self._palette is None else ["palette expanded to RGB"]
        if points:
            notes.append(CONTROL_POINTS)
        return ImageInfo(
            format=dataset.driver,
            height=dataset.height,
            width=dataset.width,
            channels=len(self._channels),
            dtype=self._dtype(),
            segment_height=block_height,
            segment_width=block_width,
            seek_height=self._image.block_height,
            level=level,
            level_count=self._image.level_count,
            downsample=downsample_of(full_size, dataset.shape),
            full_size=full_size,
            compression=dataset.compression.name.lower() if dataset.compression else "",
            nodata=self._nodata(),
            alpha=self._alpha(),
            crs=crs.to_string() if crs else None,
            # GDAL reads the world file of a BMP whatever its options are; see `images.place`.
            transform=None if transform.is_identity or dataset.driver == "BMP" else tuple(transform)[:6],
            **self._scaling(),
            decoders={"gdal": rasterio.__gdal_version__, "rasterio": rasterio.__version__},
            notes=tuple(notes),
        )

    def _scaling(self) -> dict[str, Any]:
        """Return scales and offsets; GDAL returns 1 and 0 if the file has none."""
        scales, offsets = self._full.scales, self._full.offsets
        is_told = set(scales) != {1.0} or set(offsets) != {0.0}
        if self._palette is not None or not is_told:
            return {}
        return {
            "scales": tuple(scales[channel] for channel in self._channels),
            "offsets": tuple(offsets[channel] for channel in self._channels),
        }

    def _nodata(self) -> tuple[int | float | None, ...] | None:
        """Return the nodata value of each channel; None if no sample can have one."""
        dtype, values = self._dtype(), self._dataset.nodatavals
        if self._palette is not None:
            return None
        if dtype.kind in "iu" and dtype.itemsize == 8 and self._dataset.driver == VRT:
            # rasterio returns them as float64, which cannot represent all integers.
            bands = ElementTree.parse(self._image.path).getroot().iterfind("VRTRasterBand")
            values = [band.findtext("NoDataValue") for band in bands]
        found = tuple(
            None if values[one] is None else declared_nodata(str(values[one]), dtype)
            for one in self._channels
        )
        return None if set(found) == {None} else found

    def _alpha(self) -> int | None:
        if self._palette is not None:
            return ALPHA if self._palette.shape[1] == ALPHA else None
        return alpha_of(self._dataset, has_their_type=True)

    def _dtype(self) -> np.dtype:
        if self._palette is not None:
            return self._palette.dtype
        names = {self._dataset.dtypes[channel] for channel in self._channels}
        if any(name.startswith("complex") for name in names):
            raise complex_error()
        if len(names) > 1:
            raise ImageError(
                f"its channels have several types, {', '.join(sorted(names))}; one type is expected"
            )
        return np.dtype(names.pop())

    def _cache_bytes(self) -> int:
        """Return the size of a cache that keeps a row of blocks between two reads."""
        dataset = self._dataset
        block_width = dataset.block_shapes[0][1]
        width = -(-dataset.width // block_width) * block_width
        pixel_bytes = sum(np.dtype(name).itemsize for name in dataset.dtypes)
        rows_bytes = self._image.block_height * width * pixel_bytes
        return max(MIN_CACHE_BYTES, 2 * rows_bytes, 2 * self._image.block_bytes)

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        bands = [channel + 1 for channel in self._channels]
        options = OPTIONS | {"GDAL_CACHEMAX": self._cache_bytes(), "GDAL_NUM_THREADS": threads}
        overview = {"overview_level": self.info.level - 1} if self.info.level else {}
        palette = None if self._palette is None else self._palette[:, list(self._channels)]
        with ExitStack() as held:
            # GDAL takes the number of threads from when it opens a file.
            with _gdal_errors("cannot be opened again", self._image.path), rasterio.Env(**options):
                dataset = held.enter_context(open_local(self._image.path, **overview))
            _caches.append(self._cache_bytes())
            held.callback(_caches.remove, self._cache_bytes())
            source = _Rows(dataset, bands, palette, options)
            pipeline = StripePipeline(
                source, BlockGrid.from_windows(blocks), self.info, planar=palette is None
            )
            needed = pipeline.memory_bytes() + self._cache_bytes()
            require_memory(needed, self._memory_mb, "reading the image block by block")
            return _blocks(held.pop_all(), pipeline)


def _blocks(held: ExitStack, pipeline: StripePipeline) -> Generator[np.ndarray, None, None]:
    with held:
        yield from pipeline.blocks()


class _Rows:
    """Rows of a rasterio dataset."""

    def __init__(self, dataset, bands: list[int], palette: np.ndarray | None, options: dict):
        self._dataset, self._bands, self._palette, self._options = dataset, bands, palette, options

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`."""
        window = RasterWindow(left, top, right - left, bottom - top)
        doing = f"rows {top:,} to {bottom:,} cannot be decoded"
        options = self._options | {"GDAL_CACHEMAX": sum(_caches)}
        with _gdal_errors(doing, self._dataset.name), rasterio.Env(**options):
            if self._palette is None:
                out[...] = self._dataset.read(self._bands, window=window).transpose(1, 2, 0)
                return
            out[...] = self._palette[self._dataset.read(1, window=window)]
            if self._dataset.count == 2 and ALPHA in self._bands:
                out[..., np.equal(self._bands, ALPHA)] = self._dataset.read(2, window=window)[..., None]


def _open_checked(path: str, held: ExitStack) -> tuple[DatasetReader, int, int]:
    """Return an open image, the height of the tallest block of it and its sources, and bytes of the largest.

    An image is refused if GDAL reads it from files that its hash does not cover. All sources are opened for
    this check: if a VRT cannot open a source at first, it may later return zeros without an error.
    """
    sources = find_sources(path)
    if sources.problem:
        raise ImageError(sources.problem, sources.hint)
    tallest, largest, watched = 1, 0, {os.path.realpath(name) for name in (path, *sources.files)}
    full = held.enter_context(open_local(path))
    for name in (path, *sources.files):
        where = "" if name == path else f"its source {os.path.basename(name)}: "
        try:
            with _gdal_errors("not an image that quadrat can read", name), ExitStack() as source:
                image = full if name == path else source.enter_context(open_local(name))
                used, shapes = image.files, image.block_shapes
                # A block may contain all bands. numpy lacks some of GDAL's complex types.
                sizes = (16 if one.startswith("complex") else np.dtype(one).itemsize for one in image.dtypes)
                pixel_bytes = sum(sizes)
        except ImageError as error:
            raise ImageError(f"{where}{error}", error.hint) from error
        tallest = max([tallest, *(height for height, _ in shapes)])
        largest = max([largest, *(height * width * pixel_bytes for height, width in shapes)])
        others = [other for other in used if os.path.realpath(other) not in watched]
        if others:
            raise ImageError(
                f"{where}parts of it lie in {os.path.basename(others[0])}, which is not watched for changes",
                CONVERT,
            )
    return full, tallest, largest


def conversion_of(path: str) -> str:
    """Return the hint that converts an image if GDAL opens it; otherwise an empty text."""
    try:
        with rasterio.Env(**OPTIONS):
            open_local(path).close()
    except (ImageError, RasterioError):
        return ""
    return CONVERT


@contextmanager
def _gdal_errors(doing: str, path: str) -> Iterator[None]:
    """Turn what GDAL raises on broken data into an ImageError that does not name the file."""
    try:
        yield
    except RasterioError as error:
        # rasterio's own message only points to the one of GDAL
        reason = str(error.__cause__ or error).splitlines()[0].replace(f"'{path}'", "it").replace(path, "it")
        if "not recognized" in reason:
            # Pixels without a header of their own, such as ENVI's.
            has_header = any(os.path.exists(f"{name}.hdr") for name in (path, os.path.splitext(path)[0]))
            hint = CONVERT if has_header else ""
            raise ImageError(f"{doing}: docs/formats.md does not list its format", hint) from error
        for pattern, words in WORDS.items():
            reason = re.sub(pattern, words, reason)
        raise ImageError(f"{doing}: {reason.rstrip('.')}", COPY if DAMAGED in reason else "") from error


def alpha_of(dataset: DatasetReader, has_their_type: bool) -> int | None:
    """Return the alpha channel, counted from 1, that has the type of the first channel, or another one."""
    for number, (color, name) in enumerate(zip(dataset.colorinterp, dataset.dtypes, strict=True), start=1):
        if color == ColorInterp.alpha:
            return number if (name == dataset.dtypes[0]) == has_their_type else None
    return None


def _palette(dataset) -> np.ndarray | None:
    """Return the colours of a palette image as (index, 3 or 4) uint8 array: 4 with alpha."""
    has_alpha_band = dataset.count == 2 and dataset.colorinterp[1] == ColorInterp.alpha
    if dataset.count != 1 and not (has_alpha_band and dataset.dtypes[1] == "uint8"):
        return None
    try:
        colors = dataset.colormap(1)
    except ValueError:  # no palette
        return None
    table = np.zeros((max(256, max(colors) + 1), 4), np.uint8)
    table[list(colors)] = list(colors.values())
    is_opaque = not has_alpha_band and all(color[3] == 255 for color in colors.values())
    return table[:, :3] if is_opaque else table
