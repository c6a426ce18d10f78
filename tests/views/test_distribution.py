import json
import re
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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


def drawings(distribution):
    """Return the pictures of a distribution; each is XML."""
    return ElementTree.fromstring(f"<div>{draw_distribution(distribution)}</div>").findall("svg")


def texts(drawing):
    return [element.text or "" for element in drawing.iter("text")]


def test_numbers_of_a_prediction_have_a_histogram_each(count):
    drawn = drawings(count([[float(place)] * 5 for place in range(9)], kind=pa.list_(pa.float64(), 5)))
    assert [texts(drawing)[0] for drawing in drawn] == [f"prediction[{place}]" for place in range(5)]


def test_bars_of_a_histogram_are_as_high_as_their_counts_and_beside_round_values(count):
    values = np.random.default_rng(0).normal(size=1000)
    (drawing,) = drawings(count(values.tolist()))
    outline = drawing.find("path").get("d")
    base = float(outline.split()[1].split("V")[0])
    heights = base - np.array([float(height) for height in re.findall("V([0-9.]+)H", outline)])
    counts, edges = np.histogram(values, BINS)
    np.testing.assert_allclose(heights / base, counts / counts.max(), atol=0.001)
    places = {
        text.text: float(text.get("x")) for text in drawing.iter("text") if text.get("class") == "middle"
    }
    width = float(re.findall("H([0-9.]+)", outline)[-1])
    assert len(places) == 3
    for text, x in places.items():
        assert x / width == pytest.approx((float(text) - edges[0]) / (edges[-1] - edges[0]), abs=0.001)


def test_labels_have_bars_as_long_as_their_counts(count):
    (drawing,) = drawings(count(["<b>"] * 30 + ["sea"] * 10))
    assert texts(drawing) == ["<b>", "30", "sea", "10"]
    first, second = (float(path.get("d").split("h")[1].split("v")[0]) for path in drawing.iter("path"))
    assert first == pytest.approx(3 * second)


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
    drawn = drawings(count(values, kind=kind))
    assert len(drawn) == (2 if isinstance(values[0], list) else 1)
    assert all(texts(drawing) for drawing in drawn)
