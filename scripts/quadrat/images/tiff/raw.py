"""Raw TIFF segments: uncompressed strips and tiles, read a few rows at a time whatever their size."""

from collections.abc import Iterator

import imagecodecs
import numpy as np
import tifffile

from quadrat.errors import ImageError
from quadrat.images.budget import require_memory
from quadrat.images.tiff.segment_index import row_bytes
from quadrat.images.tiff.segments import OpenLevel, TiffSegments, read_exactly, spans
from quadrat.images.tiff.tags import dtype_of

PIECE_BYTES = 1 << 20


def is_raw(page: tifffile.TiffPage) -> bool:
    """Whether rows of a segment are byte ranges of the file."""
    bits = page.bitspersample
    is_plain = page.compression == page.predictor == page.fillorder == page.imagedepth == 1
    is_packed = page.sampleformat in (1, 4) and isinstance(bits, int) and bits < 32
    return is_plain and (is_packed or bits in (8, 16, 32, 64))


class RawSegments(TiffSegments):
    """Pieces of uncompressed segments, a few rows each.

    Parameters
    ----------
    opened : OpenLevel

    Raises
    ------
    ImageError
        If a segment has fewer bytes than its size in pixels needs.
    MemoryBudgetError
        If a piece does not fit the memory.
    """

    def __init__(self, opened: OpenLevel):
        super().__init__(opened)
        self._row_bytes = row_bytes(self.page)
        self._check_sizes()
        if self._is_one_run():
            self.stored_height = self.height
        bits = self.page.bitspersample
        self._packed_bits = None if bits in (8, 16, 32, 64) else bits
        self._file_dtype = dtype_of(self.page).newbyteorder(self.page.parent.byteorder)
        rows = min(self.stored_height, max(1, PIECE_BYTES // self._row_bytes))
        tops = [
            top
            for start in range(0, self.height, self.stored_height)
            for top in range(start, min(start + self.stored_height, self.height), rows)
        ]
        self.rows = spans(tops, self.height)
        self.segment_bytes = rows * self.stored_width * self.samples * dtype_of(self.page).itemsize
        self.decode_bytes = 3 * self.segment_bytes
        what = f"reading {rows:,} rows of {self._row_bytes:,} bytes"
        require_memory(self.decode_bytes, opened.memory_mb, what)

    def _check_sizes(self) -> None:
        expected = self.stored_rows() * self._row_bytes
        for plane, stored in enumerate(self._stored):
            short = np.flatnonzero((stored.counts > 0) & (stored.counts < expected))
            if len(short):
                raise ImageError(
                    f"broken: {self.name(plane, short[0])} has {stored.counts[short[0]]:,} bytes, "
                    f"{expected[short[0]]:,.0f} expected"
                )

    def _is_one_run(self) -> bool:
        """Whether the strips of each plane follow each other in the file without a gap."""
        if self.page.is_tiled:
            return False
        sizes = self.stored_rows()[:-1] * self._row_bytes
        return all(
            (stored.counts > 0).all() and (np.diff(stored.offsets) == sizes).all() for stored in self._stored
        )

    def read(self, plane: int, rows: range, cols: range) -> Iterator[tuple[range, int, np.ndarray | None]]:
        """Yield (rows, col, pixels) of each piece; see `quadrat.images.segment_pipeline.SegmentTable`."""
        for row in rows:
            for col in cols:
                yield range(row, row + 1), col, self.finished(self._piece(plane, row, col))

    def _piece(self, plane: int, row: int, col: int) -> np.ndarray | None:
        top, rows = self.rows.starts[row], self.rows.size(row)
        place = self.place(plane, top // self.stored_height, col)
        if not place.length:
            return None
        start = place.offset + top % self.stored_height * self._row_bytes
        data = read_exactly(self.fd, rows * self._row_bytes, start)
        shape = rows, self.stored_width, self.samples
        if self._packed_bits is None:
            return np.frombuffer(data, self._file_dtype).reshape(shape)
        run = self.stored_width * self.samples
        return imagecodecs.packints_decode(data, dtype_of(self.page), self._packed_bits, runlen=run).reshape(
            shape
        )
