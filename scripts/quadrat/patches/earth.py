"""Places on Earth: points in another reference system, and polygons in systems where x is cyclic."""

import json
import math

import numpy as np
import shapely
from rasterio._err import CPLE_AppDefinedError, CPLE_BaseError  # it has no public name
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely.affinity import translate

from quadrat.errors import ImageError

# A side over a larger share of the circle crosses the antimeridian, unless it covers the whole circle: a box
# of Eurasia covers up to 0.6, and a box of the world is rounded.
MOST_OF_A_TURN, ALL_OF_A_TURN = 0.7, 1 - 1e-7
# In Earth radii: some projections put the far side of the Earth on top of the near side.
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
        Not finite if a point has no place in the other system, or shares its place with another point.

    Raises
    ------
    ImageError
        If no operation converts one system to the other.
    """
    places = _transformed(source, target, points)
    lonlat = _lonlat(target)
    if lonlat and lonlat != target:
        with np.errstate(invalid="ignore"):  # for places that are not finite
            found, meant = (_on_sphere(*of, lonlat) for of in ((target, places), (source, points)))
            places[~(np.linalg.norm(found - meant, axis=1) < SAME_PLACE)] = np.inf
    return places


def _transformed(source: CRS, target: CRS, points: np.ndarray) -> np.ndarray:
    try:
        return np.column_stack(transform(source, target, *points.T))
    except CPLE_AppDefinedError:
        # A single point without a place would fail all.
        if len(points) == 1:
            return np.full((1, 2), np.inf)
        return np.concatenate([_transformed(source, target, half) for half in np.array_split(points, 2)])
    except CPLE_BaseError as error:
        raise ImageError(
            f"its reference system {source} cannot be converted to {target} of its regions",
            "convert one of them (config.yaml: regions)",
        ) from error


def _on_sphere(crs: CRS, points: np.ndarray, lonlat: CRS) -> np.ndarray:
    lon, lat = lonlat.units_factor[1] * _transformed(crs, lonlat, points).T
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _lonlat(crs: CRS) -> CRS | None:
    """Return the geographic system on which a reference system is based, if that is simple."""
    if crs.is_geographic:
        return crs
    base = crs.to_dict(projjson=True).get("base_crs")
    return CRS.from_string(json.dumps(base)) if base and base["type"] == "GeographicCRS" else None


def turn_of(crs: CRS) -> float:
    """Return the distance in x after which a cyclic reference system repeats; 0 if it is not cyclic."""
    lonlat = _lonlat(crs)
    if lonlat is None:
        return 0
    turn = 2 * math.pi / lonlat.units_factor[1]
    if crs.is_geographic:
        return turn
    lons, lats = np.meshgrid([0.5, 1.5, 90.5, 91.5], [0.0, 60.0])
    xs = _transformed(lonlat, crs, turn / 360 * np.column_stack([lons.ravel(), lats.ravel()]))[:, 0]
    # In cyclic systems, such as Mercator's, a degree has the same length everywhere.
    degrees = xs[1::2] - xs[::2] if np.isfinite(xs).all() else np.arange(4)
    return abs(360 * degrees[0]) if np.allclose(degrees, degrees[0]) else 0


def unrolled(polygons: np.ndarray, turn: float) -> np.ndarray:
    """Return polygons; a polygon that crosses the antimeridian becomes one piece.

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
    """Return the area inside a ring whose long sides go the short way; around a pole, all up to the pole."""
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
