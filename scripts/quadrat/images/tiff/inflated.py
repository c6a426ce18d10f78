"""TIFF rows: deflate segments too large to be decoded whole, decoded downwards with flat memory."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tifffile
from isal import isal_zlib

from quadrat.errors import ImageError
from quadrat.images.tiff.coded import CodedSegments
from quadrat.images.tiff.segments import Place, read_exactly
from quadrat.images.tiff.tags import dtype_of

READ_BYTES = 1 << 18
CHUNK_BYTES = 1 << 21  # rows decoded at a time: they still lie in the processor's cache when copied


class DeflateRows:
    """Rows of an image from top to bottom; each column of segments is one stream.

    Parameters
    ----------
    segments : CodedSegments
        Whose `can_stream` is true.
    threads : int
        Streams that are decoded at once.
    """

    def __init__(self, segments: CodedSegments, threads: int):
        self._segments, self._threads = segments, threads
        self._streams: dict[tuple[int, int], _Stream] = {}

    def memory_bytes(self) -> int:
        """Return the memory that the streams take, besides the arrays that they fill."""
        row = self._segments.segment_bytes // self._segments.stored_height
        return self._threads * (READ_BYTES + 4 * max(CHUNK_BYTES, row))

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`; see `quadrat.images.rows.RowSource`."""
        places = [
            (plane, col)
            for plane in range(len(self._segments.planes))
            for col in self._segments.cols.touching(left, right)
        ]
        with ThreadPoolExecutor(min(self._threads, len(places))) as pool:
            for done in [pool.submit(self._read, place, (top, bottom, left, right), out) for place in places]:
                done.result()

    def _read(self, place: tuple[int, int], rectangle: tuple[int, int, int, int], out: np.ndarray) -> None:
        (plane, col), (top, bottom, left, right) = place, rectangle
        start, stop = self._segments.cols.starts[col], self._segments.cols.stops[col]
        first, last = max(start, left), min(stop, right)
        if place not in self._streams:
            self._streams[place] = _Stream(self._segments, plane, col)
        for y, pixels in self._streams[place].rows(top, bottom):
            target = out[y - top : y - top + len(pixels), first - left : last - left]
            pixels = pixels[:, first - start : last - start]
            if not self._segments.planar:
                target[...] = pixels
                continue
            for channel in self._segments.planes[plane]:
                target[..., channel] = pixels[..., 0]


class _Stream:
    """Rows of one column of segments, decoded downwards."""

    def __init__(self, segments: CodedSegments, plane: int, col: int):
        self._segments, self._plane, self._col = segments, plane, col
        self._row_bytes = segments.segment_bytes // segments.stored_height
        self._y = 0
        self._inflater: _Inflater | None = None

    def rows(self, top: int, bottom: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (y, rows) from `top` to `bottom`, a few rows at a time; those above are dropped."""
        segments, chunk_rows = self._segments, max(1, CHUNK_BYTES // self._row_bytes)
        while self._y < bottom:
            y, row = self._y, self._y // segments.stored_height
            if y == segments.rows.starts[row]:
                place = segments.place(self._plane, row, self._col)
                self._inflater = _Inflater(segments.fd, place) if place.length else None
            self._y = min(y + chunk_rows, top if y < top else bottom, segments.rows.stops[row])
            data = self._inflater.read((self._y - y) * self._row_bytes) if self._inflater else None
            if y >= top:
                yield y, self._pixels(data, self._y - y)

    def _pixels(self, data: bytearray | None, rows: int) -> np.ndarray:
        segments, page = self._segments, self._segments.page
        shape = rows, segments.stored_width, segments.samples
        if data is None:
            return segments.finished(np.full(shape, segments.fill, page.dtype))
        # The floating-point predictor undoes the byte order itself.
        dtype = page.dtype if page.predictor == 3 else dtype_of(page).newbyteorder(page.parent.byteorder)
        pixels = np.frombuffer(data, dtype).reshape(shape).astype(page.dtype, copy=False)
        if page.predictor != 1:
            pixels = tifffile.TIFF.UNPREDICTORS[page.predictor](pixels, axis=-2, out=pixels)
        return segments.finished(pixels)


class _Inflater:
    """Bytes of one deflate segment, piece by piece."""

    def __init__(self, fd: int, place: Place):
        self._fd, self._place, self._read_to = fd, place, 0
        self._stream, self._pending = isal_zlib.decompressobj(), b""

    def read(self, count: int) -> bytearray:
        """Return the next `count` bytes."""
        out, filled = bytearray(count), 0
        while filled < count:
            if not self._pending:
                self._pending = self._next_input()
            try:
                piece = self._stream.decompress(self._pending, count - filled)
            except isal_zlib.error as error:  # type: ignore[misc] # its stub has an exception for the class
                raise ImageError(f"{self._place.name} cannot be decoded as DEFLATE") from error
            self._pending = self._stream.unconsumed_tail
            if not piece and (self._stream.eof or self._read_to == self._place.length):
                raise ImageError(
                    f"broken: {self._place.name} ends {count - filled:,} bytes of pixels too early"
                )
            out[filled : filled + len(piece)] = piece
            filled += len(piece)
        return out

    def _next_input(self) -> bytes:
        size = min(READ_BYTES, self._place.length - self._read_to)
        data = read_exactly(self._fd, size, self._place.offset + self._read_to)
        self._read_to += size
        return data
