import math

import numpy as np
import pyproj
import pytest
import shapely
from rasterio.crs import CRS

from quadrat.patches.earth import project, turn_of, unrolled


@pytest.mark.parametrize(
    ("crs", "expected"),
    [
        ("EPSG:4326", 360),
        ("EPSG:4807", 400),  # in grads
        ("EPSG:3857", 2 * math.pi * 6_378_137),
        ("EPSG:3832", 2 * math.pi * 6_378_137),
        ("+proj=merc +R=3396190", 2 * math.pi * 3_396_190),  # of Mars
        ("+proj=eqc +lat_ts=60 +R=1000", math.pi * 1000),
        ("EPSG:32612", 0),
        ("EPSG:3413", 0),
        ("EPSG:5070", 0),
        ('LOCAL_CS["a plan",UNIT["metre",1]]', 0),
    ],
)
def test_turn_is_the_way_round_the_equator_of_systems_that_come_round(crs, expected):
    assert turn_of(CRS.from_string(crs)) == pytest.approx(expected)


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:2193", "EPSG:31467", "EPSG:4807", "EPSG:3857"])
def test_points_are_projected_as_pyproj_does_with_x_first(crs):
    west, south, east, north = pyproj.CRS(crs).area_of_use.bounds
    points = np.random.default_rng(0).uniform((west, south), (max(east, west), north), (50, 2))
    expected = np.column_stack(pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(*points.T))
    found = project(CRS.from_epsg(4326), CRS.from_string(crs), points)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-3 if "4807" not in crs else 1e-9)


def test_point_without_a_place_takes_no_other_point_with_it():
    disc = CRS.from_string("+proj=ortho +lat_0=0 +lon_0=0")
    points = np.array([[0.0, 0.0], [170.0, 0.0], [10.0, 10.0], [0.0, 95.0]])
    found = project(CRS.from_epsg(4326), disc, points)
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, True, False]


def test_polygon_of_all_longitudes_stays_and_one_across_the_antimeridian_is_joined():
    world, across = shapely.box(-180, -90, 180, 90), shapely.box(-179, 0, 179, 1)
    found = unrolled(np.array([world, across, shapely.box(0, 0, 1, 1)]), 360)
    assert [polygon.area for polygon in found] == [360 * 180, 2, 1]
