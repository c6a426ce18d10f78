import json

import geopandas
import numpy as np
import pytest
import shapely
from rasterio.transform import Affine
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box, mapping

from quadrat.contents import hash_file
from quadrat.errors import ImageError
from quadrat.grid import PatchGrid
from quadrat.readers.reader import ImageInfo
from quadrat.regions import lies_inside

GRID = PatchGrid(80, 120, 10, 10)  # centres at 5, 15, 25 ...


def info(**told):
    return ImageInfo("test", 80, 120, 1, np.dtype(np.uint8), 1, 120, **told)


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": mapping(geometry), "properties": properties}


@pytest.fixture
def inside(tmp_path):
    """Give a function from the content of a GeoJSON file to the cells inside, as a set of (row, col)."""

    def find(content, grid=GRID, **told):
        path = tmp_path / "a.tif.geojson"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        regions = {"path": str(path), "hash": hash_file(path), "in_pixels": True}
        return cells(lies_inside(regions, grid, info(**told)))

    return find


def cells(found):
    return set(zip(*(axis.tolist() for axis in np.nonzero(found)), strict=True))


RING = Polygon([(0, 0), (60, 0), (60, 60), (0, 60)], [[(10, 10), (50, 10), (50, 50), (10, 50)]])
RING_CELLS = {(row, col) for row in range(6) for col in range(6) if row in (0, 5) or col in (0, 5)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda features: {"type": "FeatureCollection", "features": features},
        lambda features: features,
        lambda features: features[0],
        lambda features: features[0]["geometry"],
    ],
    ids=["collection", "list", "feature", "geometry"],
)
def test_polygon_with_a_hole_is_read_however_it_is_wrapped(inside, wrap):
    assert inside(wrap([feature(RING, objectType="annotation")])) == RING_CELLS


def test_centres_decide_and_those_on_a_border_are_inside(inside):
    assert inside([feature(box(5.1, 0, 15, 5))]) == {(0, 1)}
    assert inside([feature(box(14, 24, 16, 26))]) == {(2, 1)}
    assert inside([feature(box(6, 6, 14, 14))]) == set()


def test_polygons_add_up_and_what_has_no_area_is_no_region(inside):
    both = MultiPolygon([box(0, 0, 10, 10), box(20, 0, 30, 10)])
    crossing = Polygon([(40, 0), (60, 20), (60, 0), (40, 20)])  # as a hand draws a bow tie
    line, point = LineString([(0, 75), (120, 75)]), Point(5, 75)
    nothing = {"type": "Feature", "geometry": None, "properties": {}}
    found = inside([*(feature(one) for one in (both, box(0, 0, 10, 10), crossing, line, point)), nothing])
    # The centres of the four cells around the bow tie lie on its borders.
    assert found == {(0, 0), (0, 2), (0, 4), (0, 5), (1, 4), (1, 5)}


def test_pixels_are_those_of_level_0_whatever_is_read(inside):
    drawn = [feature(box(0, 0, 390, 200))]
    assert inside(drawn, PatchGrid(20, 30, 10, 10), downsample=16.0) == {(0, 0), (0, 1)}


def test_random_polygons_hold_the_centres_that_shapely_says(inside):
    corners = np.random.default_rng(0).random((8, 3, 2)) * (120, 80)
    triangles = [Polygon(corner) for corner in corners]
    expected = {
        (row, col)
        for row in range(8)
        for col in range(12)
        if any(triangle.contains(Point(10 * col + 5, 10 * row + 5)) for triangle in triangles)
    }
    assert inside([feature(triangle) for triangle in triangles]) == expected
    assert expected


def test_image_without_a_file_or_with_an_empty_one_has_nothing_inside(inside, tmp_path):
    nowhere = {"path": str(tmp_path / "none.geojson"), "hash": "", "in_pixels": True}
    assert not lies_inside(nowhere, GRID, info()).any()
    assert inside([]) == inside({"type": "FeatureCollection", "features": []}) == set()


@pytest.mark.parametrize(
    "content",
    ["", "{", "7", '[{"geometry": {"type": "Polygon", "coordinates": [[1]]}}]', '{"type": "Circle"}'],
)
def test_broken_file_is_refused_by_name(inside, content):
    with pytest.raises(ImageError, match=r"its regions a\.tif\.geojson cannot be read: not") as caught:
        inside(content)
    assert "\n" not in str(caught.value)


@pytest.fixture
def on_earth(tmp_path):
    """Give a function that writes a vector file, and gives the cells inside for an image of UTM zone 12."""

    def find(polygons, name, crs="EPSG:32612", **told):
        path = tmp_path / name
        geopandas.GeoDataFrame(geometry=polygons, crs="EPSG:32612").to_crs(crs).to_file(path)
        regions = {"path": str(path), "hash": "ab", "in_pixels": False}
        placed = {"crs": "EPSG:32612", "transform": tuple(Affine(30, 0, 400_000, 0, -30, 4_500_000))[:6]}
        return cells(lies_inside(regions, GRID, info(**placed | told)))

    return find


@pytest.mark.parametrize(
    ("name", "crs"),
    [
        ("a.gpkg", "EPSG:32612"),
        ("b.gpkg", "EPSG:3857"),
        ("c.geojson", "EPSG:4326"),
        ("d.geojson", "EPSG:3857"),
        ("e.fgb", "EPSG:3857"),
        ("f.fgb", "OGC:CRS84"),
        ("g.shp", "EPSG:3857"),
        ("h.shp", "ESRI:54009"),
        ("i.gpkg", "ESRI:54009"),
    ],
)
def test_vector_file_is_brought_to_the_crs_of_the_image(on_earth, name, crs):
    # Rows 2 and 3, columns 4 to 6, with a margin that reprojection does not use up.
    west, north = 400_000 + 40 * 30 + 60, 4_500_000 - 20 * 30 - 60
    region = box(west, north - 2 * 300 + 120, west + 3 * 300 - 120, north)
    assert on_earth([region], name, crs) == {(row, col) for row in (2, 3) for col in (4, 5, 6)}


def test_rotated_image_is_found_where_it_lies(on_earth):
    rotated = tuple(Affine(0, 30, 400_000, 30, 0, 4_500_000))[:6]  # x runs north, y east
    region = box(400_000, 4_500_000, 400_000 + 300, 4_500_000 + 3 * 300)
    assert on_earth([region], "a.gpkg", transform=rotated) == {(0, 0), (0, 1), (0, 2)}


def test_image_that_is_not_on_earth_is_refused(on_earth):
    with pytest.raises(ImageError, match=r"not georeferenced, which the regions a\.gpkg need"):
        on_earth([shapely.box(0, 0, 1, 1)], "a.gpkg", crs="EPSG:32612", transform=None)


def test_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    (tmp_path / "a.tif.geojson").mkdir()
    regions = {"path": str(tmp_path / "a.tif.geojson"), "hash": "ab", "in_pixels": True}
    with pytest.raises(ImageError, match=r"^its regions a\.tif\.geojson cannot be read: Is a directory$"):
        lies_inside(regions, GRID, info())
