"""LERC segments of a TIFF: their mask becomes NaN or an alpha channel, as in libtiff."""

import math

import imagecodecs
import numpy as np
import tifffile

from quadrat.errors import ImageError
from quadrat.images.tiff.metadata import alpha_of
from quadrat.images.tiff.tags import dtype_of

LERC = 34887
PARAMETERS_TAG = 50674
SLACK_BYTES = 1 << 16
INNER = {1: imagecodecs.zlib_decode, 2: imagecodecs.zstd_decode}


class LercDecoder:
    """Decodes the segments of a page.

    Parameters
    ----------
    page : tifffile.TiffPage
        Compressed with LERC.
    """

    def __init__(self, page: tifffile.TiffPage):
        self._dtype = page.dtype
        self._shape = page.tilewidth if page.is_tiled else page.imagewidth, page.shaped[-1]
        self._has_alpha = page.dtype == np.uint8 and alpha_of(page) == page.shaped[-1] > 1
        _, inner = page.tags.valueof(PARAMETERS_TAG, (0, 0))
        self._inner = INNER.get(inner)
        rows = page.tilelength if page.is_tiled else page.rowsperstrip
        self._most = 2 * rows * math.prod(self._shape) * dtype_of(page).itemsize + SLACK_BYTES

    def unwrapped(self, data: bytes) -> bytes | bytearray:
        """Return the LERC blob of a segment, which may be compressed once more."""
        return self._inner(data, out=self._most) if self._inner else data

    def decode(self, data: bytes | bytearray, rows: int) -> np.ndarray:
        """Return the pixels of a blob as (rows, width, sample) array.

        Raises
        ------
        ImageError
            If they are of another size or type.
        """
        pixels, mask = imagecodecs.lerc_decode(data, masks=True)
        if mask is not None and mask.ndim == 3:  # each sample has its own, and comes after the other
            pixels, mask = np.moveaxis(pixels, 0, -1), np.moveaxis(mask, 0, -1)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        width, samples = self._shape
        if self._has_alpha and pixels.shape[2] == samples - 1:
            alpha = np.full(pixels.shape[:2], 255, np.uint8) if mask is None else mask * np.uint8(255)
            pixels = np.dstack([pixels, alpha])
        elif pixels.dtype.kind == "f" and mask is not None:
            pixels[~mask] = np.nan
        if pixels.shape != (rows, width, samples) or pixels.dtype != self._dtype:
            expected = f"{rows} x {width} x {samples} {self._dtype}"
            found = f"{' x '.join(map(str, pixels.shape))} {pixels.dtype}"
            raise ImageError(f"broken: a LERC segment contains {found}, {expected} expected")
        return pixels
