"""Coded TIFF segments: strips and tiles that a codec decodes whole."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import tifffile

from quadrat.errors import ImageError
from quadrat.readers.budget import require_memory
from quadrat.readers.tiff_pages import CONVERT, JPEG_FAMILY, TiffLevel, tifffile_errors
from quadrat.readers.tiff_planes import row_bytes
from quadrat.readers.tiff_segments import TiffSegments, read_exactly, spans

DEFLATE = (8, 32946, 50013)
# Bytes that one byte can at most decode to. Deflate: 1032 (RFC 1951); PackBits: 64 (TIFF 6.0, section 9);
# LZW: a string of 4096 bytes in a code of 12 bit. Other codecs have no limit: this stops bombs.
EXPANSION = dict.fromkeys(DEFLATE, 1100) | {32773: 64, 5: 4096}
EXPANSION_OF_OTHERS = 1_000_000
SLACK_BYTES = 4096
# OpenJPEG and libjxl work on 32-bit samples and hold them twice.
WORKING_BYTES = dict.fromkeys((33003, 33004, 33005, 34712, 50002, 52546), 8)


class CodedSegments(TiffSegments):
    """Segments that a codec decodes whole.

    Parameters
    ----------
    fd, level, channels
        As `TiffSegments` has them.
    memory_mb : float or None
        Memory that the reader may take.

    Raises
    ------
    ImageError
        If a segment claims more pixels than its bytes can hold.
    MemoryBudgetError
        If a segment does not fit the memory, and cannot be decoded row by row.
    """

    def __init__(self, fd: int, level: TiffLevel, channels: tuple[int, ...], memory_mb: float | None):
        super().__init__(fd, level, channels)
        page, samples = self.page, self.stored_height * self.stored_width * self.samples
        self.rows = spans(range(0, self.height, self.stored_height), self.height)
        self._tables = {"jpegheader": page.jpegheader} if page.compression in JPEG_FAMILY else {}
        self._check_expansion()
        self.segment_bytes = samples * page.dtype.itemsize
        largest = max(int(stored.counts.max()) for stored in self._stored)
        self.decode_bytes = (
            2 * self.segment_bytes + largest + samples * WORKING_BYTES.get(page.compression, 0)
        )
        if self._palette is not None:
            self.decode_bytes += samples * (np.dtype(np.intp).itemsize + self._palette[0].nbytes)
        if not self.can_stream:
            kind = f"{tifffile.COMPRESSION(page.compression).name} {'tile' if page.is_tiled else 'strip'}"
            what = f"decoding one {kind} of {self.stored_width:,} x {self.stored_height:,} px"
            require_memory(self.decode_bytes, memory_mb, what, CONVERT)

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

    def read(self, plane: int, rows: range, cols: range) -> Iterator[tuple[int, int, np.ndarray | None]]:
        """Yield (row, col, pixels) of each segment, (height, width, channel) or None if the file has none."""
        stored = self._stored[plane]
        numbers = [row * len(self.cols) + col for row in rows for col in cols]
        places = zip(stored.offsets[numbers].tolist(), stored.counts[numbers].tolist(), strict=True)
        for number, data in zip(numbers, _read_together(self.fd, list(places)), strict=True):
            row, col = divmod(number, len(self.cols))
            yield row, col, self.finished(self._decoded(data, plane, number, row, col))

    def _decoded(self, data: bytes, plane: int, number: int, row: int, col: int) -> np.ndarray | None:
        if not data:
            return None
        tables = self._tables | {"jpegtables": self._stored[plane].jpeg_tables} if self._tables else {}
        index = self._stored[plane].first_index + number
        with tifffile_errors(f"{self.name(plane, number)} cannot be decoded"):
            pixels = self.page.decode(data, index, **tables)[0][0]
        height, width, samples = pixels.shape
        if height < self.rows.size(row) or width < self.cols.size(col) or samples != self.samples:
            expected = self.rows.size(row), self.cols.size(col), self.samples
            raise ImageError(
                f"broken: {self.name(plane, number)} decodes to {pixels.shape}, {expected} expected"
            )
        return pixels


def _read_together(fd: int, places: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the bytes at each (offset, count), read at once where they follow each other in the file."""
    if any(offset + count != following for (offset, count), (following, _) in pairwise(places)):
        for offset, count in places:
            yield read_exactly(fd, count, offset) if count else b""
        return
    start = places[0][0]
    data = read_exactly(fd, sum(count for _, count in places), start)
    for offset, count in places:
        yield data[offset - start : offset - start + count]
