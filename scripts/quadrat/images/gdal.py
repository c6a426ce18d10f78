"""GDAL reader: JPEG 2000, VRT and the other formats of `quadrat.images.drivers`, by rasterio."""

import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from quadrat.errors import ImageError
from quadrat.files.sources import LOCAL_HINT, find_sources
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.budget import MB, require_memory
from quadrat.images.drivers import VRT, open_local
from quadrat.images.image import CONVERT, FileReader, ImageInfo
from quadrat.images.nodata import declared_nodata
from quadrat.images.rows import StripePipeline
from quadrat.images.selection import channel_indices, check_level, complex_error, downsample_of

MIN_CACHE_BYTES = 64 * MB
ALPHA = 4  # the channel of an expanded palette, counted from 1
OPTIONS = {
    # Nothing is written beside the images, and no file (.aux.xml, .ovr) is read that is not watched.
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # On several threads GDAL 3.10 loses the error of a source that cannot be read, and gives zeros.
    "VRT_NUM_THREADS": 1,
    # A VRT may hold Python code, which a user's environment may let GDAL run.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}


class GdalReader(FileReader):
    """Reads one level of an image that GDAL opens.

    Parameters
    ----------
    path : str
    channels : tuple of int or None
        Counted from 1; None for all.
    level : int
        0 is full resolution, others are the file's overviews.
    memory_mb : float or None
        Memory that buffers and decoding may take, in megabytes; None for no limit.

    Attributes
    ----------
    info : ImageInfo

    Raises
    ------
    ImageError
        If GDAL cannot read the file, or it lacks a wanted channel or the level.
    MemoryBudgetError
        If a row of stored blocks does not fit the memory.
    """

    def __init__(self, path: str, channels: tuple[int, ...] | None, level: int, memory_mb: float | None):
        path, self._memory_mb = os.path.abspath(path), memory_mb
        self._path, self._options = path, {"overview_level": level - 1} if level else {}
        if path != path.encode(errors="replace").decode():
            raise ImageError("GDAL opens only files whose name is UTF-8", "rename it")
        with ExitStack() as held:
            with _gdal_errors("not an image that quadrat can read", path), rasterio.Env(**OPTIONS):
                self._block_height, self._block_bytes = _checked_blocks(path)
                with open_local(path) as full:
                    levels = 1 + len(full.overviews(1) if full.count else ())
                    size, transform = full.shape, full.transform
                    self._scales, self._offsets = full.scales, full.offsets
                check_level(level, levels)
                self._dataset = held.enter_context(self._open())
            self._palette = _palette(self._dataset)
            available = self._dataset.count if self._palette is None else self._palette.shape[1]
            self._channels = channel_indices(channels, available)
            self.info = self._describe(level, levels, size, transform)
            require_memory(self._cache_bytes(), memory_mb, "a row of the file's blocks")
            self._held = held.pop_all()

    def _open(self) -> DatasetReader:
        return open_local(self._path, **self._options)

    def _describe(self, level: int, levels: int, full_size: tuple[int, int], transform) -> ImageInfo:
        dataset = self._dataset
        block_height, block_width = dataset.block_shapes[0]
        crs = dataset.crs
        return ImageInfo(
            format=dataset.driver,
            height=dataset.height,
            width=dataset.width,
            channels=len(self._channels),
            dtype=self._dtype(),
            segment_height=block_height,
            segment_width=block_width,
            seek_height=self._block_height,
            level=level,
            level_count=levels,
            downsample=downsample_of(full_size, dataset.shape),
            full_size=full_size,
            compression=dataset.compression.name.lower() if dataset.compression else "",
            nodata=self._nodata(),
            alpha=self._alpha(),
            crs=crs.to_string() if crs else None,
            # GDAL reads the world file of a BMP whatever it is told, and that is not watched.
            transform=None if transform.is_identity or dataset.driver == "BMP" else tuple(transform)[:6],
            **self._scaling(),
            decoders={"gdal": rasterio.__gdal_version__, "rasterio": rasterio.__version__},
            notes=() if self._palette is None else ("palette expanded to RGB",),
        )

    def _scaling(self) -> dict[str, Any]:
        """Return scales and offsets; GDAL gives 1 and 0 where the file tells none."""
        is_told = set(self._scales) != {1.0} or set(self._offsets) != {0.0}
        if self._palette is not None or not is_told:
            return {}
        return {
            "scales": tuple(self._scales[channel] for channel in self._channels),
            "offsets": tuple(self._offsets[channel] for channel in self._channels),
        }

    def _nodata(self) -> tuple[int | float | None, ...] | None:
        """Return the nodata value of each channel; None where no sample can have one."""
        dtype, values = self._dtype(), self._dataset.nodatavals
        if self._palette is not None:
            return None
        if dtype.kind in "iu" and dtype.itemsize == 8 and self._dataset.driver == VRT:
            # rasterio gives them as float64, which does not have them all.
            bands = ElementTree.parse(self._path).getroot().iterfind("VRTRasterBand")
            values = [band.findtext("NoDataValue") for band in bands]
        found = tuple(
            None if values[one] is None else declared_nodata(str(values[one]), dtype)
            for one in self._channels
        )
        return None if set(found) == {None} else found

    def _alpha(self) -> int | None:
        if self._palette is not None:
            return ALPHA if self._palette.shape[1] == ALPHA else None
        colors = self._dataset.colorinterp
        return colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None

    def _dtype(self) -> np.dtype:
        if self._palette is not None:
            return self._palette.dtype
        names = {self._dataset.dtypes[channel] for channel in self._channels}
        if any(name.startswith("complex") for name in names):
            raise complex_error()
        if len(names) > 1:
            raise ImageError(f"its channels are of several types: {', '.join(sorted(names))}")
        return np.dtype(names.pop())

    def _cache_bytes(self) -> int:
        """Return the size of a cache that holds a row of blocks between two reads."""
        dataset = self._dataset
        block_width = dataset.block_shapes[0][1]
        width = -(-dataset.width // block_width) * block_width
        pixel_bytes = sum(np.dtype(name).itemsize for name in dataset.dtypes)
        rows_bytes = self._block_height * width * pixel_bytes
        return max(MIN_CACHE_BYTES, 2 * rows_bytes, 2 * self._block_bytes)

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        bands = [channel + 1 for channel in self._channels]
        options = OPTIONS | {"GDAL_CACHEMAX": self._cache_bytes(), "GDAL_NUM_THREADS": threads}
        palette = None if self._palette is None else self._palette[:, list(self._channels)]
        # GDAL takes the number of threads from when it opens a file.
        with _gdal_errors("cannot be opened again", self._path), rasterio.Env(**options):
            source = _Rows(self._held.enter_context(self._open()), bands, palette, options)
        pipeline = StripePipeline(source, BlockGrid.from_windows(blocks), self.info, planar=palette is None)
        needed = pipeline.memory_bytes() + self._cache_bytes()
        require_memory(needed, self._memory_mb, "reading the image block by block")
        return pipeline.blocks()


class _Rows:
    """Rows of a rasterio dataset."""

    def __init__(self, dataset, bands: list[int], palette: np.ndarray | None, options: dict):
        self._dataset, self._bands, self._palette, self._options = dataset, bands, palette, options

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`."""
        window = RasterWindow(left, top, right - left, bottom - top)
        doing = f"rows {top:,} to {bottom:,} cannot be decoded"
        with _gdal_errors(doing, self._dataset.name), rasterio.Env(**self._options):
            if self._palette is None:
                out[...] = self._dataset.read(self._bands, window=window).transpose(1, 2, 0)
                return
            out[...] = self._palette[self._dataset.read(1, window=window)]
            if self._dataset.count == 2 and ALPHA in self._bands:
                out[..., np.equal(self._bands, ALPHA)] = self._dataset.read(2, window=window)[..., None]


def _checked_blocks(path: str) -> tuple[int, int]:
    """Return the height in pixels of the tallest block of an image and its sources, and bytes of the largest.

    An image that GDAL reads from files other than these, which its hash covers, is refused. All sources are
    opened for it: where a VRT cannot open one at first, it may give zeros later and be silent.
    """
    sources = find_sources(path)
    if sources.problem:
        raise ImageError(sources.problem, LOCAL_HINT)
    tallest, largest, watched = 1, 0, {os.path.realpath(name) for name in (path, *sources.files)}
    for name in (path, *sources.files):
        where = "" if name == path else f"its source {os.path.basename(name)}: "
        try:
            with _gdal_errors("not an image that quadrat can read", name), open_local(name) as image:
                used, shapes = image.files, image.block_shapes
                # A block may hold all bands. numpy does not have all of GDAL's complex types.
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
    return tallest, largest


@contextmanager
def _gdal_errors(doing: str, path: str) -> Iterator[None]:
    """Turn what GDAL raises on broken data into an ImageError that does not name the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # most images are not
        try:
            yield
        except RasterioError as error:
            # rasterio's own message only points to the one of GDAL
            reason = (
                str(error.__cause__ or error).splitlines()[0].replace(f"'{path}'", "it").replace(path, "it")
            )
            if "not recognized" in reason:
                raise ImageError(
                    f"{doing}: its format is none of those in docs/formats.md", CONVERT
                ) from error
            raise ImageError(f"{doing}: {reason.rstrip('.')}") from error


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
