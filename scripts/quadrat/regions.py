"""Regions: which patches of an image lie in the polygons that someone has drawn."""

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely

from quadrat.errors import ImageError
from quadrat.grid import PatchGrid
from quadrat.readers.reader import ImageInfo
from quadrat.vector_files import Vectors, read_geojson, read_vectors


def lies_inside(regions: dict[str, Any], grid: PatchGrid, info: ImageInfo) -> np.ndarray:
    """Tell of each patch whether its centre lies in a region, or on the border of one.

    Parameters
    ----------
    regions : dict
        Of an `ImageTask`.
    grid : PatchGrid
    info : ImageInfo
        Of the image, as the grid was laid over it.

    Returns
    -------
    (rows, cols) bool array
        All false for an image that has no file of regions.

    Raises
    ------
    ImageError
        If the file is not readable, or the image does not tell where on Earth it lies and the regions do.
    """
    if regions["in_pixels"]:
        polygons = _read(regions["path"], read_geojson).geometries if regions["hash"] else []
    else:
        polygons = _on_earth(regions["path"], info)
    centres = np.array([(x + width / 2, y + height / 2) for y, x, height, width in grid.windows()])
    centres = centres.reshape(-1, 2) * info.downsample
    if regions["in_pixels"] and info.bounds:
        centres -= info.bounds.x, info.bounds.y  # QuPath counts from there
    points = shapely.points(centres)
    hits, _ = shapely.STRtree(_areas(polygons)).query(points, predicate="intersects")
    inside = np.zeros(len(grid), bool)
    inside[hits] = True
    return inside.reshape(grid.rows, grid.cols)


def _areas(geometries: list) -> np.ndarray:
    """Give the polygons among geometries, made valid: those drawn by hand cross themselves."""
    parts = shapely.get_parts(shapely.make_valid(np.array(geometries, object)))
    parts = shapely.get_parts(parts)  # what a part was made valid to may have parts
    return parts[shapely.get_dimensions(parts) == 2]


def _read(path: str, read: Callable[[str], Vectors]) -> Vectors:
    name = os.path.basename(path)
    try:
        return read(path)
    except OSError as error:
        raise ImageError(f"its regions {name} cannot be read: {error.strerror}") from error
    except ImageError as error:
        raise type(error)(f"its regions {name} {error}", error.hint) from error


def _on_earth(path: str, info: ImageInfo) -> np.ndarray:
    """Read a vector file, and return its geometries in level-0 pixels."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
    from rasterio.transform import Affine
    from rasterio.warp import transform

    if info.crs is None or info.transform is None:
        raise ImageError(
            f"not georeferenced, which the regions {os.path.basename(path)} need",
            "give a folder of <filename>.geojson in pixels, or leave it out (config.yaml: regions)",
        )
    crs, geometries = _read(path, read_vectors)
    # PROJ would look for other texts than these two on disks and servers.
    code = re.fullmatch(r"(\w+):(\w+)", crs)
    try:
        source = CRS.from_authority(*code.groups()) if code else CRS.from_wkt(crs)
    except CRSError as error:
        raise ImageError(f"the reference system of its regions {os.path.basename(path)}: {error}") from error
    to_pixels = ~Affine(*info.transform)

    def project(places: np.ndarray) -> np.ndarray:
        x, y = np.array(transform(source, info.crs, *places.T))
        a, b, c, d, e, f = to_pixels[:6]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    return shapely.transform(np.array(geometries, object), project)
