"""Fixtures of the export tests: results of real scenes, some patches of which may be skipped."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.transform import Affine

from quadrat.files.keys import encode
from quadrat.jobs.predict import predict_image
from quadrat.results.result import read_result

MERCATOR = Affine(30, 0, 1_234_560.5, 0, -30, 5_432_100.25)
ROTATED = Affine(0.55, 0.24, 500_000.125, 0.24, -0.55, 4_500_000.5)
SCENES = {
    "mercator": ("EPSG:3857", MERCATOR),
    "rotated": ("EPSG:32612", ROTATED),
    "no system": (None, MERCATOR),  # as an image beside a world file has it
    "plain": (None, None),
}

# Predictors of each kind of prediction, as a user writes them.
MODELS = {
    "scalar": "def predict_patch(patch):\n    return patch.mean()\n",
    "float32": "import numpy as np\ndef predict_patch(patch):\n    return np.float32(patch.mean() / 7)\n",
    "integer": "def predict_patch(patch):\n    return int(patch.max()) - 150\n",
    "boolean": "def predict_patch(patch):\n    return bool(patch.mean() > 99.5)\n",
    "label": "def predict_patch(patch):\n    return ['=water', '<b>ice</b>', 'snow'][int(patch.sum()) % 3]\n",
    "vector": "def predict_patch(patch):\n    return patch.mean(axis=(0, 1)) / 255\n",
    "nan": "def predict_patch(patch):\n    return [float('nan'), 0.5]\n",
    "matrix": "def predict_patch(patch):\n    return patch[:2, :2, 0].astype(float)\n",
}


def skip(path, places):
    """Make the patches at some rows of a result ones that were skipped."""
    table, footer = pq.read_table(path), pq.read_metadata(path).metadata
    mask = np.isin(np.arange(len(table)), places)
    column = table["prediction"].combine_chunks()
    if mask.all():
        column = pa.nulls(len(table))
    elif pa.types.is_fixed_size_list(column.type):
        column = pa.FixedSizeListArray.from_arrays(
            column.flatten(), column.type.list_size, mask=pa.array(mask)
        )
    else:
        column = pa.array(column.to_pylist(), column.type, mask=mask)
    place = table.schema.get_field_index("prediction")
    table = table.set_column(place, "prediction", column)
    reasons = pa.array(["nodata"] * len(table), pa.string(), mask=~mask)
    table = table.set_column(table.schema.get_field_index("skipped"), "skipped", reasons)
    with pq.ParquetWriter(path, table.schema.remove_metadata()) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"quadrat": footer[b"quadrat"]})


@pytest.fixture
def write_scene(images, noise):
    """Return a function that writes a GeoTIFF of noise, and returns its path and pixels."""

    def write(filename="scene.tif", scene="mercator", height=100, width=140):
        crs, transform = SCENES[scene]
        pixels = noise(height, width, 3)
        path = images / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as raster:
            raster.write(pixels.transpose(2, 0, 1))
        return path, pixels

    return write


@pytest.fixture
def predict_scene(write_scene, write_model, make_task, results):
    """Return a function that predicts a scene in patches of 32 px, and returns the path of its result."""

    def predict(model="scalar", filename="scene.tif", scene="mercator", skipped=(), **reading):
        path, _ = write_scene(filename, scene)
        source = write_model(MODELS[model], f"{model}.py")
        predictor = {"kind": "python", "path": source, "name": "predict_patch"}
        output = results.version_path(encode(filename), "0123456789ab")
        predict_image(make_task(path, filename=filename, predictor=predictor, output=output, **reading))
        if len(skipped):
            skip(output, skipped)
        return output

    return predict


@pytest.fixture
def image_result(predict_scene):
    """Return a function that predicts a scene and opens its result as an exporter gets it."""

    def make(model="scalar", labels=(), **options):
        return replace(read_result(predict_scene(model, **options)), labels=tuple(labels))

    return make
