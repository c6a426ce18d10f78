import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quadrat.grid import PatchGrid
from quadrat.results.schema import FOOTER_KEY
from quadrat.results.writer import PredictionWriter
from quadrat.views.patch_map import read_patch_map


@pytest.fixture
def write_grid(described, results):
    """Return a function that stores predictions of an image of 100 x 140 px and returns their path."""

    def write(predict, image=None, predictor=None, **grid):
        grid = PatchGrid(100, 140, **{"patch_size": 32, "stride": 32} | grid)
        windows = list(grid.windows())
        positions = [(i // grid.cols, i % grid.cols, window) for i, window in enumerate(windows)]
        footer = described(grid) | {"filename": "a.tif", "version": "0123456789ab", "content_id": "1-2"}
        footer |= {"content_hash": None, "predictor": predictor or {}, "counts": {"patches": len(windows)}}
        footer["image"] |= image or {}
        path = results.version_path("a.tif", "0123456789ab")
        with PredictionWriter(path) as writer:
            if positions:
                writer.append(positions, np.array([predict(row, col) for row, col, _ in positions]))
            writer.finish(footer)
        return path

    return write


def skip(path, rows, reason):
    """Make some rows of a result skipped ones, as their job stores them."""
    table = pq.read_table(path)
    footer = {FOOTER_KEY: pq.read_metadata(path).metadata[FOOTER_KEY]}
    predictions = [None if i in rows else value for i, value in enumerate(table["prediction"].to_pylist())]
    reasons = [reason if i in rows else None for i in range(len(table))]
    for name, values in [("prediction", predictions), ("skipped", reasons)]:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table.replace_schema_metadata(footer), path)


def test_numbers_lie_at_their_row_and_column(write_grid):
    found = read_patch_map(write_grid(lambda row, col: row * 10.0 + col))
    assert found.values[..., 0].tolist() == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
    assert (found.names, found.is_labels) == (("prediction",), False)
    assert found.limits == (0, 23)


def test_labels_are_places_among_their_names(write_grid):
    found = read_patch_map(write_grid(lambda row, col: "water" if col else "land"))
    assert found.is_labels
    assert found.names == ("land", "water")
    assert found.values[..., 0].tolist() == [[0, 1, 1, 1]] * 3


def test_arrays_of_labels_have_one_list_of_names(write_grid):
    found = read_patch_map(write_grid(lambda row, col: ["water", "land" if col else "ice"]))
    assert (found.is_labels, found.names) == (True, ("ice", "land", "water"))
    assert found.values[0, :2].tolist() == [[2, 0], [2, 1]]


def test_vectors_have_the_names_of_the_models_labels(write_grid):
    path = write_grid(lambda row, col: [row, col], predictor={"labels": ["down", "across"]})
    found = read_patch_map(path)
    assert found.names == ("down", "across")
    assert found.values[2, 3].tolist() == [2, 3]


def test_arrays_have_the_names_of_their_places(write_grid):
    found = read_patch_map(write_grid(lambda row, col: [[1, 2], [3, row]]))
    assert found.names == tuple(f"prediction[{a}, {b}]" for a in (0, 1) for b in (0, 1))
    assert found.values[2, 0].tolist() == [1, 2, 3, 2]


@pytest.mark.parametrize("predict", [lambda row, col: 1.5, lambda row, col: "x", lambda row, col: [1.5, 2]])
def test_skipped_patches_have_no_number_but_a_reason(write_grid, predict):
    path = write_grid(predict)
    skip(path, {0, 5}, "nodata")
    found = read_patch_map(path)
    assert np.isnan(found.values[0, 0]).all()
    assert np.isnan(found.values[1, 1]).all()
    assert np.isfinite(found.values).sum() == 10 * len(found.names) or found.is_labels
    assert [found.skipped[0, 0], found.skipped[1, 1], found.skipped[2, 2]] == ["nodata", "nodata", ""]


def test_image_without_patches_has_no_map(write_grid):
    assert read_patch_map(write_grid(lambda row, col: 0.5, patch_size=512, stride=512)) is None


def test_neighbours_that_overlap_share_what_they_are_shown_on(write_grid):
    found = read_patch_map(write_grid(lambda row, col: 0.5, edge="shift"))
    # The last row starts at 68, the one before ends at 96.
    assert found.row_spans.tolist() == [[0, 32], [32, 64], [64, 82], [82, 100]]
    assert found.ys.tolist() == [0, 32, 64, 68]


def test_gaps_between_patches_and_what_is_padded_are_shown_on_nothing(write_grid):
    found = read_patch_map(write_grid(lambda row, col: 0.5, stride=40, edge="pad"))
    assert found.row_spans.tolist() == [[0, 32], [40, 72], [80, 100]]


def test_sizes_are_level_0_pixels_and_millimetres(write_grid):
    image = {"full_size": [4000, 8000], "mpp": [0.5, 0.25]}
    found = read_patch_map(write_grid(lambda row, col: 0.5, image=image))
    assert (found.height, found.width) == (4000, 8000)
    assert found.size_text == "8,000 x 4,000 px, 2 x 2 mm"


@pytest.mark.parametrize(
    ("values", "limits"),
    [([0.2, 0.3], (0, 1)), ([0.2, 3], (0.2, 3)), ([7, 7], (6.5, 7.5)), ([np.nan, np.inf], (0, 1))],
)
def test_scale_is_that_of_shares_or_reaches_from_least_to_most(write_grid, values, limits):
    found = read_patch_map(write_grid(lambda row, col: float(values[min(col, 1)])))
    assert found.limits == limits
