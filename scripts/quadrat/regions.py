"""Regions: which patches of an image lie in the polygons that someone has drawn."""

import os
from typing import Any

import numpy as np
import orjson
import shapely

from quadrat.errors import ImageError
from quadrat.grid import PatchGrid
from quadrat.readers.reader import ImageInfo


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
        polygons = _in_pixels(regions["path"]) if regions["hash"] else []
    else:
        polygons = _on_earth(regions["path"], info)
    centres = np.array([(x + width / 2, y + height / 2) for y, x, height, width in grid.windows()])
    points = shapely.points(centres.reshape(-1, 2) * info.downsample)
    hits, _ = shapely.STRtree(_areas(polygons)).query(points, predicate="intersects")
    inside = np.zeros(len(grid), bool)
    inside[hits] = True
    return inside.reshape(grid.rows, grid.cols)


def _areas(geometries: list) -> np.ndarray:
    """Give the polygons among geometries, made valid: those drawn by hand cross themselves."""
    parts = shapely.get_parts(shapely.make_valid(np.array(geometries, object)))
    parts = shapely.get_parts(parts)  # what a part was made valid to may have parts
    return parts[shapely.get_dimensions(parts) == 2]


def _in_pixels(path: str) -> list:
    """Read GeoJSON in level-0 pixels.

    References
    ----------
    QuPath, "Exporting annotations": a FeatureCollection, or the bare list of its features.
    """
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            content = orjson.loads(file.read())
        features = content.get("features", [content]) if isinstance(content, dict) else content
        drawn = [feature.get("geometry", feature) for feature in features]
        return [shapely.geometry.shape(geometry) for geometry in drawn if geometry]
    except OSError as error:
        raise ImageError(f"its regions {name} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, KeyError, shapely.errors.ShapelyError) as error:
        raise ImageError(
            f"its regions {name} are not readable GeoJSON: {error}",
            "export them again (config.yaml: regions)",
        ) from error


def _on_earth(path: str, info: ImageInfo) -> np.ndarray:
    """Read a vector file, and give its geometries in level-0 pixels."""
    import pyogrio
    from rasterio.transform import Affine
    from rasterio.warp import transform

    if info.crs is None or info.transform is None:
        raise ImageError(
            f"not georeferenced, which the regions {os.path.basename(path)} need",
            "give a folder of <filename>.geojson in pixels, or leave it out (config.yaml: regions)",
        )
    told, _, geometries, _ = pyogrio.raw.read(path, columns=[])
    to_pixels = ~Affine(*info.transform)

    def project(places: np.ndarray) -> np.ndarray:
        x, y = np.array(transform(told["crs"], info.crs, *places.T))
        a, b, c, d, e, f = to_pixels[:6]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    return shapely.transform(shapely.from_wkb(geometries), project)
