"""Mask: the channel within a file that tells which of its pixels are data, read by GDAL."""

import os
import warnings
from collections.abc import Generator, Iterable
from typing import Self

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.drivers import open_local
from quadrat.images.gdal import MIN_CACHE_BYTES, OPTIONS
from quadrat.images.image import ImageInfo
from quadrat.images.rows import StripePipeline


def has_mask(path: str) -> bool:
    """Return whether GDAL has a mask of a file besides its alpha and the nodata values of its samples.

    The nodata value of a palette image is an index, which the colours do not show any more.
    """
    with warnings.catch_warnings(), rasterio.Env(**OPTIONS):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with open_local(os.path.abspath(path)) as image:
                if not image.count:
                    return False
                flags = image.mask_flag_enums[0]
                if flags == [MaskFlags.nodata]:
                    return ColorInterp.palette in image.colorinterp[:1]
                return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        except RasterioError:
            return False


class MaskReader:
    """Reads a mask as an image of one channel: 255 where a pixel is data, 0 where it is not.

    Parameters
    ----------
    path : str
    level : int

    Attributes
    ----------
    info : ImageInfo
    """

    def __init__(self, path: str, level: int):
        overview = {"overview_level": level - 1} if level else {}
        with warnings.catch_warnings(), rasterio.Env(**OPTIONS):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            self._dataset = open_local(os.path.abspath(path), **overview)
        height, width = self._dataset.height, self._dataset.width
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
                out[..., 0] = self._dataset.read_masks(1, window=window)
        except RasterioError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ImageError(f"rows {top:,} to {bottom:,} of its mask cannot be decoded: {reason}") from error

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()
