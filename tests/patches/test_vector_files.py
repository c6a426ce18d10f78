import shutil
import sqlite3
import struct
from contextlib import closing, contextmanager
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely

from quadrat.errors import ImageError, MissingReaderError
from quadrat.patches.vector_files import inspect_vectors, parse_geojson, read_vectors
from quadrat.processes.limits import MOST_BYTES

SHAPES = [
    shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(1, 1), (2, 1), (2, 2)]]),
    shapely.MultiPolygon([shapely.box(20, 0, 30, 10), shapely.box(40, 0, 50, 10)]),
]
AREA = 81 - 0.5 + 200


def write(path, geometry=SHAPES, crs="EPSG:32612", **options):
    geopandas.GeoDataFrame(geometry=geometry, crs=crs).to_file(path, **options)
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
    assert inspect_vectors(path) == (True, read_vectors(path).hash)


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
    for read in (read_vectors, inspect_vectors):
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


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "Polygon", "coordinates": ' + "[" * 1000 + "]" * 1000 + "}",
        '{"type": "Polygon", "coordinates": [[[1e999, 0]]]}',
        '{"features": [], "a": ' + "[" * 10**6 + "]" * 10**6 + "}",
    ],
)
def test_geojson_nested_or_large_beyond_all_bounds_is_refused(text):
    with pytest.raises(ImageError, match="it is not GeoJSON"):
        parse_geojson(text.encode())


def test_reference_system_that_is_no_text_is_refused(geopackage):
    change(geopackage, "UPDATE gpkg_spatial_ref_sys SET organization = 'A', definition = x'ff'")
    with pytest.raises(ImageError, match="the definition of its reference system is bytes"):
        read_vectors(geopackage)


def test_nothing_is_written_beside_a_geopackage_that_keeps_a_log(geopackage, tmp_path):
    base = sqlite3.connect(geopackage)
    base.execute("PRAGMA journal_mode = WAL")
    base.close()
    before = sorted(tmp_path.iterdir())
    assert shapely.union_all(read_vectors(geopackage).geometries).area == AREA
    assert sorted(tmp_path.iterdir()) == before


@contextmanager
def editing(path, *statements):
    """Hold a GeoPackage open as QGIS does, with edits that are saved beside it."""
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA journal_mode = WAL")
        for statement in statements:
            base.execute(statement)
            base.commit()
        yield base


def test_edits_that_another_program_has_saved_are_read_and_hashed(tmp_path):
    path = write(tmp_path / "a.gpkg", SPATIAL_INDEX="NO")
    before = read_vectors(path)
    with editing(path, "DELETE FROM a WHERE fid = 1") as base:
        base.execute("DELETE FROM a")  # not saved
        expected, there = geopandas.read_file(path), sorted(tmp_path.iterdir())
        found = read_vectors(path)
        assert found.geometries == expected.geometry.tolist() == SHAPES[1:]
        assert found.hash != before.hash
        assert inspect_vectors(path) == (True, found.hash)
        assert sorted(tmp_path.iterdir()) == there
    assert read_vectors(path) == found


def test_geopackage_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.gpkg", SPATIAL_INDEX="NO")
    copy = shutil.copyfile
    with editing(path, "DELETE FROM a WHERE fid = 1") as base:

        def copy_while_saving(source, target):
            copy(source, target)
            base.execute("DELETE FROM a")
            base.commit()

        monkeypatch.setattr(shutil, "copyfile", copy_while_saving)
        with pytest.raises(ImageError, match="another program writes to it"):
            read_vectors(path)


def test_geopackage_that_may_be_half_written_is_refused(tmp_path):
    (tmp_path / "whole").mkdir()
    path = write(tmp_path / "whole/a.gpkg", [shapely.box(x, 0, x + 1, 1) for x in range(2000)])
    written = read_vectors(path)
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA journal_mode = PERSIST")
        base.execute("CREATE TABLE other (number)")
        assert read_vectors(path) == written  # beside a journal that is done with
        base.execute("PRAGMA cache_size = 10")  # so that some is written before it is committed
        base.execute("UPDATE other SET number = 1")
        base.executemany("INSERT INTO other VALUES (?)", [[bytes(3000)]] * 200)
        for killed in Path(path).parent.iterdir():
            shutil.copy(killed, tmp_path)
    for read in (read_vectors, inspect_vectors):
        with pytest.raises(ImageError, match="another program writes to it, or was stopped while writing"):
            read(str(tmp_path / "a.gpkg"))


def test_layer_of_several_is_named(tmp_path):
    path = write(tmp_path / "a:1.gpkg", SHAPES[:1], layer="fields")
    assert read_vectors(path).geometries == SHAPES[:1]
    write(path, SHAPES[1:], layer="roads", crs="EPSG:3857")
    with pytest.raises(ImageError, match=r"^it has several layers: fields, roads$") as caught:
        read_vectors(path)
    assert "FILE.gpkg:LAYER" in caught.value.hint
    for layer in ("fields", "roads"):
        found, expected = read_vectors(f"{path}:{layer}"), geopandas.read_file(path, layer=layer)
        assert (found.geometries, found.crs) == (expected.geometry.tolist(), expected.crs)
    with pytest.raises(ImageError, match=r"^it has no layer rivers: fields, roads$"):
        inspect_vectors(f"{path}:rivers")
    with pytest.raises(ImageError, match=r"^it has no layer fields, since only a GeoPackage has layers$"):
        read_vectors(write(tmp_path / "a.geojson") + ":fields")


def test_curves_are_refused_in_one_line(tmp_path):
    path = write(tmp_path / "a.gpkg", SPATIAL_INDEX="NO")
    curve = b"GP\0\1" + bytes(4) + struct.pack("<BII6d", 1, 8, 3, 0, 0, 1, 1, 2, 0)
    change(path, f"UPDATE a SET geom = x'{curve.hex()}'")
    with pytest.raises(ImageError, match=r"^cannot be read: not a readable GeoPackage: Nonlinear"):
        read_vectors(path)


def test_hash_is_of_the_geometries_and_their_system(tmp_path):
    path = write(tmp_path / "a.gpkg")
    before, written = read_vectors(path).hash, Path(path).read_bytes()
    with editing(path):  # all that QGIS does to a file that it shows
        pass
    assert Path(path).read_bytes() != written
    assert read_vectors(path).hash == before
    others = [write(tmp_path / "b.gpkg", SHAPES[:1]), write(tmp_path / "c.gpkg", crs="EPSG:32613")]
    assert len({before, *(read_vectors(other).hash for other in others)}) == 3


def test_change_of_a_file_beside_a_shapefile_changes_the_hash(tmp_path):
    path = write(tmp_path / "a.shp")
    before = read_vectors(path).hash
    write(tmp_path / "b.shp", crs="EPSG:32613")
    (tmp_path / "b.prj").replace(tmp_path / "a.prj")
    assert read_vectors(path).hash != before


def test_file_that_takes_more_memory_than_planning_may_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.geojson"
    with path.open("wb") as file:
        file.write(b"{")
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ImageError, match=r"^cannot be read with 4 GB in 120 s: MemoryError$"):
        inspect_vectors(str(path))


def test_missing_pyogrio_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.fgb")
    monkeypatch.setattr("quadrat.patches.vector_files.find_spec", lambda name: None)
    with pytest.raises(MissingReaderError, match="pyogrio") as caught:
        read_vectors(path)
    assert "pip install pyogrio" in caught.value.hint
