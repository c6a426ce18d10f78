"""TIFF reader: every TIFF that tifffile decodes, each stored segment decoded once."""

from collections.abc import Generator, Iterable
from contextlib import ExitStack
from functools import cached_property

import imagecodecs
import numpy as np
import tifffile

from quadrat.errors import MemoryBudgetError
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.budget import require_memory
from quadrat.images.image import ImageFile, ImageInfo, Level, Reader
from quadrat.images.rows import StripePipeline
from quadrat.images.segment_pipeline import SegmentPipeline
from quadrat.images.selection import channel_indices
from quadrat.images.tiff.coded import CodedSegments
from quadrat.images.tiff.metadata import (
    alpha_of,
    crs_of,
    gdal_crs,
    has_own_crs,
    nodata_of,
    place_notes,
    sample_notes,
    scaling_of,
    transform_of,
)
from quadrat.images.tiff.mpp import mpp_notes, mpp_of
from quadrat.images.tiff.pages import (
    PALETTE,
    TiffImagePages,
    TiffLevel,
    image_in,
    level_of,
    open_tiff,
    reading_metadata,
    stitched_vendor,
)
from quadrat.images.tiff.raw import RawSegments, is_raw
from quadrat.images.tiff.segments import OpenLevel, available_channels
from quadrat.images.tiff.tags import check_tags, dtype_of

# Deflate segments that decode to more are decoded row by row: on one thread, but in little memory.
STREAM_BYTES = 1 << 27


class TiffImage(ImageFile):
    """An open TIFF file.

    Parameters
    ----------
    path : str
    plane : dict of str to int, or None
        Which plane and series, counted from 1; None for the first.

    Attributes
    ----------
    vendor : str or None
        As OpenSlide calls it, of a slide that OpenSlide puts together.

    Raises
    ------
    ImageError
        If the metadata of the file are broken.
    """

    def __init__(self, path: str, plane: dict[str, int] | None):
        self._path, self._plane = path, plane
        self._opened: dict[int, TiffLevel] = {}
        with ExitStack() as held:
            self._tif, self._notes = open_tiff(path, held)
            with reading_metadata(path):
                self.vendor = stitched_vendor(self._tif)
            self._held = held.pop_all()

    @cached_property
    def _image(self) -> TiffImagePages:
        return image_in(self._tif, self._plane, self._notes)

    @cached_property
    def _crs(self) -> str | None:
        base = self._image.base
        return gdal_crs(self._path) if has_own_crs(base) else crs_of(base)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels that the file stores."""
        with reading_metadata(self._path):
            return self._image.levels()

    @property
    def largest_tile(self) -> int:
        """Pixels of the largest tile that the file stores."""
        with reading_metadata(self._path):
            pages = [page.aspage() for page in self._tif.pages]
            for page in pages:
                check_tags(page)
            return max(page.tilelength * page.tilewidth for page in pages)

    def reader(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None) -> Reader:
        """Return a reader of a level; see `ImageFile.reader`."""
        with reading_metadata(self._path):
            if level not in self._opened:
                self._opened[level] = level_of(self._image, level)
            opened = self._opened[level]
            wanted = channel_indices(channels, available_channels(opened))
            table = RawSegments if is_raw(opened.page) else CodedSegments
            segments = table(OpenLevel(self._tif.filehandle.fileno(), opened, wanted, memory_mb))
            return TiffReader(segments, _info(opened, segments, wanted, self._crs), memory_mb)


class TiffReader:
    """Reads one level of one image of a TIFF file.

    Parameters
    ----------
    segments : TiffSegments
        Of the level.
    info : ImageInfo
    memory_mb : float or None
        Memory that buffers and decoding may take, in megabytes; None for no limit.

    Attributes
    ----------
    info : ImageInfo
    segments_decoded : int
        Segments that the latest `read_blocks` has decoded so far.
    """

    def __init__(self, segments: RawSegments | CodedSegments, info: ImageInfo, memory_mb: float | None):
        self._segments, self.info, self._memory_mb = segments, info, memory_mb
        self._pipeline: SegmentPipeline | None = None

    @property
    def segments_decoded(self) -> int:
        """Segments that the latest `read_blocks` has decoded so far."""
        return self._pipeline.segments_decoded if self._pipeline else 0

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are decoded; see `Reader.read_blocks`."""
        grid, segments = BlockGrid.from_windows(blocks), self._segments
        streamed = segments if isinstance(segments, CodedSegments) and segments.can_stream else None
        if streamed and segments.segment_bytes > STREAM_BYTES:
            return self._streamed(streamed, grid, threads)
        try:
            self._pipeline = SegmentPipeline(segments, grid, self.info, threads, self._memory_mb, wanted)
        except MemoryBudgetError:
            if streamed:
                return self._streamed(streamed, grid, threads)
            raise
        return self._pipeline.blocks()

    def _streamed(
        self, segments: CodedSegments, grid: BlockGrid, threads: int
    ) -> Generator[np.ndarray, None, None]:
        """Yield blocks of segments that are too large to be decoded whole."""
        from quadrat.images.tiff.inflated import DeflateRows

        rows = DeflateRows(segments, threads)
        pipeline = StripePipeline(rows, grid, self.info, segments.planar)
        needed = pipeline.memory_bytes() + rows.memory_bytes()
        require_memory(needed, self._memory_mb, "decoding the image row by row")
        return pipeline.blocks()


def _info(level: TiffLevel, segments, channels: tuple[int, ...], crs: str | None) -> ImageInfo:
    page, base, nodata = level.page, level.base, nodata_of(level.base, dtype_of(level.page))
    return ImageInfo(
        format="TIFF",
        height=page.imagelength,
        width=page.imagewidth,
        channels=len(channels),
        dtype=segments.dtype,
        segment_height=page.tilelength if page.is_tiled else page.rowsperstrip,
        segment_width=page.tilewidth if page.is_tiled else page.imagewidth,
        seek_height=segments.rows.largest,
        level=level.level,
        level_count=level.level_count,
        downsample=level.downsample,
        full_size=(base.imagelength, base.imagewidth),
        is_first=level.is_first,
        compression=tifffile.COMPRESSION(page.compression).name.lower().removeprefix("adobe_"),
        nodata=None if nodata is None or page.photometric == PALETTE else (nodata,) * len(channels),
        alpha=alpha_of(base),
        crs=crs,
        transform=transform_of(base),
        mpp=mpp_of(base),
        **scaling_of(base, channels),
        decoders={"tifffile": tifffile.__version__, "imagecodecs": imagecodecs.__version__},
        notes=(
            *(*level.notes, *sample_notes(page), *segments.notes),
            *(*place_notes(base), *mpp_notes(base)),
        ),
    )
