import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from quadrat.results.predictions import open_predictions
from quadrat.views.distribution import BINS, MOST_LABELS, MOST_NUMBERS, count_predictions, draw_distribution


@pytest.fixture
def count(tmp_path):
    """Return a function that counts predictions, a row group an image."""

    def counted(*images, kind=None):
        schema = pa.schema({"prediction": kind or pa.array(images[0]).type})
        with pq.ParquetWriter(tmp_path / "predictions.parquet", schema) as writer:
            for image in images:
                writer.write_table(
                    pa.table({"prediction": pa.array(image, schema.field(0).type)}, schema=schema)
                )
            shapes = [next((np.shape(value) for value in image if value is not None), ()) for image in images]
            places = {
                f"{place}.tif": {"content_hash": None, "prediction_shape": shape, "row_group": place}
                | {"first_row": 0, "rows": len(images[place])}
                for place, shape in enumerate(shapes)
            }
            writer.add_key_value_metadata({"quadrat": json.dumps({"images": places})})
        return count_predictions(open_predictions(tmp_path))

    return counted


def test_numbers_are_counted_as_numpy_counts_them(count):
    values = np.random.default_rng(0).normal(size=1000)
    found = count(values[:300].tolist(), values[300:].tolist())
    counts, edges = np.histogram(values, BINS)
    assert found.counts.tolist() == [counts.tolist()]
    np.testing.assert_allclose(found.edges, edges)


def test_what_is_skipped_or_not_finite_is_left_out(count):
    found = count([1.0, None, np.nan, np.inf, 2.0])
    assert found.counts.sum() == 2
    assert (found.edges[0], found.edges[-1]) == (1, 2)


def test_numbers_of_a_prediction_are_counted_apart_and_bounded(count):
    kind = pa.list_(pa.float32(), 20)
    found = count([[float(place) for place in range(20)], None], [[1.0] * 20], kind=kind)
    assert found.counts.shape == (MOST_NUMBERS, BINS)
    assert (found.counts.sum(axis=1) == 2).all()


def test_numbers_of_a_prediction_have_a_histogram_each_and_nothing_stands_beside_the_last(count):
    found = count([[float(place)] * 5 for place in range(9)], kind=pa.list_(pa.float64(), 5))
    picture = np.asarray(Image.open(io.BytesIO(draw_distribution(found))).convert("L"))
    height, width = (length // part for length, part in zip(picture.shape, (2, 4), strict=True))
    panels = picture[: 2 * height, : 4 * width].reshape(2, height, 4, width).min(axis=(1, 3))
    assert (panels < 200).ravel().tolist() == [True] * 5 + [False] * 3


def test_most_frequent_labels_are_counted(count):
    found = count([str(number) for number in range(100)], ["7", "7", None])
    assert found.labels[0] == ("7", 3)
    assert len(found.labels) == MOST_LABELS


def test_images_whose_patches_are_all_skipped_have_no_counts(count):
    assert count([None, None], kind=pa.float64()).counts.sum() == 0


@pytest.mark.parametrize(
    "values", [[1.0, 2.0], [3.0, 3.0], ["$x$", "<b>"], [True, False], [[1.0, 2.0]] * 3, [None]]
)
def test_any_distribution_is_drawn(count, values):
    kind = (
        pa.list_(pa.float64(), 2)
        if isinstance(values[0], list)
        else pa.float64()
        if values == [None]
        else None
    )
    picture = Image.open(io.BytesIO(draw_distribution(count(values, kind=kind))))
    assert picture.width > 600
