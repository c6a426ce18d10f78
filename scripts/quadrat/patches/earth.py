"""Places on Earth: points in another reference system, and polygons where x comes round."""

import json
import math

import numpy as np
import shapely
from rasterio._err import CPLE_AppDefinedError, CPLE_BaseError  # it has no public name
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely.affinity import translate

from quadrat.errors import ImageError

# A side over a larger share of the way round crosses the antimeridian, unless it is all of the way: a box of
# Eurasia takes up to 0.6, and one of the world is rounded.
MOST_OF_A_TURN, ALL_OF_A_TURN = 0.7, 1 - 1e-7
# In Earth radii: some projections lay the far side of the Earth over the near one.
SAME_PLACE = 0.01


def project(source: CRS, target: CRS, points: np.ndarray) -> np.ndarray:
    """Return points in another reference system.

    Parameters
    ----------
    source, target : CRS
    points : (n, 2) float array
        x, or longitude, first, whatever the reference system defines.

    Returns
    -------
    (n, 2) float array
        Not finite where a point has no place in the other system, or one that belongs to another point.

    Raises
    ------
    ImageError
        If no way leads from one system to the other.
    """
    places = _transformed(source, target, points)
    lonlat = _lonlat(target)
    if lonlat and lonlat != target:
        with np.errstate(invalid="ignore"):  # of places that are not finite
            found, meant = (_on_sphere(*of, lonlat) for of in ((target, places), (source, points)))
            places[~(np.linalg.norm(found - meant, axis=1) < SAME_PLACE)] = np.inf
    return places


def _transformed(source: CRS, target: CRS, points: np.ndarray) -> np.ndarray:
    try:
        return np.column_stack(transform(source, target, *points.T))
    except CPLE_AppDefinedError:
        # One point without a place fails all.
        if len(points) == 1:
            return np.full((1, 2), np.inf)
        return np.concatenate([_transformed(source, target, half) for half in np.array_split(points, 2)])
    except CPLE_BaseError as error:
        raise ImageError(
            f"no operation leads from its reference system {source} to that of its regions, {target}",
            "convert one of them (config.yaml: regions)",
        ) from error


def _on_sphere(crs: CRS, points: np.ndarray, lonlat: CRS) -> np.ndarray:
    lon, lat = lonlat.units_factor[1] * _transformed(crs, lonlat, points).T
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _lonlat(crs: CRS) -> CRS | None:
    """Return the geographic system that a reference system is made from, if it is a simple one."""
    if crs.is_geographic:
        return crs
    base = crs.to_dict(projjson=True).get("base_crs")
    return CRS.from_string(json.dumps(base)) if base and base["type"] == "GeographicCRS" else None


def turn_of(crs: CRS) -> float:
    """Return the distance in x after which a reference system comes round; 0 if it does not."""
    lonlat = _lonlat(crs)
    if lonlat is None:
        return 0
    turn = 2 * math.pi / lonlat.units_factor[1]
    if crs.is_geographic:
        return turn
    lons, lats = np.meshgrid([0.5, 1.5, 90.5, 91.5], [0.0, 60.0])
    xs = _transformed(lonlat, crs, turn / 360 * np.column_stack([lons.ravel(), lats.ravel()]))[:, 0]
    # A degree is as long everywhere in systems that come round, such as Mercator's.
    degrees = xs[1::2] - xs[::2] if np.isfinite(xs).all() else np.arange(4)
    return abs(360 * degrees[0]) if np.allclose(degrees, degrees[0]) else 0


def unrolled(polygons: np.ndarray, turn: float) -> np.ndarray:
    """Return polygons, each that crosses the antimeridian in one piece.

    Parameters
    ----------
    polygons : (n,) array of shapely.Polygon
    turn : float
        Of their reference system.
    """
    west, _, east, _ = shapely.bounds(polygons).T
    wide = np.flatnonzero(east - west > MOST_OF_A_TURN * turn)
    polygons = polygons.copy()
    polygons[wide] = [_unrolled(polygon, turn) for polygon in polygons[wide]]
    return polygons


def _unrolled(polygon: shapely.Polygon, turn: float) -> shapely.Geometry:
    rings = [_unrolled_ring(ring, turn) for ring in (polygon.exterior, *polygon.interiors)]
    shell, *holes = shapely.make_valid(np.array(rings, object))
    # A hole may have been unrolled to another turn than its shell.
    around = [translate(hole, by) for hole in holes for by in (0, -turn, turn)]
    return shapely.difference(shell, shapely.union_all(around))


def _unrolled_ring(ring: shapely.LinearRing, turn: float) -> shapely.Polygon:
    """Return what a ring encloses whose long sides go the short way round; around a pole, all up to it."""
    places = shapely.get_coordinates(ring)
    sides = np.diff(places[:, 0]) / turn
    is_part = np.abs(sides) < ALL_OF_A_TURN
    if (is_part & (np.abs(sides) > MOST_OF_A_TURN)).any():
        places[1:, 0] -= turn * np.cumsum(np.where(is_part, np.round(sides), 0))
        (start, _), (end, y) = places[0], places[-1]
        if start != end:
            pole = math.copysign(turn, y)  # or beyond
            places = np.vstack([places, [(end, pole), (start, pole)]])
    return shapely.Polygon(places)
