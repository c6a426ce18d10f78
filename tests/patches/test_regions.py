import json
import sqlite3

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from rasterio.transform import Affine
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box, mapping

from quadrat.errors import FileChangedError, ImageError
from quadrat.files.hashing import hash_file
from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo
from quadrat.patches.regions import lies_inside, patches_by_region
from quadrat.patches.vector_files import inspect_vectors, read_vectors

GRID = PatchGrid(80, 120, 10, 10)  # centres at 5, 15, 25 ...


def info(**header):
    return ImageInfo("test", 80, 120, 1, np.dtype(np.uint8), 1, 120, **header)


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": mapping(geometry), "properties": properties}


@pytest.fixture
def inside(tmp_path):
    """Return a function from the content of a GeoJSON file to the cells inside, as a set of (row, col)."""

    def find(content, grid=GRID, classes=None, **header):
        path = tmp_path / "a.tif.geojson"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        regions = {"path": str(path), "hash": hash_file(path), "in_pixels": True, "classes": classes}
        return cells(lies_inside(regions, grid, info(**header)))

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
    empty = Polygon(), MultiPolygon(), Polygon([(90, 5), (95, 5), (99, 5)])
    drawn = (both, box(0, 0, 10, 10), crossing, line, point, *empty)
    found = inside([*map(feature, drawn), nothing])
    # The centres of the four cells around the bow tie lie on its borders.
    assert found == {(0, 0), (0, 2), (0, 4), (0, 5), (1, 4), (1, 5)}


def test_pixels_are_those_of_level_0_whatever_is_read(inside):
    drawn = [feature(box(0, 0, 390, 200))]
    assert inside(drawn, PatchGrid(20, 30, 10, 10), downsample=(16.0, 16.0)) == {(0, 0), (0, 1)}


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
    with pytest.raises(
        ImageError, match=r"its regions a\.tif\.geojson cannot be read: it is not GeoJSON"
    ) as caught:
        inside(content)
    assert "\n" not in str(caught.value)


@pytest.fixture
def on_earth(tmp_path):
    """Return a function that writes a vector file and returns the cells inside for a scene of UTM zone 12."""

    def find(polygons, name, crs="EPSG:32612", **header):
        path = tmp_path / name
        geopandas.GeoDataFrame(geometry=polygons, crs="EPSG:32612").to_crs(crs).to_file(path)
        regions = {"path": str(path), "hash": read_vectors(str(path)).hash, "in_pixels": False}
        placed = {"crs": "EPSG:32612", "transform": tuple(Affine(30, 0, 400_000, 0, -30, 4_500_000))[:6]}
        return cells(lies_inside(regions, GRID, info(**placed | header)))

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
    with pytest.raises(ImageError, match=r"it has no georeference, which the regions a\.gpkg need"):
        on_earth([shapely.box(0, 0, 1, 1)], "a.gpkg", crs="EPSG:32612", transform=None)
    regions = {"path": "a.gpkg", "hash": "", "in_pixels": False}
    beside_world_file = info(transform=(30.0, 0.0, 400_000.0, 0.0, -30.0, 4_500_000.0))
    with pytest.raises(ImageError, match=r"it has no reference system, which the regions a\.gpkg need"):
        lies_inside(regions, GRID, beside_world_file)


def test_polygon_with_corners_at_infinity_is_refused_by_name(on_earth):
    endless = Polygon([(0, 0), (np.inf, 0), (np.inf, np.inf), (0, 0)])
    with pytest.raises(ImageError, match=r"its regions a\.gpkg"):
        on_earth([endless], "a.gpkg")


def test_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    (tmp_path / "a.tif.geojson").mkdir()
    regions = {"path": str(tmp_path / "a.tif.geojson"), "hash": "ab", "in_pixels": True}
    with pytest.raises(ImageError, match=r"^its regions a\.tif\.geojson cannot be read: Is a directory$"):
        lies_inside(regions, GRID, info())


def write_regions(path, polygons, crs):
    geopandas.GeoDataFrame(geometry=polygons, crs=crs).to_file(path)
    return {"path": str(path), "hash": read_vectors(str(path)).hash, "in_pixels": False}


def scene(crs, west, north, pixel):
    """Describe an image of GRID whose patches are 10 pixels wide."""
    return info(crs=crs, transform=tuple(Affine(pixel, 0, west, 0, -pixel, north))[:6])


def by_pyproj(image, crs, contains):
    """Return the cells whose centre is in a region, each brought to the reference system of the region."""
    to_region = pyproj.Transformer.from_crs(image.crs, crs, always_xy=True)
    to_ground = Affine(*image.transform)
    return {
        (row, col)
        for row in range(8)
        for col in range(12)
        if contains(*to_region.transform(*(to_ground @ (10 * col + 5, 10 * row + 5))))
    }


@pytest.mark.parametrize(
    ("image", "crs", "region", "count"),
    [
        # By its vertices alone the first box would leave out the south of Greenland, where the scene lies.
        (scene("EPSG:3413", 0, -3_120_000, 500), "EPSG:4326", box(-75, 59, -10, 84), 96),
        (scene("EPSG:5070", -300_000, 260_000, 300), "EPSG:4326", box(-125, 24.5, -66.5, 49.5), 96),
        (scene("EPSG:5070", -300_000, 3_250_000, 300), "EPSG:4326", box(-125, 24.5, -66.5, 49.5), 0),
        # Scenes that a side of the box crosses.
        (scene("EPSG:5070", -2_300_000, 3_400_000, 40_000), "EPSG:4326", box(-125, 24.5, -66.5, 49.5), None),
        (scene("EPSG:4326", -180, 90, 3), "EPSG:3413", box(-2e6, -3e6, 1e6, 1e6), None),
        (scene("EPSG:4326", -180, 90, 3), "EPSG:4326", box(-180, -90, 180, 90), 72),
        (
            scene("EPSG:3857", -6e6, 4e6, 100_000),
            "EPSG:3857",
            box(*[-20037508.34] * 2, *[20037508.34] * 2),
            96,
        ),
        (scene("EPSG:3413", -2.4e6, 1.6e6, 40_000), "EPSG:4326", box(-180, 80, 180, 90), None),
        (scene("EPSG:32645", 300_000, 5_000_000, 300), "EPSG:4326", box(-25, 10, 180, 80), 96),
        (scene("EPSG:2193", 1_500_000, 5_500_000, 3000), "EPSG:4167", box(173, -42, 175, -40.5), None),
        (scene("EPSG:27572", 500_000, 2_500_000, 3000), "EPSG:4326", box(2, 48, 3, 50), None),
        # The Swiss projection lays places on the far side of the Earth over Switzerland.
        (
            scene("EPSG:4326", -177, -44, 0.06),
            "EPSG:2056",
            box(2_485_000, 1_075_000, 2_835_000, 1_296_000),
            0,
        ),
        (scene("EPSG:4326", 6, 48, 0.04), "EPSG:2056", box(2_485_000, 1_075_000, 2_835_000, 1_296_000), None),
    ],
)
def test_centre_is_looked_for_in_the_system_of_the_regions(image, crs, region, count, tmp_path):
    found = cells(lies_inside(write_regions(tmp_path / "a.gpkg", [region], crs), GRID, image))
    expected = by_pyproj(image, crs, lambda x, y: region.intersects(Point(x, y)))
    assert found == (expected if count != 0 else set())
    assert len(found) == count or (count is None and 0 < len(found) < 96)


# Fiji lies on both sides of the antimeridian; meridians and parallels are straight in its system.
FIJI = scene("EPSG:3832", 3_280_000, -1_800_000, 1000)
FIJI_REGION = box(3_302_000, -1_848_000, 3_368_000, -1_822_000)
FIJI_CELLS = {(row, col) for row in range(2, 5) for col in range(2, 9)}


def fiji(crs="EPSG:4326", shift=lambda x: x):
    moved = geopandas.GeoSeries([FIJI_REGION], crs=FIJI.crs).to_crs(crs)[0]
    return shapely.transform(moved, lambda places: np.column_stack([shift(places[:, 0]), places[:, 1]]))


def split(region):
    """Cut a region in two at the antimeridian, as RFC 7946 wants it."""
    west, south, east, north = region.bounds
    return MultiPolygon([box(west, south, 180, north), box(-180, south, east - 360, north)])


@pytest.mark.parametrize(
    ("crs", "region"),
    [
        ("EPSG:4326", fiji()),  # from 179.6 to -179.8
        ("EPSG:4326", fiji(shift=lambda x: x % 360)),
        ("EPSG:4326", fiji(shift=lambda x: x % -360)),
        ("EPSG:4326", split(fiji(shift=lambda x: x % 360))),
        ("EPSG:3857", fiji("EPSG:3857")),
        ("EPSG:3857", fiji("EPSG:3857", lambda x: x % 40_075_016.68557849)),
        ("EPSG:3832", FIJI_REGION),
        # One with a hole that is on one side of it.
        ("EPSG:4326", Polygon(fiji().exterior, [box(-179.99, -16.3, -179.98, -16.29).exterior])),
    ],
)
def test_region_across_the_antimeridian_is_found_however_it_is_written(crs, region, tmp_path):
    assert cells(lies_inside(write_regions(tmp_path / "a.gpkg", [region], crs), GRID, FIJI)) == FIJI_CELLS


def test_image_of_longitudes_up_to_360_and_regions_down_to_minus_180_meet(tmp_path):
    image = scene("EPSG:4326", 170, 40, 0.25)  # 170 to 200
    regions = write_regions(tmp_path / "a.gpkg", [box(-178, 25, -173, 30)], "EPSG:4326")
    assert cells(lies_inside(regions, GRID, image)) == {(row, col) for row in (4, 5) for col in (5, 6)}


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:4326"])
def test_region_around_a_pole_holds_the_pole(crs, tmp_path):
    image = scene("EPSG:3413", -1_200_000, 800_000, 20_000)
    ring = Point(100_000, 50_000).buffer(640_000, 64) - Point(0, 0).buffer(310_000, 64)
    drawn = geopandas.GeoSeries([ring], crs="EPSG:3413").to_crs(crs).tolist()
    found = cells(lies_inside(write_regions(tmp_path / "a.gpkg", drawn, crs), GRID, image))
    assert found == by_pyproj(image, "EPSG:3413", lambda x, y: ring.intersects(Point(x, y)))


def test_centre_without_a_place_in_the_system_of_the_regions_is_outside(tmp_path):
    disc = "+proj=geos +h=35785831 +lon_0=-75 +sweep=x +ellps=GRS80"  # a weather satellite sees it
    image = scene(disc, -6_000_000, 6_000_000, 100_000)
    found = cells(
        lies_inside(write_regions(tmp_path / "a.gpkg", [box(-180, -90, 180, 90)], 4326), GRID, image)
    )
    expected = by_pyproj(image, "EPSG:4326", lambda x, y: np.isfinite(x))
    assert found == expected
    assert 0 < len(found) < 96


def test_image_on_no_body_of_the_regions_is_refused(tmp_path):
    regions = write_regions(tmp_path / "a.gpkg", [box(0, 0, 1, 1)], "EPSG:4326")
    for crs in ("+proj=longlat +R=3396190", 'LOCAL_CS["a plan",UNIT["metre",1]]'):
        with pytest.raises(
            ImageError, match=r"^its reference system .* cannot be converted to EPSG:4326 of its regions$"
        ):
            lies_inside(regions, GRID, scene(crs, 0, 8, 0.1))
    with pytest.raises(
        ImageError, match=r"^its reference system, or the one of its regions a\.gpkg, cannot be read: "
    ):
        lies_inside(regions, GRID, scene("EPSG:99999", 0, 8, 0.1))


def test_polygons_are_found_however_deep_they_lie(inside):
    nested = GeometryCollection([GeometryCollection([GeometryCollection([MultiPolygon([box(0, 0, 9, 9)])])])])
    assert inside([feature(nested)]) == {(0, 0)}


def test_overlapping_parts_of_a_region_add_up(inside):
    overlapping = MultiPolygon([box(0, 0, 20, 10), box(10, 0, 30, 10)])
    assert inside([feature(overlapping)]) == {(0, 0), (0, 1), (0, 2)}


def test_regions_that_changed_since_planning_are_refused(tmp_path):
    regions = write_regions(tmp_path / "a.gpkg", [box(0, 0, 1, 1)], "EPSG:4326")
    image = scene("EPSG:4326", 0, 8, 0.1)
    geopackage = sqlite3.connect(tmp_path / "a.gpkg")
    geopackage.execute("CREATE TABLE other (number)")  # a change of bytes that is none of regions
    geopackage.commit()
    lies_inside(regions, GRID, image)
    write_regions(tmp_path / "a.gpkg", [box(0, 0, 1, 2)], "EPSG:4326")
    with pytest.raises(FileChangedError, match=r"a\.gpkg was changed during the run; run again"):
        lies_inside(regions, GRID, image)
    (tmp_path / "a.gpkg").write_bytes(b"")
    with pytest.raises(FileChangedError, match=r"a\.gpkg: cannot be read: .*; run again"):
        lies_inside(regions, GRID, image)


def test_file_of_an_image_that_changed_since_planning_is_refused(tmp_path):
    path = tmp_path / "a.tif.geojson"
    regions = {"path": str(path), "hash": "", "in_pixels": True}
    path.write_text("[]")
    for planned in ("", "ab"):
        with pytest.raises(FileChangedError, match="was changed during the run"):
            lies_inside(regions | {"hash": planned}, GRID, info())
    path.unlink()
    with pytest.raises(FileChangedError, match="was changed during the run"):
        lies_inside(regions | {"hash": "ab"}, GRID, info())


# classes and names


def classified(col, classification, **properties):
    """Return a region around the first cell of a column, as QuPath writes it."""
    return feature(box(10 * col, 0, 10 * col + 10, 10), classification=classification, **properties)


QUPATH = [
    feature(box(0, 0, 10, 10)),
    classified(1, {"name": "Tumor", "color": [200, 0, 0]}, objectType="annotation"),
    classified(2, {"name": "Ignore*", "colorRGB": -5000269}),
    classified(3, {"names": ["Tumor", "Artefact*"], "color": [0, 0, 0]}),
    classified(4, {"names": ["Tumor", "Positive"], "color": [0, 0, 0]}),
    classified(5, "Stroma"),
    classified(6, {"name": "Core"}, objectType="tmaCore", isMissing=True),
    classified(7, {"name": "Core"}, objectType="tmaCore", isMissing=False, name="A-2"),
    classified(8, None),
]


def test_regions_that_qupath_ignores_are_none_unless_their_class_is_named(inside):
    assert inside(QUPATH) == {(0, col) for col in (0, 1, 4, 5, 7, 8)}
    assert inside(QUPATH, classes=["Ignore*", "Tumor"]) == {(0, 1), (0, 2)}
    assert inside(QUPATH, classes=["Tumor: Positive"]) == {(0, 4)}
    assert inside(QUPATH, classes=["Core"]) == {(0, 6), (0, 7)}
    assert inside(QUPATH, classes=["tumor"]) == set()


@pytest.mark.parametrize(
    "properties",
    [
        [1],
        "text",
        {"classification": 7, "name": ["a"], "isMissing": "yes"},
        {"classification": {"names": "Ignore*"}},
        {"classification": {"name": {"name": None}}},
        {"classification": {}},
    ],
    ids=str,
)
def test_properties_of_another_form_do_not_change_what_is_inside(inside, properties):
    assert inside([feature(box(0, 0, 10, 10)) | {"properties": properties}]) == {(0, 0)}


def test_each_region_has_its_patches_and_its_names(tmp_path):
    path = tmp_path / "a.tif.geojson"
    corners = np.random.default_rng(0).random((8, 3, 2)) * (120, 80)
    drawn = [MultiPolygon([Polygon(corner), Polygon(corner[::-1] / 2)]) for corner in corners]
    drawn.append(MultiPolygon([box(0, 0, 15, 10), box(15, 0, 30, 10)]))  # whose parts share a centre
    drawn.append(box(1, 1, 4, 4))
    path.write_text(json.dumps([*(feature(one) for one in drawn), *QUPATH]))
    regions = {"path": str(path), "hash": hash_file(path), "in_pixels": True}
    found = patches_by_region(regions, GRID, info())
    expected = [
        [
            cell
            for cell, (row, col) in enumerate(np.ndindex(8, 12))
            if any(part.intersects(Point(10 * col + 5, 10 * row + 5)) for part in shapely.get_parts(one))
        ]
        for one in drawn
    ]
    assert [cells.tolist() for _, cells in found[:10]] == expected
    assert expected[8:] == [[0, 1, 2], []]
    named = [(label.number, label.name, label.class_name) for label, _ in found[10:]]
    assert named == [
        (11, "", ""),
        (12, "", "Tumor"),
        (15, "", "Tumor: Positive"),
        (16, "", "Stroma"),
        (18, "A-2", "Core"),
        (19, "", ""),
    ]
    inside = np.unique(np.concatenate([cells for _, cells in found]))
    np.testing.assert_array_equal(np.flatnonzero(lies_inside(regions, GRID, info())), inside)


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.fgb", "a.shp"])
def test_attributes_of_a_vector_file_name_its_regions(name, tmp_path):
    path, image = str(tmp_path / name), scene("EPSG:32612", 400_000, 4_500_000, 30)
    squares = [box(400_000 + 300 * n, 4_499_700, 400_300 + 300 * n, 4_500_000) for n in (0, 5, 50)]
    table = geopandas.GeoDataFrame(
        {"ID": [7, 8, 9], "Name": ["ü 1", None, "gone"], "Class": ["wheat*", "rye", "rye"]},
        geometry=squares,
        crs="EPSG:32612",
    )
    table.to_file(path)
    regions = {"path": path, "hash": read_vectors(path).hash, "in_pixels": False}
    found = {label.name: (label[2], of.tolist()) for label, of in patches_by_region(regions, GRID, image)}
    # Without the third, where no patch lies: a vector file may hold the regions of a country.
    assert found == {"ü 1": ("wheat*", [0]), "8": ("rye", [5])}
    numbers = [label.number for label in read_vectors(path).labels]
    assert numbers == [1, 2, 3]
    read = read_vectors(path)
    assert read.of_classes(["rye"]).hash != read.of_classes(["rye", "wheat*"]).hash == read.hash
    rye = regions | {"classes": ["rye"], "hash": read_vectors(path).of_classes(["rye"]).hash}
    assert cells(lies_inside(rye, GRID, image)) == {(0, 5)}


def test_class_that_no_region_has_is_refused_while_planning(tmp_path):
    path = str(tmp_path / "a.gpkg")
    geopandas.GeoDataFrame({"class": ["rye"]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:4326").to_file(path)
    assert inspect_vectors(path, ["rye"]) == inspect_vectors(path)
    with pytest.raises(ImageError, match="it has no region of class wheat, oats; its classes are rye"):
        inspect_vectors(path, ["wheat", "oats"])
