"""Mask: the channel within a file that shows which of its pixels are data, read by GDAL."""

import os
from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import replace

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.drivers import open_local
from quadrat.images.gdal import MIN_CACHE_BYTES, OPTIONS, alpha_of
from quadrat.images.image import HeldFiles, ImageInfo, Reader
from quadrat.images.rows import StripePipeline


class MaskFile(HeldFiles):
    """The mask of a file at its levels.

    Parameters
    ----------
    path : str
    image : rasterio.io.DatasetReader
        The file at full resolution; closed with this one.
    alpha : int or None
        The channel that is read as mask, counted from 1; None for the mask that GDAL has.
    """

    def __init__(self, path: str, image: DatasetReader, alpha: int | None):
        self._path, self._image, self._alpha = path, image, alpha
        self._held = ExitStack()
        self._held.enter_context(image)

    def reader(self, level: int) -> Reader:
        """Return a reader of the mask of a level."""
        if not level:
            return MaskReader(self._image, self._alpha)
        overview = self._held.enter_context(_open(self._path, overview_level=level - 1))
        return MaskReader(overview, self._alpha)


def open_mask(path: str, with_values: bool = True) -> MaskFile | None:
    """Return the mask that GDAL has of a file besides its alpha and the nodata values of its samples.

    The nodata value of a palette image is an index, which is lost once the pixels are colours. Alpha of
    another type than the other channels is a mask, since it cannot be read along with them.

    Parameters
    ----------
    path : str
    with_values : bool, optional
        Whether a mask counts that GDAL makes of the nodata values that the file declares. Default: yes.
    """
    try:
        with ExitStack() as held:
            image = held.enter_context(_open(path))
            alpha = alpha_of(image, has_their_type=False)
            if not alpha and not _is_masked(image, with_values):
                return None
            held.pop_all()
            return MaskFile(path, image, alpha)
    except RasterioError:
        return None


def _open(path: str, **overview: int) -> DatasetReader:
    with rasterio.Env(**OPTIONS):
        return open_local(os.path.abspath(path), **overview)


def _is_masked(image: DatasetReader, with_values: bool) -> bool:
    flags = image.mask_flag_enums[0] if image.count else []
    if flags == [MaskFlags.nodata]:
        return with_values and ColorInterp.palette in image.colorinterp[:1]
    is_of_values = MaskFlags.nodata in flags and not with_values
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags and not is_of_values


class MaskReader:
    """Reads a mask as an image of one channel: 255 where a pixel is data, 0 where it is not.

    Parameters
    ----------
    dataset : rasterio.io.DatasetReader
        Of the level.
    alpha : int or None
        The channel that is read as mask, counted from 1; None for the mask that GDAL has.

    Attributes
    ----------
    info : ImageInfo
    """

    def __init__(self, dataset: DatasetReader, alpha: int | None):
        self._dataset, self._alpha = dataset, alpha
        height, width = dataset.height, dataset.width
        self.info = ImageInfo("mask", height, width, 1, np.dtype(np.uint8), 1, width)

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        return StripePipeline(self, BlockGrid.from_windows(blocks), self.info).blocks()

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`."""
        window = RasterWindow(left, top, right - left, bottom - top)
        try:
            with rasterio.Env(**OPTIONS, GDAL_CACHEMAX=MIN_CACHE_BYTES):
                if self._alpha:
                    out[..., 0] = 255 * (self._dataset.read(self._alpha, window=window) != 0)
                else:
                    out[..., 0] = self._dataset.read_masks(1, window=window)
        except RasterioError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ImageError(f"rows {top:,} to {bottom:,} of its mask cannot be decoded: {reason}") from error


class MaskedReader:
    """Reads an image and its mask as one more channel.

    Parameters
    ----------
    reader : Reader
    mask : Reader
        Of the same size, with one channel.

    Attributes
    ----------
    info : ImageInfo
        With the channel of the mask, which is 1 where a pixel is data and 0 where it is not.
    """

    def __init__(self, reader: Reader, mask: Reader):
        self._reader, self._mask = reader, mask
        info = reader.info
        self.info = replace(
            info,
            channels=info.channels + 1,
            nodata=info.nodata and (*info.nodata, None),
            scales=info.scales and (*info.scales, 1.0),
            offsets=info.offsets and (*info.offsets, 0.0),
        )

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        blocks = list(blocks)
        wanted = wanted if wanted is None else list(wanted)
        pixels, masks = (one.read_blocks(blocks, threads, wanted) for one in (self._reader, self._mask))
        return self._joined(pixels, masks)

    def _joined(
        self, pixels: Generator[np.ndarray, None, None], masks: Generator[np.ndarray, None, None]
    ) -> Generator[np.ndarray, None, None]:
        buffer = np.empty((0, 0, 0), self.info.dtype)
        with closing(pixels), closing(masks):
            for block, mask in zip(pixels, masks, strict=True):
                shape = (*block.shape[:2], self.info.channels)
                if buffer.shape != shape:
                    buffer = np.empty(shape, self.info.dtype)
                buffer[..., :-1] = block
                buffer[..., -1] = mask[..., 0] != 0
                yield buffer
