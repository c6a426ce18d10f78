"""Coded TIFF segments: strips and tiles that a codec decodes whole."""

from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import tifffile

from quadrat.errors import ImageError
from quadrat.readers.budget import require_memory
from quadrat.readers.codestreams import claimed_size
from quadrat.readers.reader import CONVERT
from quadrat.readers.segment_plan import segments_together
from quadrat.readers.tiff_bytes import DEFLATE, ByteDecoder
from quadrat.readers.tiff_lzw import LZW, LzwDecoder
from quadrat.readers.tiff_pages import JPEG_FAMILY, tifffile_errors
from quadrat.readers.tiff_planes import row_bytes
from quadrat.readers.tiff_segments import OpenLevel, TiffSegments, read_exactly, spans

# Bytes that one byte can at most decode to. Deflate: 1032 (RFC 1951); PackBits: 64 (TIFF 6.0, section 9);
# LZW: a string of 4096 bytes in a code of 12 bit. Other codecs have no limit: this stops bombs.
EXPANSION = dict.fromkeys(DEFLATE, 1100) | {32773: 64, LZW: 4096}
EXPANSION_OF_OTHERS = 1_000_000
SLACK_BYTES = 4096
JPEG_2000, JPEG_XL, JPEG_XR = (33003, 33004, 33005, 34712), (50002, 52546), (22610, 34934)
WEBP, LERC, PNG = (50001, 34927), 34887, 34933
# Codecs that allocate what the header of each segment claims, whatever the TIFF says. Some writers pad.
SELF_SIZED = {*JPEG_FAMILY, *JPEG_2000, *JPEG_XL, *JPEG_XR, *WEBP, LERC, PNG}
PADDED_PIXELS = 1 << 20
# OpenJPEG and libjxl work on 32-bit samples and hold them twice.
WORKING_BYTES = dict.fromkeys(JPEG_2000 + JPEG_XL, 8)


class CodedSegments(TiffSegments):
    """Segments that a codec decodes whole.

    Parameters
    ----------
    opened : OpenLevel

    Raises
    ------
    ImageError
        If a segment claims more pixels than its bytes can hold.
    MemoryBudgetError
        If a segment does not fit the memory, and cannot be decoded row by row.
    """

    def __init__(self, opened: OpenLevel):
        super().__init__(opened)
        page, samples = self.page, self.stored_height * self.stored_width * self.samples
        self.rows = spans(range(0, self.height, self.stored_height), self.height)
        self._tables = {"jpegheader": page.jpegheader} if page.compression in JPEG_FAMILY else {}
        self._bytes = ByteDecoder(page) if ByteDecoder.can_decode(page) else None
        self._lzw = LzwDecoder(page) if LzwDecoder.can_decode(page) else None
        self._check_expansion()
        self.segment_bytes = samples * page.dtype.itemsize
        largest = max(int(stored.counts.max()) for stored in self._stored)
        decoded = self.segment_bytes
        if self._palette is not None:
            decoded += samples * (np.dtype(np.intp).itemsize + self._palette[0].nbytes)
        alone = largest + self.segment_bytes + decoded + samples * WORKING_BYTES.get(page.compression, 0)
        others = segments_together(self.segment_bytes) - 1
        self.decode_bytes = alone + others * (largest + (decoded if self._bytes else 0))
        if not self.can_stream:
            kind = f"{tifffile.COMPRESSION(page.compression).name} {'tile' if page.is_tiled else 'strip'}"
            what = f"decoding one {kind} of {self.stored_width:,} x {self.stored_height:,} px"
            require_memory(alone, opened.memory_mb, what, CONVERT)

    @property
    def can_stream(self) -> bool:
        """Whether the rows of a segment can be decoded one after the other, with flat memory."""
        page = self.page
        return (
            page.compression in DEFLATE
            and page.predictor in (1, 2, 3)
            and page.fillorder == page.imagedepth == 1
            and page.bitspersample in (8, 16, 32, 64)
        )

    def _check_expansion(self) -> None:
        limit = EXPANSION.get(self.page.compression, EXPANSION_OF_OTHERS)
        claimed = self.stored_rows() * row_bytes(self.page)
        for plane, stored in enumerate(self._stored):
            over = np.flatnonzero(
                (stored.counts > 0) & (claimed > limit * stored.counts.astype(float) + SLACK_BYTES)
            )
            if len(over):
                raise ImageError(
                    f"broken: {self.name(plane, over[0])} claims {claimed[over[0]]:,.0f} bytes of pixels "
                    f"in {stored.counts[over[0]]:,} bytes of data"
                )

    def read(self, plane: int, rows: range, cols: range) -> Iterator[tuple[range, int, np.ndarray | None]]:
        """Yield neighbouring segments; see `quadrat.readers.segment_pipeline.SegmentTable`."""
        stored = self._stored[plane]
        numbers = [row * len(self.cols) + col for row in rows for col in cols]
        places = zip(stored.offsets[numbers].tolist(), stored.counts[numbers].tolist(), strict=True)
        segments = zip(numbers, _read_together(self.fd, list(places)), strict=True)
        for (col, _), stack in groupby(segments, key=lambda one: (one[0] % len(self.cols), not one[1])):
            yield from self._decoded(plane, col, list(stack))

    def _decoded(
        self, plane: int, col: int, stack: list[tuple[int, bytes]]
    ) -> Iterator[tuple[range, int, np.ndarray | None]]:
        """Yield segments of one column: together, or what is missing or special one by one."""
        rows = range(stack[0][0] // len(self.cols), stack[-1][0] // len(self.cols) + 1)
        if self._bytes and stack[0][1]:
            pixels = self._bytes.decode([data for _, data in stack], [self._stored_rows(row) for row in rows])
            if pixels is not None:
                yield rows, col, self.finished(pixels)
                return
        for row, (number, data) in zip(rows, stack, strict=True):
            pixels = self._decoded_alone(plane, number, bytes(data)) if data else None
            yield range(row, row + 1), col, self.finished(pixels)

    def _decoded_alone(self, plane: int, number: int, data: bytes) -> np.ndarray:
        with tifffile_errors(lambda: f"{self.name(plane, number)} cannot be decoded"):
            self._check_claim(data, plane, number)
            if self._lzw:
                return self._lzw.decode(data, self._stored_rows(number // len(self.cols)))
            stored = self._stored[plane]
            tables = self._tables | {"jpegtables": stored.jpeg_tables} if self._tables else {}
            return self.page.decode(data, stored.first_index + number, **tables)[0][0]

    def _stored_rows(self, row: int) -> int:
        return self.stored_height if self.page.is_tiled else self.rows.size(row)

    def _check_claim(self, data: bytes, plane: int, number: int) -> None:
        size = claimed_size(data) if self.page.compression in SELF_SIZED else None
        if size and size[0] * size[1] > 2 * self.stored_height * self.stored_width + PADDED_PIXELS:
            raise ImageError(
                f"broken: {self.name(plane, number)} claims {size[1]:,} x {size[0]:,} px, "
                f"{self.stored_width:,} x {self.stored_height:,} expected"
            )


def _read_together(fd: int, places: list[tuple[int, int]]) -> Iterator[bytes | memoryview]:
    """Yield the bytes at each (offset, count), read at once where they follow each other in the file."""
    if any(offset + count != following for (offset, count), (following, _) in pairwise(places)):
        for offset, count in places:
            yield read_exactly(fd, count, offset) if count else b""
        return
    start = places[0][0]
    data = memoryview(read_exactly(fd, sum(count for _, count in places), start))
    for offset, count in places:
        yield data[offset - start : offset - start + count]
