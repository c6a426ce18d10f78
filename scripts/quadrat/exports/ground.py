"""Places on the ground: where an image lies, and the squares of its patches as WKB."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import shapely

from quadrat.results.result import Result

# GIS programs show an image without georeference with x to the right and y upwards from its
# upper left corner: QGIS so in QgsGdalProvider, with pixels of size (1, -1).
PLAIN = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


class Ground(NamedTuple):
    """The place of an image.

    Attributes
    ----------
    transform : tuple of 6 float
        Affine transform (a, b, c, d, e, f) of level-0 pixel corners: x = a * column + b * row + c and
        y = d * column + e * row + f.
    crs : str or None
        'EPSG:n' or WKT; None if the image has no place on Earth.
    """

    transform: tuple[float, ...]
    crs: str | None

    @classmethod
    def of(cls, image: dict[str, Any]) -> "Ground":
        """Return the ground of an image as its footer describes it."""
        if image["transform"] is None:
            return cls(PLAIN, None)
        return cls(tuple(image["transform"]), image["crs"])

    def corners(self, windows: np.ndarray) -> np.ndarray:
        """Return the corners of patches.

        Parameters
        ----------
        windows : (n, 4) int array
            y, x, height and width in level-0 pixels.

        Returns
        -------
        (n, 4, 2) float64 array
            x and y of the upper left, upper right, lower right and lower left corner of the pixels.
        """
        top, left, height, width = windows.T.astype(np.float64)
        col = np.stack([left, left + width, left + width, left], axis=1)
        row = np.stack([top, top, top + height, top + height], axis=1)
        a, b, c, d, e, f = self.transform
        return np.stack([a * col + b * row + c, d * col + e * row + f], axis=2)

    def of_raster(self, grid: dict[str, Any], downsample: tuple[float, float]) -> tuple[float, ...]:
        """Return the transform of a raster with a pixel for each cell of a grid.

        A pixel is as large as the distance between patches, and lies in the middle of its patch.

        Parameters
        ----------
        grid : dict
            `patch_size` and `stride` in pixels of the level that was read.
        downsample : tuple of 2 float
            Level-0 pixels per such pixel along y and x.
        """
        down, across = downsample
        step, inset = grid["stride"], (grid["patch_size"] - grid["stride"]) / 2
        a, b, c, d, e, f = self.transform
        a, b, d, e = a * across, b * down, d * across, e * down
        return (a * step, b * step, c + (a + b) * inset, d * step, e * step, f + (d + e) * inset)


GEOMETRY = "geometry"


def square_batches(result: Result) -> Iterator[pa.RecordBatch]:
    """Yield the stored columns of an image with a first one, `geometry`, some patches at a time."""
    ground = Ground.of(result.image)
    for batch in result.batches():
        squares = shapely.polygons(ground.corners(batch.windows))
        geometry = pa.array(shapely.to_wkb(squares, byte_order=1), pa.binary())
        yield batch.columns.add_column(0, GEOMETRY, geometry)
