import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from quadrat.exports import geoparquet


@pytest.fixture
def export(image_result, tmp_path):
    """Return a function that exports a scene, and returns what geopandas reads."""

    def write(model="scalar", **options):
        geoparquet.write(image_result(model, **options), tmp_path / "out.parquet")
        return geopandas.read_parquet(tmp_path / "out.parquet")

    return write


@pytest.mark.parametrize("scene", ["mercator", "rotated"])
def test_squares_are_those_of_the_pixels_as_rasterio_transforms_them(export, images, scene):
    table = export(scene=scene)
    with rasterio.open(images / "scene.tif") as image:
        assert table.crs == image.crs
        for square, patch in zip(table.geometry, table.itertuples(), strict=True):
            pixels = [(patch.y, patch.x), (patch.y, patch.x + 32), (patch.y + 32, patch.x + 32)]
            expected = [image.xy(*pixel, offset="ul") for pixel in pixels]
            np.testing.assert_allclose(square.exterior.coords[:3], expected, rtol=0, atol=1e-6)


def test_reference_system_without_a_code_is_kept(image_result, tmp_path):
    crs = rasterio.crs.CRS.from_string("+proj=laea +lat_0=33 +lon_0=-77 +datum=WGS84 +units=m")
    result = image_result()
    result.image["crs"] = crs.to_wkt()
    geoparquet.write(result, tmp_path / "out.parquet")
    assert rasterio.crs.CRS.from_user_input(geopandas.read_parquet(tmp_path / "out.parquet").crs) == crs


@pytest.mark.parametrize("scene", ["plain", "no system"])
def test_image_without_a_reference_system_has_none(scene, export):
    assert export(scene=scene).crs is None


@pytest.mark.parametrize("model", ["scalar", "label", "vector", "matrix", "boolean"])
def test_predictions_are_as_they_are_stored(export, model, tmp_path):
    table = export(model, skipped=[1])
    stored = pq.read_table(tmp_path / "results/versions/scene.tif.0123456789ab.parquet")
    written = pq.read_table(tmp_path / "out.parquet")
    assert written["prediction"].type == stored["prediction"].type
    assert written["prediction"].to_pylist() == stored["prediction"].to_pylist()
    assert table["skipped"].dropna().to_dict() == {1: "nodata"}
