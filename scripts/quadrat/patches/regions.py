"""Regions: the patches of an image whose centres are in polygons."""

import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely
import xxhash

from quadrat.errors import FileChangedError, ImageError, MissingReaderError
from quadrat.files.hashing import stat_token
from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo
from quadrat.images.place import way_out
from quadrat.patches.vector_files import Label, Vectors, parse_geojson, read_vectors, split_layer

if TYPE_CHECKING:
    from rasterio.crs import CRS

# Centres that are tested at a time, since each may lie in every region.
MOST_POINTS, MOST_AREAS = 1 << 16, 64


class _Areas(NamedTuple):
    """The areas of a file of regions.

    Attributes
    ----------
    labels : list of Label
        Of each region.
    polygons : (n,) array of shapely.Polygon
        The parts of all regions.
    owners : (n,) int array
        The region of each part.
    bounds : (n, 4) float array
        Its lowest x and y, and its highest.
    crs : rasterio.crs.CRS or None
        None for pixels of level 0.
    turn : float
        See `quadrat.patches.earth.turn_of`.
    """

    labels: list[Label]
    polygons: np.ndarray
    owners: np.ndarray
    bounds: np.ndarray
    crs: "CRS | None"
    turn: float


def lies_inside(regions: dict[str, Any], grid: PatchGrid, info: ImageInfo) -> np.ndarray:
    """Return for each patch whether its centre lies in a region, or on the border of one.

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
    inside = np.zeros((grid.rows, grid.cols), bool)
    for patches, _ in _found(regions, grid, info)[1]:
        inside.reshape(-1)[patches] = True
    return inside


def patches_by_region(
    regions: dict[str, Any], grid: PatchGrid, info: ImageInfo
) -> list[tuple[Label, np.ndarray]]:
    """Return the regions of an image, each with the patches whose centres it contains.

    Parameters
    ----------
    regions, grid, info
        As of `lies_inside`.

    Returns
    -------
    list of (Label, (n,) int array)
        In the order of the file; patches are numbered in row-major order, from 0. A patch may be in
        several regions. Regions without a patch are left out, unless the file is that of this image alone.

    Raises
    ------
    ImageError, FileChangedError
        As `lies_inside`.
    """
    labels, found = _found(regions, grid, info)
    # A multipolygon contains a centre on the border of two of its parts once.
    pairs = [np.zeros(0, np.int64), *(owners * len(grid) + patches for patches, owners in found)]
    owners, patches = np.divmod(np.unique(np.concatenate(pairs)), max(1, len(grid)))
    listed = range(len(labels)) if regions["in_pixels"] else np.unique(owners)
    return [(labels[owner], patches[slice(*np.searchsorted(owners, [owner, owner + 1]))]) for owner in listed]


def _found(
    regions: dict[str, Any], grid: PatchGrid, info: ImageInfo
) -> tuple[list[Label], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Return the labels of regions, and the pairs of a patch and a region that contains its centre.

    The sides of a region are straight in the reference system of its file, and would be curved in the
    system of the image. So the centres are converted to the system of the file.
    """
    path, places = regions["path"], _centres(grid, info.downsample)
    name = os.path.basename(path)
    if not regions["in_pixels"] and (info.crs is None or info.transform is None):
        missing = "georeference" if info.transform is None else "reference system"
        raise ImageError(
            f"it has no {missing}, which the regions {name} need",
            way_out(
                info, "name a folder of <filename>.geojson in pixels, or exclude it (config.yaml: regions)"
            ),
        )
    classes = regions.get("classes") and tuple(regions["classes"])
    try:
        token = stat_token(os.stat(file)) if os.path.exists(file := split_layer(path)[0]) else None
        areas = _read_areas(path, regions["in_pixels"], regions["hash"], classes, token)
        if areas.crs is not None:
            places = _on_earth(places, info, areas.crs, name)
        elif info.bounds:  # from whose corner QuPath counts
            corner = info.bounds.x, info.bounds.y
            places = (points - corner for points in places)
    except shapely.errors.ShapelyError as error:  # such as of corners beyond all numbers
        raise ImageError(f"its regions {name}: {error}") from error
    return areas.labels, _hits(areas, places)


def _centres(grid: PatchGrid, downsample: tuple[float, float]) -> Iterator[np.ndarray]:
    """Yield the centres of the patches in row-major order, as (n, 2) arrays of x and y in level-0 pixels."""
    xs = np.array([x + grid.extent(x, grid.width) / 2 for x in grid.xs])
    ys = np.array([y + grid.extent(y, grid.height) / 2 for y in grid.ys])
    step = max(1, MOST_POINTS // max(1, len(xs)))
    for top in range(0, len(ys), step):
        yield np.stack(np.meshgrid(xs, ys[top : top + step]), axis=-1).reshape(-1, 2) * downsample[::-1]


def _hits(areas: _Areas, places: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield numbers of points that are in an area, or would be a turn to the west or east, and its owner."""
    if not len(areas.polygons):
        return
    first, bounds = 0, areas.bounds
    west, south, east, north = shapely.total_bounds(areas.polygons)
    lowest, highest = [west, south], [east, north]
    for points in places:
        for by in {0, -areas.turn, areas.turn}:
            moved = points + np.array([by, 0.0])
            near = np.flatnonzero(((moved >= lowest) & (moved <= highest)).all(axis=1))
            tree = shapely.STRtree(shapely.points(moved[near]))
            box = [moved[near].min(axis=0), moved[near].max(axis=0)] if len(near) else [highest, lowest]
            overlap = np.flatnonzero(((bounds[:, 2:] >= box[0]) & (bounds[:, :2] <= box[1])).all(axis=1))
            for start in range(0, len(overlap), MOST_AREAS):
                some = overlap[start : start + MOST_AREAS]
                area, hits = tree.query(areas.polygons[some], predicate="intersects")
                yield first + near[hits], areas.owners[some[area]]
        first += len(points)


def _polygons(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the polygons that have an area among geometries and their parts, and their geometry's place."""
    places = np.arange(len(geometries))
    while (shapely.get_type_id(geometries) > shapely.GeometryType.POLYGON).any():
        geometries, parts = shapely.get_parts(geometries, return_index=True)  # whose parts may have parts
        places = places[parts]
    is_polygon = shapely.get_type_id(geometries) == shapely.GeometryType.POLYGON
    is_polygon &= ~shapely.is_empty(geometries)
    return geometries[is_polygon], places[is_polygon]


# A merge asks for the regions of one vector file for each image.
@lru_cache(maxsize=1)
def _read_areas(
    path: str, in_pixels: bool, planned: str, classes: tuple[str, ...] | None, token: Any
) -> _Areas:
    """Return the areas of a file whose hash is the planned one; `token` changes when the file does."""
    vectors = (_read_pixels if in_pixels else _read_placed)(path, planned, classes)
    polygons, owners = _polygons(np.array(vectors.geometries, object))
    crs, turn = None, 0.0
    if not in_pixels:
        from quadrat.patches.earth import turn_of, unrolled

        crs = _crs_of_regions(vectors.crs or "", os.path.basename(path))
        turn = turn_of(crs)
        polygons = unrolled(polygons, turn) if turn else polygons
    polygons, parts = _polygons(shapely.make_valid(polygons))  # polygons drawn by hand cross themselves
    shapely.prepare(polygons)
    return _Areas(vectors.labels, polygons, owners[parts], shapely.bounds(polygons), crs, turn)


def _read_pixels(path: str, planned: str, classes: tuple[str, ...] | None) -> Vectors:
    """Read the regions of one image; none if it has no file."""
    content = b"[]"
    try:
        with open(path, "rb") as file:
            content = file.read()
        found = xxhash.xxh3_128_hexdigest(content)
    except FileNotFoundError:
        found = ""
    except OSError as error:
        raise ImageError(f"its regions {os.path.basename(path)} cannot be read: {error.strerror}") from error
    _refuse_changed_regions(path, planned, found)
    try:
        return parse_geojson(content).of_classes(classes)
    except ImageError as error:
        raise ImageError(f"its regions {os.path.basename(path)} {error}", error.hint) from error


def _read_placed(path: str, planned: str, classes: tuple[str, ...] | None) -> Vectors:
    """Read a vector file with a reference system."""
    try:
        vectors = read_vectors(path).of_classes(classes)
    except ImageError as error:
        if isinstance(error, MissingReaderError):
            raise MissingReaderError(f"its regions {os.path.basename(path)} {error}", error.hint) from error
        # Planning could read it.
        raise FileChangedError(f"{path}: {error}; run again") from error
    _refuse_changed_regions(path, planned, vectors.hash)
    return vectors


def _on_earth(places: Iterator[np.ndarray], info: ImageInfo, crs: "CRS", name: str) -> Iterator[np.ndarray]:
    """Yield places of an image in the reference system of its regions."""
    from rasterio.crs import CRS

    from quadrat.patches.earth import project

    of_image = _crs(name, CRS.from_string, info.crs)
    a, b, c, d, e, f = info.transform or ()
    return (
        project(of_image, crs, np.column_stack([a * x + b * y + c, d * x + e * y + f]))
        for x, y in (points.T for points in places)
    )


def _crs_of_regions(text: str, name: str) -> "CRS":
    from rasterio.crs import CRS

    # PROJ would search disks and servers for any other text.
    code = re.fullmatch(r"(\w+):(\w+)", text)
    return _crs(name, CRS.from_authority, *code.groups()) if code else _crs(name, CRS.from_wkt, text)


def _crs(name: str, parse: Callable[..., "CRS"], *text: str | None) -> "CRS":
    from rasterio.errors import CRSError

    try:
        return parse(*text)
    except CRSError as error:
        raise ImageError(
            f"its reference system, or the one of its regions {name}, cannot be read: {error}"
        ) from error


def _refuse_changed_regions(path: str, planned: str, found: str) -> None:
    if found != planned:
        raise FileChangedError(f"{path} was changed during the run; run again")
