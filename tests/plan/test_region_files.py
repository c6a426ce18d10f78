import geopandas
import pytest
import shapely

from quadrat.errors import ConfigError
from quadrat.files.hashing import hash_file
from quadrat.patches.vector_files import read_vectors
from quadrat.plan.region_files import RegionFiles


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "regions"
    (folder / "north").mkdir(parents=True)
    (folder / "north/a.tif.geojson").write_text("[]")
    return folder


def write_vector(path, crs, **options):
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=crs).to_file(path, **options)
    return str(path)


def test_file_of_an_image_in_a_folder_has_its_whole_filename(folder):
    files = RegionFiles(str(folder))
    files.check()
    hashes = files.hash_each(["north/a.tif", "north/a.png"], hash_file)
    assert hashes == {"north/a.tif": hash_file(folder / "north/a.tif.geojson"), "north/a.png": ""}
    assert files.task("north/a.tif", "ab") == {
        "path": str(folder / "north/a.tif.geojson"),
        "hash": "ab",
        "in_pixels": True,
        "classes": None,
    }


def test_vector_file_is_that_of_all_images(tmp_path):
    path = write_vector(tmp_path / "a.gpkg", "EPSG:3857")
    files = RegionFiles(path)
    files.check()
    expected = read_vectors(path).hash
    assert files.hash_each(["a.tif", "b.tif"], hash_file) == {"a.tif": expected, "b.tif": expected}
    assert files.task("a.tif", "ab") == {"path": path, "hash": "ab", "in_pixels": False, "classes": None}


def test_folder_without_any_file_of_the_images_is_refused(folder):
    with pytest.raises(
        ConfigError, match=r"none of the 2 images has its file there; add files such as .*/a\.tif\.geojson"
    ):
        RegionFiles(str(folder)).hash_each(["b.tif", "a.tif"], hash_file)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_what_no_job_could_use_is_refused_in_one_line(tmp_path):
    missing, text = str(tmp_path / "missing"), tmp_path / "text.gpkg"
    text.write_text("text")
    reasons = {
        missing: "no such file or folder",
        str(text): "cannot be read",
        write_vector(tmp_path / "a.gpkg", None): "has no coordinate reference system",
    }
    two_layers = write_vector(tmp_path / "b.gpkg", "EPSG:3857")
    write_vector(two_layers, "EPSG:3857", layer="more")
    files = RegionFiles(f"{two_layers}:more")
    files.check()
    assert files.task("a.tif", files.hash)["path"] == f"{two_layers}:more"
    assert files.hash == read_vectors(f"{two_layers}:more").hash
    reasons |= {
        two_layers: "it has several layers: b, more; name one of them, as FILE.gpkg:LAYER",
        f"{two_layers}:less": "it has no layer less: b, more; name one of them, as FILE.gpkg:LAYER",
    }
    for path, reason in reasons.items():
        with pytest.raises(ConfigError, match=reason) as caught:
            RegionFiles(path).check()
        assert str(caught.value).startswith(f"regions {path}: ")
        assert "\n" not in str(caught.value)
