"""Codecs of TIFF segments that keep all bytes: LZW, deflate, ZSTD and LZMA."""

import math
import struct
from collections.abc import Sequence
from threading import local

import imagecodecs
import numpy as np
import tifffile

from quadrat.images.tiff.tags import dtype_of


class Scratch:
    """Arrays of one type, in memory that a thread uses again.

    Parameters
    ----------
    dtype : numpy.dtype
    """

    def __init__(self, dtype: np.dtype):
        self._dtype, self._memory = dtype, local()

    def array(self, *shape: int) -> np.ndarray:
        """Return an array of a shape, of any content; it is valid until this thread asks for another."""
        size = math.prod(shape)
        if getattr(self._memory, "samples", np.empty(0)).size < size:
            self._memory.samples = np.empty(size, self._dtype)
        return self._memory.samples[:size].reshape(shape)


DEFLATE = (8, 32946, 50013)

# ZSTD (with the number of old files) and LZMA too: they write into given memory, and report how much.
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
        """Return whether the codec of a page returns the bytes of its samples, or differences of them."""
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
            Valid until this thread decodes again. None if a segment is broken or has another size.
        """
        pixels = self._scratch.array(sum(heights), self._width, self._samples)
        row_bytes = pixels.strides[0]
        memory = pixels.reshape(-1).view(np.uint8)
        start = 0
        for data, height in zip(segments, heights, strict=True):
            stop = start + height * row_bytes
            try:
                decoded = self._decompress(data, out=memory[start:stop])
            except RuntimeError:  # the base of all errors of imagecodecs
                return None
            if len(decoded) != stop - start:
                return None
            start = stop
        return pixels if self._unpredict is None else self._unpredict(pixels, axis=-2, out=pixels)


LZW = 5

# Types of a tag's value (TIFF 6.0, section 2; 16 is BigTIFF's), as struct packs them into eight bytes.
FORMATS = {3: "H6x", 4: "I4x", 16: "Q"}
HEADER_BYTES, ENTRY_BYTES = 16, 20


class LzwDecoder:
    """Decodes segments of a page by handing each to libtiff as a file of its own, of one strip.

    Parameters
    ----------
    page : tifffile.TiffPage
        For which `can_decode` is true.
    """

    def __init__(self, page: tifffile.TiffPage):
        self._order = page.parent.byteorder
        self._width = page.tilewidth if page.is_tiled else page.imagewidth
        self._samples = page.shaped[-1]
        self._scratch = Scratch(dtype_of(page))
        self._tags = {258: (3, page.bitspersample), 259: (3, LZW), 262: (3, 1), 277: (3, self._samples)}
        self._tags |= {317: (3, page.predictor), 339: (3, page.sampleformat)}

    @staticmethod
    def can_decode(page: tifffile.TiffPage) -> bool:
        """Return whether the segments of a page are LZW of samples that libtiff returns in numpy's form."""
        return (
            page.compression == LZW
            and page.predictor in (1, 2, 3)
            and page.sampleformat in (1, 2, 3)
            and page.bitspersample in (8, 16, 32, 64)
            and page.fillorder == page.imagedepth == 1
        )

    def decode(self, data: bytes | bytearray, rows: int) -> np.ndarray:
        """Return the pixels of a segment as (rows, width, sample) array.

        It is valid until this thread decodes again.

        Raises
        ------
        imagecodecs.TiffError
            If the data are broken, or too few for `rows`.
        """
        tags = self._tags | {256: (4, self._width), 257: (4, rows), 278: (4, rows), 279: (16, len(data))}
        start = HEADER_BYTES + 8 + ENTRY_BYTES * (len(tags) + 1) + 8
        tags[273] = 16, start
        directory = b"".join(
            struct.pack(f"{self._order}HHQ{FORMATS[kind]}", tag, kind, 1, value)
            for tag, (kind, value) in sorted(tags.items())
        )
        mark = b"II" if self._order == "<" else b"MM"
        header = struct.pack(f"{self._order}2sHHHQQ", mark, 43, 8, 0, HEADER_BYTES, len(tags))
        pixels = self._scratch.array(rows, self._width, self._samples)
        # libtiff leaves out the axis of a single sample.
        out = pixels if self._samples > 1 else pixels[..., 0]
        imagecodecs.tiff_decode(b"".join((header, directory, bytes(8), data)), out=out)
        return pixels
