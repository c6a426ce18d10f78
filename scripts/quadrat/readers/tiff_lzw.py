"""LZW segments of a TIFF: libtiff decodes them in 0.6 of the time of imagecodecs' own LZW decoder."""

import struct

import imagecodecs
import numpy as np
import tifffile

from quadrat.readers.scratch import Scratch
from quadrat.readers.tiff_tags import dtype_of

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
        """Tell whether the segments of a page are LZW of samples that libtiff gives as numpy has them."""
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
        # libtiff knows no axis of samples where there is one.
        out = pixels if self._samples > 1 else pixels[..., 0]
        imagecodecs.tiff_decode(b"".join((header, directory, bytes(8), data)), out=out)
        return pixels
