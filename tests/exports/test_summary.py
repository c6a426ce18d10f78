import json
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import tifffile
from rasterio.transform import Affine

from quadrat.exports.summary import cell_areas, patches_of_regions
from quadrat.files.hashing import hash_file
from quadrat.jobs.predict import predict_image
from quadrat.patches.vector_files import read_vectors
from quadrat.results.result import read_result

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def predict(images, make_task):
    """Return a function that predicts an image of given size and place, and returns its result and rows."""

    def run(height=100, width=140, crs=None, transform=None, **task):
        path = images / "a.tif"
        profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
        with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as raster:
            raster.write(np.zeros((1, height, width), np.uint8))
        task = make_task(path, **task)
        predict_image(task)
        result = read_result(move(task.output))
        return result, result.read()

    return run


def move(path):
    """Put a result where its name is that of its image."""
    return str(Path(path).rename(path.replace("result.", "a.tif.")))


GRIDS = [
    {"edge": "drop"},
    {"edge": "pad"},
    {"edge": "partial"},
    {"edge": "shift"},
    *(
        {"edge": edge, "stride": stride}
        for edge in ("drop", "pad", "partial", "shift")
        for stride in (8, 24, 40)
    ),
]


@pytest.mark.parametrize("reading", GRIDS, ids=str)
def test_areas_add_up_to_what_the_patches_cover_of_the_image(predict, reading):
    transform = Affine(3, 0, 500_000, 0, -2, 4_500_000)
    result, table = predict(crs="EPSG:32612", transform=transform, **reading)
    rows = table.to_pylist()
    boxes = [
        shapely.box(row["x"], row["y"], row["x"] + row["width"], row["y"] + row["height"]) for row in rows
    ]
    covered = shapely.union_all(boxes).intersection(shapely.box(0, 0, 140, 100))
    column, areas = cell_areas(result, table)
    assert column == "area_m2"
    assert areas.sum() == pytest.approx(6 * covered.area, rel=1e-14)
    assert (areas > 0).all()
    assert (areas <= 6 * shapely.area(shapely.intersection(boxes, shapely.box(0, 0, 140, 100)))).all()


def test_patches_that_do_not_overlap_have_their_own_area(predict):
    rotated = Affine(0.55, 0.24, 500_000.125, 0.24, -0.55, 4_500_000.5)
    result, table = predict(crs="EPSG:32612", transform=rotated)
    np.testing.assert_allclose(cell_areas(result, table)[1], 32 * 32 * abs(rotated.determinant))


@pytest.mark.parametrize(
    ("crs", "metres"), [("EPSG:2263", 1200 / 3937), ("EPSG:32612", 1), ("EPSG:5070", 1), ("EPSG:3832", 1)]
)
def test_area_of_a_projected_image_is_in_its_units_converted_to_metres(predict, crs, metres):
    result, table = predict(crs=crs, transform=Affine(10, 0, 1e6, 0, -10, 2e5))
    np.testing.assert_allclose(cell_areas(result, table)[1], (320 * metres) ** 2, rtol=1e-12)


def geodesic(table, transform, crs):
    """Return the area of each patch by GeographicLib, with points along each side."""
    system = pyproj.CRS(crs)
    lonlat = system.geodetic_crs
    to_lonlat = pyproj.Transformer.from_crs(system, lonlat, always_xy=True)
    areas = []
    for row in table.to_pylist():
        box = shapely.box(row["x"], row["y"], row["x"] + row["width"], row["y"] + row["height"])
        ring = shapely.get_coordinates(shapely.segmentize(box, 0.25))
        degrees = np.radians(1) / lonlat.axis_info[0].unit_conversion_factor
        lon, lat = np.array(to_lonlat.transform(*(transform @ ring.T))) / degrees
        area, _ = lonlat.get_geod().polygon_area_perimeter(lon, lat)
        areas.append(abs(area))
    return areas


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(1, 0, -70, 0, -1, 90)),  # the pole is a side
        ("EPSG:4326", Affine(0.001, 0, 10, 0, -0.001, 60)),
        ("EPSG:4326", Affine(0.5, 0, 100, 0, 0.5, -20)),  # from south to north
        ("EPSG:4807", Affine(0.01, 0, 1, 0, -0.01, 50)),  # in grads, on Clarke's ellipsoid
        ("EPSG:4302", Affine(0.01, 0, -61, 0, -0.01, 11)),  # whose axes are in Clarke's feet
        ("+proj=longlat +R=6371000", Affine(0.1, 0, 10, 0, -0.1, 60)),
        ("EPSG:3857", Affine(1000, 0, 1e6, 0, -1000, 8.4e6)),
        ("EPSG:3857", Affine(1e5, 0, 1e6, 0, -1e5, 5e6)),
    ],
)
def test_area_in_degrees_and_in_web_mercator_is_that_on_the_ground(predict, crs, transform):
    result, table = predict(crs=crs, transform=transform)
    column, areas = cell_areas(result, table)
    assert column == "area_m2"
    expected = geodesic(table, transform, crs)
    np.testing.assert_allclose(areas, expected, rtol=2e-4 if transform.a > 0.2 else 1e-6)
    assert len(set(np.round(areas))) == 3  # one for each row of the grid


def write_slide(path, size, resolution):
    tifffile.imwrite(
        path, np.zeros((size, size), np.uint8), resolution=resolution, resolutionunit="CENTIMETER"
    )


def test_area_of_a_slide_is_in_square_millimetres(images, make_task):
    write_slide(images / "a.tif", 64, (40_000, 20_000))  # 0.25 and 0.5 micrometres
    task = make_task(images / "a.tif")
    predict_image(task)
    result = read_result(move(task.output))
    column, areas = cell_areas(result, result.read())
    assert column == "area_mm2"
    np.testing.assert_allclose(areas, [32 * 0.25e-3 * 32 * 0.5e-3] * 4)


def test_area_counts_pixels_of_level_0_whatever_is_read(images, make_task):
    write_slide(images / "a.tif", 96, (40_000, 40_000))
    task = make_task(images / "a.tif", mpp=0.375, edge="pad")
    predict_image(task)
    result = read_result(move(task.output))
    assert cell_areas(result, result.read())[1].sum() == pytest.approx((96 * 0.25e-3) ** 2)


def test_image_without_scale_has_no_area_unless_the_configuration_has_one(predict):
    result, table = predict()
    assert cell_areas(result, table) is None
    assert cell_areas(result, table, 0.5) == ("area_mm2", pytest.approx(np.full(12, (16e-3) ** 2)))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (None, Affine(30, 0, 0, 0, -30, 0)),
        ("EPSG:4326", Affine(0.1, 0.02, 10, 0.02, -0.1, 60)),
        ('LOCAL_CS["a plan"]', Affine(30, 0, 0, 0, -30, 0)),
    ],
    ids=["no reference system", "rotated in degrees", "no unit"],
)
def test_image_whose_scale_is_not_known_has_no_area(predict, crs, transform):
    assert cell_areas(*predict(crs=crs, transform=transform)) is None


@pytest.mark.parametrize("reading", [{"edge": "partial"}, {"edge": "shift", "stride": 20}], ids=str)
def test_regions_contain_the_patches_that_are_not_skipped_as_outside(predict, tmp_path, reading):
    corners = np.random.default_rng(2).random((5, 3, 2)) * (140, 100)
    drawn = [{"geometry": shapely.geometry.mapping(shapely.Polygon(corner))} for corner in corners]
    path = tmp_path / "a.tif.geojson"
    path.write_text(json.dumps(drawn))
    task = {"path": str(path), "hash": hash_file(path), "in_pixels": True}
    result, table = predict(regions=task, **reading)
    found = list(patches_of_regions(result, lambda filename: task, reading["edge"]))
    assert [region.number for region in found] == [1, 2, 3, 4, 5]
    inside = np.unique(np.concatenate([region.patches for region in found]))
    skipped = np.array([reason is not None for reason in table["skipped"].to_pylist()])
    np.testing.assert_array_equal(inside, np.flatnonzero(~skipped))
    assert 0 < len(inside) < len(table)


def test_regions_of_a_vector_file_are_found_by_the_place_of_the_image(predict, tmp_path):
    place = {"crs": "EPSG:32612", "transform": Affine(30, 0, 400_000, 0, -30, 4_500_000)}
    fields = [shapely.box(400_000 + 960 * n, 4_499_000, 400_960 + 960 * n, 4_500_000) for n in (1, 3, 9)]
    path = str(tmp_path / "fields.gpkg")
    geopandas.GeoDataFrame({"name": ["b", "d", "x"]}, geometry=fields, crs=32612).to_crs(4326).to_file(path)
    task = {"path": path, "hash": read_vectors(path).hash, "in_pixels": False}
    result, _ = predict(**place, regions=task)
    found = patches_of_regions(result, lambda filename: task, "drop")
    assert [(region.name, region.patches.tolist()) for region in found] == [("b", [1]), ("d", [3])]
