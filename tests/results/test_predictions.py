import json
import re
from collections.abc import Mapping
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quadrat
from quadrat import open_predictions
from quadrat.errors import ResultsError
from quadrat.jobs.predict import predict_image
from quadrat.results.merge import merge_predictions
from quadrat.results.schema import FOOTER_KEY

BY_NAME = {
    "b/a.tif": np.array([1.5, np.inf, 3.0]),
    "ü.tif": np.array([0.1]),
    "a b.tif": np.random.default_rng(0).random(40),
}


@pytest.fixture
def merged(write_result, make_settings, results):
    """Return a function that merges predictions by filename, and returns the results folder."""

    def merge(by_name):
        paths = [write_result(filename, predictions) for filename, predictions in by_name.items()]
        merge_predictions(paths, [], make_settings().as_dict(), {}, print)
        return results.path

    return merge


def test_predictions_are_a_mapping_of_filename_to_list(merged):
    predictions = open_predictions(merged(BY_NAME))
    assert isinstance(predictions, Mapping)
    assert len(predictions) == 3
    assert list(predictions) == sorted(BY_NAME)
    assert "ü.tif" in predictions
    assert "ü" not in predictions
    for filename, expected in BY_NAME.items():
        assert predictions[filename] == expected.tolist()
    assert (
        dict(predictions.items())
        == predictions.to_dict()
        == {filename: expected.tolist() for filename, expected in BY_NAME.items()}
    )


def test_predictions_are_plain_python_numbers(merged):
    assert [type(value) for value in open_predictions(merged(BY_NAME))["b/a.tif"]] == [float] * 3


def test_unknown_filename_is_a_key_error_and_get_gives_a_default(merged):
    predictions = open_predictions(merged(BY_NAME))
    with pytest.raises(KeyError, match=re.escape("'nowhere.tif'")):
        predictions["nowhere.tif"]
    assert predictions.get("nowhere.tif") is None


def test_mapping_cannot_be_written_to(merged):
    predictions = open_predictions(merged(BY_NAME))
    with pytest.raises(TypeError):
        predictions["a b.tif"] = []


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.arange(24).reshape(2, 3, 4),
        np.arange(24.0).reshape(2, 3, 2, 2),
        np.array([["a", "b"]]),
        np.array([[["a", "b"], ["c", "d"]]]),
        np.array(["cloud", "snow"]),
        np.array([True, False]),
        np.array([[True, False]]),
        np.array([2**64 - 1], np.uint64),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_predictions_of_any_shape_come_back(merged, values):
    assert open_predictions(merged({"a.tif": values}))["a.tif"] == values.tolist()


def test_vectors_of_different_lengths_come_back(merged):
    by_name = {"a.tif": np.ones((2, 3)), "b.tif": np.zeros((1, 2, 2))}
    predictions = open_predictions(merged(by_name))
    assert predictions.to_dict() == {name: values.tolist() for name, values in by_name.items()}


def test_nan_stays_nan(merged):
    values = open_predictions(merged({"a.tif": np.array([np.nan, 1.0]), "b.tif": np.array([1.0])}))["a.tif"]
    assert np.isnan(values[0])
    assert values[1] == 1


def test_predictions_of_an_image_with_their_places(merged):
    table = open_predictions(merged(BY_NAME)).to_pandas("b/a.tif")
    assert isinstance(table, pd.DataFrame)
    assert table["prediction"].tolist() == [1.5, np.inf, 3.0]
    assert table[["row", "col", "y", "x", "height", "width"]].to_numpy().tolist() == [
        [0, 0, 0, 0, 512, 512],
        [0, 1, 0, 512, 512, 512],
        [0, 2, 0, 1024, 512, 512],
    ]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(3.0),
        np.arange(3, dtype=np.int16),
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.arange(12).reshape(3, 2, 2),
        np.array([True, False, True]),
        np.array(["cloud", "snow", "ice"]),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_grid_has_the_shape_of_the_image_and_the_dtype_of_the_predictions(merged, values):
    grid = open_predictions(merged({"a.tif": values})).grid("a.tif")
    np.testing.assert_array_equal(grid, values[None])
    assert grid.dtype == (object if values.dtype.kind == "U" else values.dtype)


def test_grid_of_an_image_of_several_rows_equals_a_plain_loop(write_tiff, make_task, make_settings, results):
    image = write_tiff("a.tif", height=100, width=140)
    output = results.version_path("a.tif", "0123456789ab")
    predict_image(make_task(image.path, output=output))
    merge_predictions([output], [], make_settings().as_dict(), {}, print)
    expected = [
        [image.pixels[y : y + 32, x : x + 32].mean() for x in range(0, 128, 32)] for y in range(0, 96, 32)
    ]
    np.testing.assert_array_equal(open_predictions(results.path).grid("a.tif"), expected)


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(12.0),
        np.arange(12, dtype=np.int16),
        np.arange(24, dtype=np.float32).reshape(12, 2),
        np.arange(48).reshape(12, 2, 2),
        np.arange(12) % 5 == 0,
        np.array([f"label {number}" for number in range(12)]),
        np.array([[f"label {number}", "other"] for number in range(12)]),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_images_that_share_a_row_group_come_back_apart(merged, values, skipped):
    by_name = {"a.tif": values[:5], "b.tif": values[5:6], "c.tif": values[6:]}
    if skipped:
        by_name = {name: [None, *part.tolist(), None] for name, part in by_name.items()}
    predictions = open_predictions(merged(by_name))
    for name in ("c.tif", "a.tif", "b.tif"):
        expected = by_name[name] if skipped else by_name[name].tolist()
        assert predictions[name] == expected
        assert predictions.to_pandas(name)["col"].tolist() == list(range(len(expected)))
        grid = predictions.grid(name)[0].tolist()
        is_there = [patch is not None for patch in expected]
        assert list(compress(grid, is_there)) == list(compress(expected, is_there))
        assert f">{len(expected)}</td>" in predictions._repr_html_()


def test_folder_and_file_open_the_same(merged, results):
    folder = merged(BY_NAME)
    assert open_predictions(Path(folder)).to_dict() == open_predictions(results.predictions).to_dict()


def test_dictionary_without_images_is_empty(merged):
    assert open_predictions(merged({})).to_dict() == {}


def test_only_the_row_group_of_the_image_is_read(merged, results):
    folder = merged(BY_NAME | {"a b.tif": np.arange(100_000.0)})
    first = pq.read_metadata(results.predictions).row_group(0)
    column = next(
        first.column(index) for index in range(9) if first.column(index).path_in_schema == "prediction"
    )
    content = bytearray(Path(results.predictions).read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    Path(results.predictions).write_bytes(content)
    predictions = open_predictions(folder)
    assert predictions["b/a.tif"] == [1.5, np.inf, 3.0]
    assert predictions["ü.tif"] == [0.1]
    with pytest.raises(OSError, match=r".+"):
        predictions["a b.tif"]


def test_representation_tells_how_many_and_where(merged):
    folder = merged(BY_NAME)
    assert repr(open_predictions(folder)) == f"<Predictions of 3 images in {folder}/predictions.parquet>"


def test_folder_without_a_dictionary_is_refused_with_what_to_ask(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ResultsError, match="no such file; run the workflow to its end first"):
            open_predictions(path)


def test_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "table.parquet"
    pd.DataFrame({"prediction": [1.0]}).to_parquet(path)
    with pytest.raises(ResultsError, match=r"table\.parquet: quadrat did not write this dictionary"):
        open_predictions(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(ResultsError, match=r"table\.parquet: quadrat did not write this dictionary"):
        open_predictions(path)


def test_dictionary_of_an_earlier_version_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "predictions.parquet"
    images = {"a.tif": {"content_hash": "ab" * 16, "prediction_shape": []}}
    table = pa.table({"filename": ["a.tif"], "prediction": [1.0]})
    footer = {FOOTER_KEY: json.dumps({"images": images})}
    pq.write_table(table.replace_schema_metadata(footer), path)
    with pytest.raises(ResultsError, match=r"an earlier version did .*; run the workflow again"):
        open_predictions(path)


def test_result_of_a_single_image_is_no_dictionary(write_result):
    with pytest.raises(ResultsError, match="quadrat did not write this dictionary"):
        open_predictions(write_result("a.tif", [1.0]))


def test_package_has_no_other_attributes():
    with pytest.raises(AttributeError, match="module 'quadrat' has no attribute 'predictons'"):
        quadrat.predictons  # noqa: B018
