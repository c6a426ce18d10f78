"""Patch squares: the table of an image's patches with the polygon that each covers."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from quadrat.exports.ground import Ground
from quadrat.exports.image_result import ImageResult

GEOMETRY = "geometry"


def square_batches(result: ImageResult) -> Iterator[pa.RecordBatch]:
    """Yield the stored columns of an image with a first one, `geometry`, some patches at a time."""
    ground = Ground.of(result.image)
    for batch in result.batches():
        polygons = _well_known_binary(ground.corners(batch.windows))
        yield batch.columns.add_column(0, GEOMETRY, polygons)


def _well_known_binary(corners: np.ndarray) -> pa.Array:
    """Write (n, 4, 2) float64 corners, as x and y, as n polygons.

    References
    ----------
    OGC 06-103r4 (Simple Features, part 1), 8.2: byte order 1 (little endian), type 3 (polygon), number of
    rings, number of points of the ring, whose last is its first.
    """
    layout = [("order", "u1"), ("type", "<u4"), ("rings", "<u4"), ("points", "<u4"), ("ring", "<f8", (5, 2))]
    polygons = np.zeros(len(corners), layout)
    polygons["order"], polygons["type"], polygons["rings"], polygons["points"] = 1, 3, 1, 5
    polygons["ring"][:, :4], polygons["ring"][:, 4] = corners, corners[:, 0]
    fixed = pa.binary(polygons.dtype.itemsize)
    return pa.Array.from_buffers(fixed, len(polygons), [None, pa.py_buffer(polygons)]).cast(pa.binary())
