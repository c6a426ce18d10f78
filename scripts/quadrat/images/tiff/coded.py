"""Coded TIFF segments: strips and tiles that a codec decodes whole."""

import os
from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from quadrat.errors import ImageError
from quadrat.images.budget import require_memory
from quadrat.images.image import CONVERT
from quadrat.images.segment_plan import segments_together
from quadrat.images.tiff.claims import claimed_size, is_subsampled
from quadrat.images.tiff.codecs import DEFLATE, LZW, ByteDecoder, LzwDecoder
from quadrat.images.tiff.lerc import LERC, LercDecoder
from quadrat.images.tiff.metadata import YCBCR_CONVERTED, YCBCR_STORED
from quadrat.images.tiff.pages import JPEG_2000, JPEG_FAMILY, tifffile_errors
from quadrat.images.tiff.segment_index import row_bytes
from quadrat.images.tiff.segments import OpenLevel, TiffSegments, read_exactly, spans
from quadrat.images.tiff.tags import dtype_of

# Most bytes that one byte can decode to. Deflate: 1032 (RFC 1951); PackBits: 64 (TIFF 6.0, section 9);
# LZW: a string of 4096 bytes in a code of 12 bit. Other codecs have no limit: this stops bombs.
EXPANSION = dict.fromkeys(DEFLATE, 1100) | {32773: 64, LZW: 4096}
EXPANSION_OF_OTHERS = 1_000_000
SLACK_BYTES = 4096
JPEG_XL, JPEG_XR = (50002, 52546), (22610, 34934)
WEBP, PNG = (50001, 34927), 34933
# Codecs that allocate the size in the header of each segment, not the size in the TIFF. Some writers pad.
SELF_SIZED = {*JPEG_FAMILY, *JPEG_2000, *JPEG_XL, *JPEG_XR, *WEBP, LERC, PNG}
PADDED_PIXELS = 1 << 20
# OpenJPEG and libjxl work on 32-bit samples and keep them twice.
WORKING_BYTES = dict.fromkeys(JPEG_2000 + JPEG_XL, 8)
# Aperio and OpenSlide mean the decoded components, whatever transform a codestream holds them in.
APERIO_YCBCR = 33003
# Shares of Cb and Cr that are added to Y for red, green and blue, in 100,000ths.
YCBCR_TO_RGB = (0, 140_200), (-34_414, -71_414), (177_200, 0)


class CodedSegments(TiffSegments):
    """Segments that a codec decodes whole.

    Parameters
    ----------
    opened : OpenLevel

    Raises
    ------
    ImageError
        If a segment claims more pixels than its bytes can contain.
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
        self._lerc = LercDecoder(page) if page.compression == LERC else None
        self._is_ycbcr = page.compression == APERIO_YCBCR and self.samples == 3 and page.dtype == np.uint8
        self.notes += self._colour_notes()
        self._check_expansion()
        self.segment_bytes = samples * dtype_of(page).itemsize
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
        """Yield neighbouring segments; see `quadrat.images.segment_pipeline.SegmentTable`."""
        stored = self._stored[plane]
        numbers = [row * len(self.cols) + col for row in rows for col in cols]
        places = zip(stored.offsets[numbers].tolist(), stored.counts[numbers].tolist(), strict=True)
        segments = zip(numbers, _read_together(self.fd, list(places)), strict=True)
        for (col, _), stack in groupby(segments, key=lambda one: (one[0] % len(self.cols), not one[1])):
            yield from self._decoded(plane, col, list(stack))

    def _decoded(
        self, plane: int, col: int, stack: list[tuple[int, bytes | memoryview]]
    ) -> Iterator[tuple[range, int, np.ndarray | None]]:
        """Yield segments of one column: together, except missing or special ones, which come one by one."""
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
        codec = tifffile.COMPRESSION(self.page.compression)
        with tifffile_errors(
            lambda: f"{self.name(plane, number)} cannot be decoded as {codec.name.removeprefix('ADOBE_')}"
        ):
            blob = self._lerc.unwrapped(data) if self._lerc else data
            self._check_claim(blob, plane, number)
            whole = self._lzw or self._lerc
            if whole:
                return whole.decode(blob, self._stored_rows(number // len(self.cols)))
            stored = self._stored[plane]
            tables = self._tables | {"jpegtables": stored.jpeg_tables} if self._tables else {}
            decoded, *_ = self.page.decode(data, stored.first_index + number, **tables)
            assert decoded is not None  # it is None only without data
            pixels = decoded[0]
            # The codec itself converts subsampled data.
            return _rgb(pixels) if self._is_ycbcr and not is_subsampled(data) else pixels

    def _colour_notes(self) -> tuple[str, ...]:
        """Return a note on the conversion of YCbCr in JPEG 2000, as the first segment shows it."""
        if self.page.compression not in JPEG_2000:
            return ()
        stored = self._stored[0]
        first = np.argmax(stored.counts > 0)
        head = os.pread(self.fd, min(int(stored.counts[first]), SLACK_BYTES), int(stored.offsets[first]))
        if self._is_ycbcr or is_subsampled(head):
            return (YCBCR_CONVERTED,)
        is_stored = self.page.compression == APERIO_YCBCR or self.page.photometric == PHOTOMETRIC.YCBCR
        return (YCBCR_STORED,) if is_stored else ()

    def _stored_rows(self, row: int) -> int:
        return self.stored_height if self.page.is_tiled else self.rows.size(row)

    def _check_claim(self, data: bytes | bytearray, plane: int, number: int) -> None:
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


def _rgb(ycbcr: np.ndarray) -> np.ndarray:
    """Return 8-bit YCbCr as RGB, rounded as OpenSlide does (ITU-T T.871, section 7)."""
    y, blue, red = np.moveaxis(ycbcr.astype(np.int32) - np.array((0, 128, 128), np.int32), -1, 0)
    rgb = np.empty_like(ycbcr)
    for channel, (of_blue, of_red) in enumerate(YCBCR_TO_RGB):
        rgb[..., channel] = (y + (of_blue * blue + of_red * red + 50_000) // 100_000).clip(0, 255)
    return rgb
