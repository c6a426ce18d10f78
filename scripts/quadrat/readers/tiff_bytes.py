"""Segments whose codec gives bytes, not pixels: decoded into the memory of their thread, several at once."""

from collections.abc import Sequence

import numpy as np
import tifffile

from quadrat.readers.scratch import Scratch
from quadrat.readers.tiff_tags import dtype_of

DEFLATE = (8, 32946, 50013)
# And ZSTD (the number of old files too) and LZMA: they write into given memory, and tell how much.
BYTE_CODECS = (*DEFLATE, 34926, 50000, 34925)
SAMPLE_FORMATS = (1, 2, 3)  # unsigned, signed, floating point


class ByteDecoder:
    """Decodes neighbouring segments of a page, one below the other, as tifffile does one by one.

    Parameters
    ----------
    page : tifffile.TiffPage
        For which `can_decode` is true.
    """

    def __init__(self, page: tifffile.TiffPage):
        self._samples = page.shaped[-1]
        self._width = page.tilewidth if page.is_tiled else page.imagewidth
        self._decompress = tifffile.TIFF.DECOMPRESSORS[page.compression]
        self._unpredict = tifffile.TIFF.UNPREDICTORS[page.predictor] if page.predictor == 2 else None
        self._scratch = Scratch(dtype_of(page))

    @staticmethod
    def can_decode(page: tifffile.TiffPage) -> bool:
        """Tell whether the bytes that the codec of a page gives are its samples, or differences of them."""
        return (
            page.compression in BYTE_CODECS
            and page.predictor in (1, 2)
            and page.sampleformat in SAMPLE_FORMATS
            and page.bitspersample in (8, 16, 32, 64)
            and dtype_of(page).newbyteorder(page.parent.byteorder) == page.dtype
            and page.fillorder == page.imagedepth == 1
        )

    def decode(self, segments: Sequence[bytes | memoryview], heights: Sequence[int]) -> np.ndarray | None:
        """Return the pixels of segments of these heights.

        Returns
        -------
        (height, width, sample) array or None
            Valid until this thread decodes again. None if one of them is broken or not of its size.
        """
        pixels = self._scratch.array(sum(heights), self._width, self._samples)
        row_bytes = pixels.strides[0]
        memory = pixels.reshape(-1).view(np.uint8)
        start = 0
        for data, height in zip(segments, heights, strict=True):
            stop = start + height * row_bytes
            try:
                decoded = self._decompress(data, out=memory[start:stop])
            except RuntimeError:  # of which all errors of imagecodecs are
                return None
            if len(decoded) != stop - start:
                return None
            start = stop
        return pixels if self._unpredict is None else self._unpredict(pixels, axis=-2, out=pixels)
