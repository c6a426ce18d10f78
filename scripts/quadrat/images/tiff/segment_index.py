"""TIFF planes: where in the file the segments of each channel lie."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tifffile import TiffFrame, TiffPage

from quadrat.errors import ImageError


@dataclass(frozen=True)
class SegmentIndex:
    """One channel, or all channels interleaved, of a level as it is stored.

    Attributes
    ----------
    offsets, counts : 1-D int64 array
        Of the segments in the file, in bytes, row by row.
    first_index : int
        Index that the page's decoder gives to the plane's first segment.
    jpeg_tables : bytes or None
        Tables that the JPEG streams of the plane share.
    """

    offsets: np.ndarray
    counts: np.ndarray
    first_index: int
    jpeg_tables: bytes | None


def segment_indexes(page: TiffPage | TiffFrame, layout: TiffPage, shift: int) -> Iterator[SegmentIndex]:
    """Yield the planes of a page.

    Parameters
    ----------
    page : tifffile.TiffPage
        Where the segments lie.
    layout : tifffile.TiffPage
        How they are laid out.
    shift : int
        Bytes to add to their offsets.

    Raises
    ------
    ImageError
        If the page lists fewer segments than its size needs.
    """
    separate, depth, height, width, _ = layout.shaped
    if layout.is_tiled:
        per_slice = -(-height // layout.tilelength) * -(-width // layout.tilewidth)
        per_plane = per_slice * -(-depth // layout.tiledepth)
    else:
        per_slice = -(-height // layout.rowsperstrip)
        per_plane = per_slice * depth
    offsets, counts = _segment_table(page, layout, separate * per_plane)
    for sample in range(separate):
        first = sample * per_plane
        part = slice(first, first + per_slice)
        yield SegmentIndex(offsets[part] + shift, counts[part], first, page.jpegtables)


def _segment_table(
    page: TiffPage | TiffFrame, layout: TiffPage, expected: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets and byte counts of all segments of a page."""
    try:
        offsets, counts = (np.array(values, np.int64) for values in (page.dataoffsets, page.databytecounts))
    except OverflowError as error:
        raise ImageError("broken: the offset of a segment is too large for any file") from error
    if len(offsets) == 1 and layout.compression == 1 and not layout.is_tiled:
        # One entry may describe all strips; its count is wrong or 0 if data exceed 4 GB (ImageJ).
        height, rows = layout.shaped[2], layout.rowsperstrip
        needed = int(offsets[0]) + row_bytes(layout) * height * layout.shaped[0] * layout.shaped[1]
        if needed > page.parent.filehandle.size:
            beyond = needed - page.parent.filehandle.size
            raise ImageError(f"truncated: its pixels end {beyond:,} bytes past the end of the file")
        heights = np.minimum(rows, height - np.arange(0, height, rows, dtype=np.int64))
        counts = np.tile(heights * row_bytes(layout), expected // len(heights))
        offsets = offsets[0] + np.cumsum(counts) - counts
    if len(offsets) != len(counts) or len(offsets) < expected:
        raise ImageError(
            f"broken: it lists {len(offsets):,} offsets and {len(counts):,} byte counts of segments, "
            f"{expected:,} expected"
        )
    return offsets, counts


def row_bytes(page: TiffPage) -> int:
    """Return the size in bytes of an uncompressed row of a segment.

    References
    ----------
    TIFF 6.0, sections 3 and 4: rows start at whole bytes.
    """
    width = page.tilewidth if page.is_tiled else page.imagewidth
    bits = page.bitspersample
    pixel_bits = sum(bits) if isinstance(bits, tuple) else bits * page.shaped[-1]
    return -(-width * pixel_bits // 8)
