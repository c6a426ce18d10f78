"""OpenSlide reader: slides of many files, and slides whose tiles must be stitched."""

import math
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import openslide
from PIL import Image

from quadrat.errors import ImageError
from quadrat.files.sources import find_sources
from quadrat.files.text import show
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid, Spans
from quadrat.images.budget import MB, require_memory
from quadrat.images.image import ImageFile, ImageInfo, Level, Reader
from quadrat.images.segment_pipeline import SegmentPipeline, SegmentTable
from quadrat.images.selection import as_slice, channel_indices, check_level, downsample_of
from quadrat.images.slide_claims import MOST_SIDE, check_claims

# Slides are read in squares of the usual patch; OpenSlide keeps the stored tiles that neighbours share.
SQUARE = 512
CACHE_BYTES = 64 * MB
RGB, RGBA_BYTES = 3, 4
BACKGROUND = "ffffff"
REFUSED = "not a slide that OpenSlide can read"
CONVERT = "copy it again; if it is whole, export it as OME-TIFF, with QuPath or bfconvert"
# Starts of OpenSlide's errors that name its own work, not the file.
SURPLUS = re.compile(r"^(Can(no|')t hash (images|TIFF tiles): |TIFFRGBAImageGet failed, last error: )")
# A property that OpenSlide copies from there.
TILE_SIDE = r"mirax\..+\.DIGITIZER_(WIDTH|HEIGHT)"


class OpenSlideImage(ImageFile):
    """An open slide.

    Parameters
    ----------
    path : str
    vendor : str
        OpenSlide's name of the format that it must be.
    largest_tile : int, optional
        Pixels of the largest tile that a TIFF stores. Default: what other slides claim.

    Raises
    ------
    ImageError
        If OpenSlide cannot read the slide.
    """

    def __init__(self, path: str, vendor: str, largest_tile: int | None = None):
        self._path, sources = path, find_sources(path)
        if sources.problem:
            raise ImageError(sources.problem, "keep the slide and its folder together, as they were written")
        checked = check_claims(path, vendor, sources.files)
        with ExitStack() as held, _openslide_errors(path):
            # Other formats of OpenSlide could have the ending of this one and name files anywhere.
            found = openslide.OpenSlide.detect_format(checked.path)
            if found != vendor:
                raise ImageError(f"{REFUSED}: it is {found or 'of no known format'}", CONVERT)
            self._slide = held.enter_context(openslide.OpenSlide(checked.path))
            self._slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
            _check_size(self._slide)
            largest = largest_tile if checked.largest_tile is None else checked.largest_tile
            self._tile_bytes = RGBA_BYTES * (_mrxs_tile(self._slide) if largest is None else largest)
            self._notes = checked.notes
            self._held = held.pop_all()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that the slide stores."""
        shapes = [(height, width) for width, height in self._slide.level_dimensions]
        return tuple(Level(i, shape, downsample_of(shapes[0], shape)) for i, shape in enumerate(shapes))

    def reader(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None) -> Reader:
        """Return a reader of a level; see `ImageFile.reader`. Its memory holds a tile and a cache."""
        picked = channel_indices(channels, RGB)
        with _openslide_errors(self._path):
            check_level(level, self._slide.level_count)
            squares = _Squares(self._slide, level, picked, self._tile_bytes)
            # OpenSlide allocates tiles of the size that the slide claims, and ends the process if it cannot.
            needed = CACHE_BYTES + squares.decode_bytes
            require_memory(needed, memory_mb, "decoding the tiles of the slide")
            info = _info(self._slide, level, len(picked), squares.background, self._notes)
        return OpenSlideReader(squares, info, memory_mb)


class OpenSlideReader:
    """Reads one level of a slide as RGB.

    Parameters
    ----------
    squares : SegmentTable
    info : ImageInfo
    memory_mb : float or None
        Memory that buffers and decoding may take, in megabytes; None for no limit.
    """

    def __init__(self, squares: SegmentTable, info: ImageInfo, memory_mb: float | None):
        self._squares, self.info, self._memory_mb = squares, info, memory_mb

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are decoded; see `Reader.read_blocks`."""
        grid = BlockGrid.from_windows(blocks)
        return SegmentPipeline(self._squares, grid, self.info, threads, self._memory_mb, wanted).blocks()


class _Squares:
    """Squares of a level; see `quadrat.images.segment_pipeline.SegmentTable`."""

    planar = False
    fill: int | float = 0
    segment_bytes, held_bytes = SQUARE * SQUARE * RGB, CACHE_BYTES

    def __init__(self, slide: openslide.OpenSlide, level: int, channels: tuple[int, ...], tile_bytes: int):
        self._slide, self._level, self._picked = slide, level, as_slice(channels)
        width, height = slide.level_dimensions[level]
        self.rows, self.cols = _square_spans(height), _square_spans(width)
        self.planes: tuple[tuple[int, ...], ...] = (tuple(range(len(channels))),)
        # A stored tile, OpenSlide's pixels, Pillow's copy of them, and the RGB that is made of them.
        self.decode_bytes = tile_bytes + SQUARE * SQUARE * (2 * RGBA_BYTES + RGB)
        self.background = "#" + slide.properties.get("openslide.background-color", BACKGROUND).lower()

    def read(self, plane: int, rows: range, cols: range) -> Iterator[tuple[range, int, np.ndarray]]:
        """Yield (rows, col, pixels) of each square, as (height, width, channel) array."""
        downsample = self._slide.level_downsamples[self._level]
        for row in rows:
            for col in cols:
                y, x = self.rows.starts[row], self.cols.starts[col]
                at_level_0 = round(x * downsample), round(y * downsample)
                size = self.cols.size(col), self.rows.size(row)
                try:
                    region = self._slide.read_region(at_level_0, self._level, size)
                except openslide.OpenSlideError as error:
                    show(f"OpenSlide: {error}")  # its reason names its own work, and the path
                    raise ImageError(f"pixels at y {y:,}, x {x:,} cannot be decoded") from error
                yield range(row, row + 1), col, self._on_background(region)[..., self._picked]

    def _on_background(self, region: Image.Image) -> np.ndarray:
        canvas = Image.new("RGB", region.size, self.background)
        canvas.paste(region, mask=region)
        return np.asarray(canvas)


def _check_size(slide: openslide.OpenSlide) -> None:
    width, height = slide.dimensions
    if not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE):
        raise ImageError(f"broken: its size is {width:,} x {height:,} px")


def _mrxs_tile(slide: openslide.OpenSlide) -> int:
    """Return the pixels of the largest tile that an MRXS claims to store."""
    sides = [int(value) for name, value in slide.properties.items() if re.fullmatch(TILE_SIDE, name)]
    return max(sides, default=0) ** 2


def _square_spans(length: int) -> Spans:
    starts = tuple(range(0, length, SQUARE))
    return Spans(starts, (*starts[1:], length))


@contextmanager
def _openslide_errors(path: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:  # as openslide-python raises it
        raise ImageError(f"{REFUSED}: the name of a property is not valid UTF-8", CONVERT) from error
    except openslide.OpenSlideError as error:
        line = str(error).splitlines()[0].replace(f" {path}", "")
        reason = SURPLUS.sub("", line).replace("Key file", "Slidedat.ini")
        raise ImageError(f"{REFUSED}: {reason}", CONVERT) from error


def _scanned_areas(slide: openslide.OpenSlide) -> tuple[Window, ...]:
    found: list[Window] = []
    while window := _window(slide, f"openslide.region[{len(found)}]."):
        found.append(window)
    return tuple(found)


def _window(slide: openslide.OpenSlide, prefix: str) -> Window | None:
    numbers = [slide.properties.get(prefix + name, "") for name in ("y", "x", "height", "width")]
    return Window(*map(int, numbers)) if all(numbers) else None


def _info(
    slide: openslide.OpenSlide, level: int, channels: int, background: str, notes: tuple[str, ...]
) -> ImageInfo:
    width, height = slide.level_dimensions[level]
    mpp_y, mpp_x = (float(slide.properties.get(f"openslide.mpp-{axis}", 0)) for axis in "yx")
    bounds = _window(slide, "openslide.bounds-")
    return ImageInfo(
        format=slide.properties["openslide.vendor"],
        height=height,
        width=width,
        channels=channels,
        dtype=np.dtype(np.uint8),
        segment_height=SQUARE,
        segment_width=SQUARE,
        level=level,
        level_count=slide.level_count,
        downsample=downsample_of(slide.dimensions[::-1], (height, width)),
        full_size=slide.dimensions[::-1],
        mpp=(mpp_y, mpp_x) if 0 < mpp_y < math.inf and 0 < mpp_x < math.inf else None,
        bounds=bounds,
        scanned=_scanned_areas(slide) or ((bounds,) if bounds else ()),
        decoders={"openslide": openslide.__library_version__, "openslide-python": openslide.__version__},
        notes=(f"what was not scanned is {background}", *notes),
    )
