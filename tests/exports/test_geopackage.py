import sys
import warnings
from dataclasses import replace

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio

from quadrat.errors import ConfigError, ResultsError
from quadrat.exports import geopackage


@pytest.fixture
def export(image_result, tmp_path):
    """Return a function that exports a scene, and returns what geopandas reads and what is stored."""

    def write(model="scalar", labels=(), **options):
        geopackage.write(image_result(model, labels, **options), tmp_path / "out.gpkg")
        stored = pq.read_table(tmp_path / "results/versions/scene.tif.0123456789ab.parquet")
        return geopandas.read_file(tmp_path / "out.gpkg"), stored.to_pandas()

    return write


@pytest.mark.parametrize("scene", ["mercator", "rotated"])
def test_corners_of_squares_are_those_of_the_pixels_as_rasterio_transforms_them(export, images, scene):
    table, stored = export(scene=scene, edge="pad")
    with rasterio.open(images / "scene.tif") as image:
        assert table.crs == image.crs
        for square, patch in zip(table.geometry, stored.itertuples(), strict=True):
            bottom, right = patch.y + patch.height, patch.x + patch.width
            pixels = [(patch.y, patch.x), (patch.y, right), (bottom, right), (bottom, patch.x)]
            expected = [image.xy(*pixel, offset="ul") for pixel in [*pixels, pixels[0]]]
            np.testing.assert_allclose(square.exterior.coords, expected, rtol=0, atol=1e-6)


def test_table_has_the_columns_of_the_store(export):
    table, stored = export("integer", skipped=[2])
    assert list(table.columns) == [*stored.columns, "geometry"]
    assert table["prediction"].isna().tolist() == [place == 2 for place in range(12)]
    assert table["skipped"].dropna().to_dict() == {2: "nodata"}
    for column in ("row", "col", "prediction", "y", "x", "height", "width"):
        np.testing.assert_array_equal(table[column], stored[column])


def test_values_of_an_array_are_columns_named_by_their_labels(export):
    table, stored = export("vector", labels=["red", "green", "blue"], skipped=[0, 7])
    assert list(table.columns)[:5] == ["row", "col", "prediction_red", "prediction_green", "prediction_blue"]
    written = table[["prediction_red", "prediction_green", "prediction_blue"]].to_numpy()
    assert np.argwhere(np.isnan(written).any(axis=1)).ravel().tolist() == [0, 7]
    expected = np.stack([value for value in stored["prediction"] if value is not None])
    np.testing.assert_array_equal(written[~np.isnan(written).any(axis=1)], expected)


@pytest.mark.parametrize("model", ["label", "boolean"])
def test_labels_and_booleans_come_back(export, model):
    table, stored = export(model)
    assert table["prediction"].tolist() == stored["prediction"].tolist()


def test_image_without_a_place_has_undefined_cartesian_coordinates(export, tmp_path):
    table, _ = export(scene="plain")
    assert "Undefined Cartesian" in pyogrio.read_info(tmp_path / "out.gpkg")["crs"]
    assert table.total_bounds.tolist() == [0, -96, 128, 0]


def test_image_with_a_place_in_no_reference_system_lies_there(export, tmp_path):
    table, _ = export(scene="no system")
    assert "Undefined Cartesian" in pyogrio.read_info(tmp_path / "out.gpkg")["crs"]
    left, top = 1_234_560.5, 5_432_100.25
    assert table.total_bounds.tolist() == [left, top - 96 * 30, left + 128 * 30, top]


def test_no_warning_reaches_the_user(image_result, tmp_path):
    result = image_result(scene="plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        geopackage.write(result, tmp_path / "unfinished.tmp")


def test_without_pyogrio_one_line_says_how_to_get_it(image_result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(ConfigError, match=r"^geopackage needs pyogrio, .*; pip install pyogrio$"):
        geopackage.write(image_result(), tmp_path / "out.gpkg")


def test_predictions_of_more_values_than_columns_are_refused_with_the_way_out(image_result, tmp_path):
    result = replace(image_result("vector"), shape=(2_000,))
    with pytest.raises(ResultsError, match=r"^scene\.tif: .*2,000 values.*snakemake geoparquet$"):
        geopackage.write(result, tmp_path / "out.gpkg")
