"""Regions: the patches of an image whose centres are in polygons."""

import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
import xxhash

from quadrat.errors import FileChangedError, ImageError, MissingReaderError
from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo
from quadrat.patches.vector_files import parse_geojson, read_vectors

# Centres that are tested at a time, since each may lie in every region.
MOST_POINTS, MOST_AREAS = 1 << 16, 64


def lies_inside(regions: dict[str, Any], grid: PatchGrid, info: ImageInfo) -> np.ndarray:
    """Return for each patch whether its centre lies in a region, or on the border of one.

    The sides of a region are straight in the reference system of its file, and would be curved in the
    system of the image. So the centres are converted to the system of the file.

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
        All false for an image without a file of regions. A centre without a place in the reference system of
        the regions is outside.

    Raises
    ------
    ImageError
        If the file is not readable, or the image has no georeference and the regions have one.
    FileChangedError
        If the content of the file is not the planned one.
    """
    try:
        if regions["in_pixels"]:
            polygons, places, turn = _in_pixels(regions), _centres(grid, info.downsample), 0.0
            if info.bounds:  # from whose corner QuPath counts
                corner = info.bounds.x, info.bounds.y
                polygons = shapely.transform(polygons, lambda places: places + np.array(corner))
        else:
            polygons, places, turn = _on_earth(regions, grid, info)
        areas = _polygons(shapely.make_valid(polygons))  # polygons drawn by hand cross themselves
    except shapely.errors.ShapelyError as error:  # such as of corners beyond all numbers
        raise ImageError(f"its regions {os.path.basename(regions['path'])}: {error}") from error
    if not len(areas):
        return np.zeros((grid.rows, grid.cols), bool)
    shapely.prepare(areas)
    inside = [np.zeros(0, bool), *(_are_in(areas, points, turn) for points in places)]
    return np.concatenate(inside).reshape(grid.rows, grid.cols)


def _centres(grid: PatchGrid, downsample: tuple[float, float]) -> Iterator[np.ndarray]:
    """Yield the centres of the patches in row-major order, as (n, 2) arrays of x and y in level-0 pixels."""
    xs = np.array([x + grid.extent(x, grid.width) / 2 for x in grid.xs])
    ys = np.array([y + grid.extent(y, grid.height) / 2 for y in grid.ys])
    step = max(1, MOST_POINTS // max(1, len(xs)))
    for top in range(0, len(ys), step):
        yield np.stack(np.meshgrid(xs, ys[top : top + step]), axis=-1).reshape(-1, 2) * downsample[::-1]


def _are_in(areas: np.ndarray, points: np.ndarray, turn: float) -> np.ndarray:
    """Return for each point whether it is in an area, or would be a turn to the west or east."""
    found = np.zeros(len(points), bool)
    west, south, east, north = shapely.total_bounds(areas)
    for by in {0, -turn, turn}:
        moved = points + np.array([by, 0.0])
        near = np.flatnonzero((moved >= [west, south]).all(axis=1) & (moved <= [east, north]).all(axis=1))
        tree = shapely.STRtree(shapely.points(moved[near]))
        for start in range(0, len(areas), MOST_AREAS):
            _, hits = tree.query(areas[start : start + MOST_AREAS], predicate="intersects")
            found[near[hits]] = True
    return found


def _polygons(geometries: np.ndarray) -> np.ndarray:
    """Return the polygons among geometries and their parts."""
    while (shapely.get_type_id(geometries) > shapely.GeometryType.POLYGON).any():
        geometries = shapely.get_parts(geometries)  # parts of a collection may have parts
    return geometries[shapely.get_type_id(geometries) == shapely.GeometryType.POLYGON]


def _in_pixels(regions: dict[str, Any]) -> np.ndarray:
    """Read the polygons of one image; none if it has no file."""
    path, content = regions["path"], b"[]"
    try:
        with open(path, "rb") as file:
            content = file.read()
        found = xxhash.xxh3_128_hexdigest(content)
    except FileNotFoundError:
        found = ""
    except OSError as error:
        raise ImageError(f"its regions {os.path.basename(path)} cannot be read: {error.strerror}") from error
    _refuse_changed_regions(regions, found)
    try:
        return _polygons(np.array(parse_geojson(content).geometries, object))
    except ImageError as error:
        raise ImageError(f"its regions {os.path.basename(path)} {error}", error.hint) from error


def _on_earth(
    regions: dict[str, Any], grid: PatchGrid, info: ImageInfo
) -> tuple[np.ndarray, Iterator[np.ndarray], float]:
    """Return the polygons of a vector file, the centres in its reference system, and that system's turn."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    from quadrat.patches.earth import project, turn_of, unrolled

    name = os.path.basename(regions["path"])
    if info.crs is None or info.transform is None:
        raise ImageError(
            f"it has no georeference, which the regions {name} need",
            "name a folder of <filename>.geojson in pixels, or exclude the image (config.yaml: regions)",
        )
    try:
        vectors = read_vectors(regions["path"])
    except ImageError as error:
        if isinstance(error, MissingReaderError):
            raise MissingReaderError(f"its regions {name} {error}", error.hint) from error
        # Planning could read it.
        raise FileChangedError(f"{regions['path']}: {error}; run again") from error
    _refuse_changed_regions(regions, vectors.hash)
    assert vectors.crs is not None, "planning refuses a file without one"
    # PROJ would search disks and servers for any other text.
    code = re.fullmatch(r"(\w+):(\w+)", vectors.crs)
    try:
        crs = CRS.from_authority(*code.groups()) if code else CRS.from_wkt(vectors.crs)
        of_image = CRS.from_string(info.crs)
    except CRSError as error:
        raise ImageError(
            f"its reference system, or the one of its regions {name}, cannot be read: {error}"
        ) from error
    polygons = _polygons(np.array(vectors.geometries, object))
    turn = turn_of(crs)
    a, b, c, d, e, f = info.transform

    def placed() -> Iterator[np.ndarray]:
        for x, y in (points.T for points in _centres(grid, info.downsample)):
            yield project(of_image, crs, np.column_stack([a * x + b * y + c, d * x + e * y + f]))

    return unrolled(polygons, turn) if turn else polygons, placed(), turn


def _refuse_changed_regions(regions: dict[str, Any], found: str) -> None:
    if found != regions["hash"]:
        raise FileChangedError(f"{regions['path']} was changed during the run; run again")
