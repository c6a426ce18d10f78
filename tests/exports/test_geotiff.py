from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine

from quadrat.errors import ResultsError
from quadrat.exports import geotiff
from quadrat.exports.ground import Ground

ROWS, COLS = 3, 4
LABELS = ["<b>ice</b>", "=water", "snow"]


@pytest.fixture
def export(image_result, tmp_path):
    """Return a function that exports a scene, and returns the open raster and the stored predictions."""
    opened = []

    def write(model="scalar", labels=(), **options):
        result = image_result(model, labels, **options)
        geotiff.write(result, tmp_path / "out.tif")
        opened.append(rasterio.open(tmp_path / "out.tif"))
        stored = pq.read_table(tmp_path / "results/versions/scene.tif.0123456789ab.parquet")
        return opened[-1], stored["prediction"].to_pylist()

    yield write
    for raster in opened:
        raster.close()


@pytest.mark.parametrize("scene", ["mercator", "rotated", "no system"])
def test_corners_of_each_pixel_are_those_of_its_patch_as_rasterio_transforms_them(export, images, scene):
    raster, _ = export(scene=scene)
    with rasterio.open(images / "scene.tif") as image:
        assert raster.crs == image.crs
        for row in range(ROWS + 1):
            for col in range(COLS + 1):
                expected = image.xy(row * 32, col * 32, offset="ul")
                np.testing.assert_allclose(raster.xy(row, col, offset="ul"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stride", [16, 48])
def test_pixel_lies_in_the_middle_of_its_patch_where_patches_overlap_or_leave_gaps(export, images, stride):
    raster, _ = export(stride=stride)
    with rasterio.open(images / "scene.tif") as image:
        for row, col in [(0, 0), (raster.height - 1, raster.width - 1)]:
            middle = image.xy(row * stride + 16, col * stride + 16, offset="ul")
            np.testing.assert_allclose(raster.xy(row, col), middle, rtol=0, atol=1e-6)


@pytest.mark.parametrize("edge", ["shift", "pad", "partial"])
def test_last_row_and_column_are_drawn_where_they_lie_unshifted(export, images, edge):
    raster, stored = export(edge=edge)
    assert (raster.height, raster.width) == (4, 5)  # of an image of 100 x 140 px
    assert raster.read(1).ravel().tolist() == stored
    with rasterio.open(images / "scene.tif") as image:
        for row, col in [(0, 0), (3, 4), (4, 5)]:
            corner = image.xy(row * 32, col * 32, offset="ul")
            np.testing.assert_allclose(raster.xy(row, col, offset="ul"), corner, rtol=0, atol=1e-6)


def test_image_without_a_place_lies_where_qgis_shows_it(export):
    raster, _ = export(scene="plain")
    assert raster.crs is None
    assert tuple(raster.transform)[:6] == (32, 0, 0, 0, -32, 0)


@pytest.mark.parametrize(
    ("model", "dtype"), [("scalar", "float64"), ("float32", "float32"), ("integer", "int64")]
)
def test_pixels_are_the_predictions_in_their_own_dtype(export, model, dtype):
    raster, stored = export(model)
    assert raster.dtypes == (dtype,)
    assert raster.descriptions == ("prediction",)
    np.testing.assert_array_equal(raster.read(1), np.reshape(stored, (ROWS, COLS)))


@pytest.mark.parametrize(("model", "dtype"), [("float32", "float32"), ("integer", "float64")])
def test_skipped_patch_is_nodata(export, model, dtype):
    raster, stored = export(model, skipped=[0, 6])
    assert raster.dtypes == (dtype,)
    read = raster.read(1, masked=True)
    assert np.argwhere(read.mask).tolist() == [[0, 0], [1, 2]]
    assert read.compressed().tolist() == [value for value in stored if value is not None]


def test_skipped_patch_of_booleans_is_nodata(export):
    raster, stored = export("boolean", skipped=[5])
    read = raster.read(1, masked=True)
    assert np.argwhere(read.mask).tolist() == [[1, 1]]
    assert read.compressed().tolist() == [value for value in stored if value is not None]


def test_each_value_of_an_array_is_a_band_with_its_label(export):
    raster, stored = export("vector", labels=LABELS, skipped=[11])
    assert raster.descriptions == tuple(LABELS)
    read = raster.read()
    np.testing.assert_array_equal(read.reshape(3, -1)[:, :11].T, np.array(stored[:11]))
    assert np.isnan(read[:, 2, 3]).all()


def test_values_without_labels_are_counted(export):
    raster, stored = export("matrix")
    assert raster.descriptions == ("1", "2", "3", "4")
    np.testing.assert_array_equal(raster.read().reshape(4, -1).T, np.array(stored))


def test_labels_are_codes_that_the_tags_name(export):
    raster, stored = export("label", labels=LABELS, skipped=[3])
    names = {int(key.removeprefix("CLASS_")): label for key, label in raster.tags(1).items()}
    assert names == {1: LABELS[0], 2: LABELS[1], 3: LABELS[2]}
    codes = raster.read(1).ravel().tolist()
    assert [names.get(code) for code in codes] == stored
    assert raster.nodata == 0


def test_predictions_of_more_values_than_bands_are_refused_with_the_way_out(image_result, tmp_path):
    result = replace(image_result("vector"), shape=(70_000,))
    with pytest.raises(ResultsError, match=r"^scene\.tif: .*70,000 values.*snakemake geoparquet$"):
        geotiff.write(result, tmp_path / "out.tif")


def test_axes_of_a_level_have_scales_of_their_own():
    image, steps = Affine(2, 0.5, 100, -0.5, -3, 900), (2.5, 3.0)
    grid = {"patch_size": 20, "stride": 10}
    found = Affine(*Ground(tuple(image)[:6], None).of_raster(grid, steps))
    for row, col in [(0, 0), (4, 7)]:
        middle = (10 * col + 10) * steps[1], (10 * row + 10) * steps[0]
        assert found @ (col + 0.5, row + 0.5) == pytest.approx(image @ middle)
