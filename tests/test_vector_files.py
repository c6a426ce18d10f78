import sqlite3
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely

from quadrat.errors import ImageError, MissingReaderError
from quadrat.vector_files import CHILD_BYTES, has_crs, read_vectors

SHAPES = [
    shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(1, 1), (2, 1), (2, 2)]]),
    shapely.MultiPolygon([shapely.box(20, 0, 30, 10), shapely.box(40, 0, 50, 10)]),
]
AREA = 81 - 0.5 + 200


def write(path, geometry=SHAPES, crs="EPSG:32612"):
    geopandas.GeoDataFrame(geometry=geometry, crs=crs).to_file(path)
    return str(path)


@pytest.fixture
def geopackage(tmp_path):
    return write(tmp_path / "a.gpkg")


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.fgb", "a.shp"])
@pytest.mark.parametrize("crs", ["EPSG:32612", "EPSG:3857"])
def test_geometries_and_system_are_those_that_geopandas_reads(name, crs, tmp_path):
    path = write(tmp_path / name, crs=crs)
    expected = geopandas.read_file(path)
    found = read_vectors(path)
    assert expected.crs == found.crs
    assert expected.geometry.tolist() == found.geometries
    assert has_crs(path)


def test_content_chooses_the_format_and_not_the_ending(geopackage, tmp_path):
    renamed = Path(geopackage).rename(tmp_path / "a.geojson")
    assert shapely.union_all(read_vectors(str(renamed)).geometries).area == AREA


def test_points_with_height_in_a_geopackage_are_read(tmp_path):
    points = shapely.points(np.arange(12.0).reshape(4, 3))
    assert read_vectors(write(tmp_path / "a.gpkg", points)).geometries == points.tolist()


def test_other_drivers_of_gdal_are_there_again(tmp_path):
    drivers = pyogrio.list_drivers()
    read_vectors(write(tmp_path / "a.fgb"))
    assert pyogrio.list_drivers() == drivers


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{}</SrcDataSource></OGRVRTLayer>",
        '{{"type": "gdal_streamed_alg", "command_line": "gdal vector convert {0} {0}.gpkg"}}',
        '{{"features": [], "crs": {{"type": "name", "properties": {{"name": "{}"}}}}}}',
        "<kml><NetworkLink><Link><href>{}</href></Link></NetworkLink></kml>",
    ],
)
def test_file_of_another_format_is_refused_whatever_its_ending(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text.format(write(tmp_path / "other.geojson")))
    before = sorted(tmp_path.iterdir())
    for read in (read_vectors, has_crs):
        with pytest.raises(ImageError, match="cannot be read: "):
            read(str(path))
    assert sorted(tmp_path.iterdir()) == before


def change(path, *statements):
    base = sqlite3.connect(path)
    for statement in statements:
        base.execute(statement)
    base.commit()
    base.close()


@pytest.mark.parametrize(
    "view",
    [
        "SELECT ogr_geocode('http://127.0.0.1/') AS geom",
        "SELECT upper('a') AS geom",
        "SELECT CAST(load_extension('a.so') AS BLOB) AS geom",
        "WITH RECURSIVE more(geom) AS (SELECT x'00' UNION ALL SELECT geom FROM more) SELECT geom FROM more",
    ],
)
def test_sql_of_a_geopackage_that_does_more_than_read_columns_is_not_run(view, geopackage):
    change(
        geopackage,
        f"CREATE VIEW planted AS {view}",
        "PRAGMA writable_schema = ON",
        "UPDATE gpkg_geometry_columns SET table_name = 'planted'",
    )
    with pytest.raises(ImageError, match="not a readable GeoPackage"):
        read_vectors(geopackage)


def test_nothing_is_written_beside_a_geopackage_that_keeps_a_log(geopackage, tmp_path):
    base = sqlite3.connect(geopackage)
    base.execute("PRAGMA journal_mode = WAL")
    base.close()
    before = sorted(tmp_path.iterdir())
    assert shapely.union_all(read_vectors(geopackage).geometries).area == AREA
    assert sorted(tmp_path.iterdir()) == before


def test_geopackage_that_another_program_writes_to_is_refused(geopackage):
    base = sqlite3.connect(geopackage)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("CREATE TABLE more (a)")
    with pytest.raises(ImageError, match="another program has it open"):
        read_vectors(geopackage)
    base.close()


def test_file_that_takes_more_memory_than_planning_may_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.geojson"
    with path.open("wb") as file:
        file.write(b"{")
        file.truncate(CHILD_BYTES + 1)
    with pytest.raises(ImageError, match=r"^cannot be read with 4 GB in 120 s: MemoryError$"):
        has_crs(str(path))


def test_missing_pyogrio_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.fgb")
    monkeypatch.setattr("quadrat.vector_files.find_spec", lambda name: None)
    with pytest.raises(MissingReaderError, match="pyogrio") as caught:
        read_vectors(path)
    assert "pip install pyogrio" in caught.value.hint
