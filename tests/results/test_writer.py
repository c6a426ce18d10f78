import errno
import json
import os
import shutil
import stat

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quadrat.errors import PredictorError, ResultsError, WriteError
from quadrat.files.atomic import replace_file, replacing, writing
from quadrat.grid import PatchGrid
from quadrat.results.schema import read_footer
from quadrat.results.writer import PredictionWriter, write_failure

FOOTER = {
    "filename": "north/ü.tif",
    "version": "0123456789ab",
    "content_id": "1-2",
    "content_hash": None,
}


def positions_of(count):
    windows = PatchGrid(512, 512 * count).windows() if count else []
    return [(0, col, window) for col, window in enumerate(windows)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "versions/a.tif.0123456789ab.parquet"


@pytest.fixture
def write(path):
    """Return a function that stores predictions, in one batch or in several."""

    def write_batches(*batches, footer=FOOTER):
        with PredictionWriter(path) as writer:
            places = positions_of(sum(map(len, batches)))
            for batch in map(np.asarray, batches):
                writer.append(places[: len(batch)], batch)
                places = places[len(batch) :]
            writer.finish(footer)
        return path

    return write_batches


# what is stored


@pytest.mark.parametrize(
    "predictions",
    [
        np.array([0.1, np.nan, np.inf]),
        np.array([0.1, -0.0, 3e38], np.float32),
        np.array([1, 2, 255], np.uint8),
        np.array([-1, 2, 2**62]),
        np.array([0, 1, 2**64 - 1], np.uint64),
        np.array([True, False, True]),
        np.array(["cloud", "", "Wölkchen"]),
    ],
    ids=lambda predictions: str(predictions.dtype),
)
def test_prediction_keeps_its_dtype_and_bits(write, predictions):
    column = pq.read_table(write(predictions))["prediction"]
    expected = pa.array(predictions)
    assert column.type == expected.type
    if predictions.dtype.kind == "U":
        assert column.to_pylist() == predictions.tolist()
    else:
        assert column.to_numpy().tobytes() == predictions.tobytes()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 1, 1)])
def test_array_is_stored_as_a_list_of_fixed_size_with_its_shape_in_the_footer(write, shape):
    predictions = np.random.default_rng(0).random((4, *shape), np.float32)
    path = write(predictions[:3], predictions[3:])
    column = pq.read_table(path)["prediction"]
    assert column.type == pa.list_(pa.float32(), int(np.prod(shape)))
    np.testing.assert_array_equal(
        np.array(column.to_pylist(), np.float32).reshape(predictions.shape), predictions
    )
    assert tuple(read_footer(path)[0]["prediction_shape"]) == shape


def test_half_floats_are_stored_as_floats_that_every_tool_reads(write):
    column = pq.read_table(write(np.array([0.1, 2], np.float16)))["prediction"]
    assert column.type == pa.float32()
    assert column.to_pylist() == np.array([0.1, 2], np.float16).astype(float).tolist()


def test_row_tells_grid_cell_and_window(path):
    grid = PatchGrid(70, 100, 40, 30, "partial")
    positions = [
        (index // grid.cols, index % grid.cols, window) for index, window in enumerate(grid.windows())
    ]
    with PredictionWriter(path) as writer:
        writer.append(positions, np.arange(len(grid), dtype=float))
        writer.finish(FOOTER)
    table = pd.read_parquet(path)
    assert list(table) == ["row", "col", "prediction", "y", "x", "height", "width", "skipped"]
    assert [(row.row, row.col, (row.y, row.x, row.height, row.width)) for row in table.itertuples()] == [
        (row, col, tuple(window)) for row, col, window in positions
    ]
    types = {field.name: str(field.type) for field in pq.read_schema(path)}
    assert types == {
        "row": "int32",
        "col": "int32",
        "prediction": "double",
        "y": "int64",
        "x": "int64",
        "height": "int32",
        "width": "int32",
        "skipped": "string",
    }


def test_rows_are_grouped_for_quick_reading_and_none_is_lost(write, monkeypatch):
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", 10)
    path = write(*np.arange(35.0).reshape(7, 5))
    assert pq.read_metadata(path).num_row_groups == 4
    assert pq.read_table(path)["prediction"].to_pylist() == list(range(35))


def test_view_that_the_predictor_writes_over_keeps_what_it_held(path):
    reused = np.array([1.0])
    with PredictionWriter(path) as writer:
        for col, place in enumerate(positions_of(3)):
            reused[0] = col
            writer.append([place], reused)
        writer.finish(FOOTER)
    assert pq.read_table(path)["prediction"].to_pylist() == [0, 1, 2]


def test_labels_of_different_lengths_go_together(write):
    assert pq.read_table(write(["a"], ["longer"]))["prediction"].to_pylist() == ["a", "longer"]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (np.array(["a"]), "the prediction is text, but earlier ones are float64"),
        (np.array([True]), "the prediction is bool, but earlier ones are float64"),
        (np.array([[0.5, 0.5]]), r"the prediction is float64 of shape \(2,\), but earlier ones are float64"),
    ],
)
def test_predictions_of_one_image_must_be_alike(write, path, second, told):
    with pytest.raises(
        PredictorError, match=rf"patch row 0, col 2: {told}; return one type and shape for all patches"
    ):
        write(np.array([0.5, 0.5]), second)
    assert not path.exists()


def test_integers_and_floats_of_one_image_are_stored_as_what_holds_both(write):
    table = pq.read_table(write(np.array([0, 1]), np.array([0.5], np.float32), np.array([2])))
    assert table["prediction"].type == pa.float64()
    assert table["prediction"].to_pylist() == [0, 1, 0.5, 2]


@pytest.mark.parametrize(
    "batches",
    [
        [np.array([2**60 + 1, 1]), np.array([0.5])],
        [np.array([0.5, 1]), np.array([2])],
        [np.array([[1, 2]] * 3, np.int8), np.array([[0.5, 3]], np.float32), np.array([[2**40, 7]])],
        [np.array(["a", "b"]), np.array(["land"])],
    ],
)
def test_predictions_of_a_wider_type_after_a_row_group_leave_the_file_that_one_row_group_would(
    write, monkeypatch, batches
):
    expected = pq.read_table(write(*batches))
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", 2)
    assert pq.read_table(write(*batches)).equals(expected)


@pytest.mark.parametrize(
    "predictions",
    [np.array([None, 1]), np.array([b"a", b"b"]), np.array([1j, 2]), np.zeros((2, 0)), np.array([{}, {}])],
    ids=lambda predictions: f"{predictions.dtype}{predictions.shape}",
)
def test_what_cannot_be_stored_is_refused_with_what_can(write, predictions):
    with pytest.raises(PredictorError, match="return numbers, booleans or strings, or arrays of them"):
        write(predictions)


# the footer


def test_footer_is_read_back_with_the_number_of_rows(write):
    footer, schema = read_footer(write(np.array([1.0, 2.0])))
    assert footer == FOOTER | {"prediction_shape": [], "rows": 2}
    assert schema.field("prediction").type == pa.float64()


def test_footer_is_json_under_one_key(write):
    metadata = pq.read_metadata(write(np.array([1.0]))).metadata
    assert json.loads(metadata[b"quadrat"])["filename"] == "north/ü.tif"


def test_image_without_a_patch_has_an_empty_whole_result(write):
    path = write()
    assert read_footer(path)[0]["rows"] == 0
    assert len(pd.read_parquet(path)) == 0


def test_failure_is_an_empty_result_that_holds_the_reason(path):
    failure = {"kind": "data", "message": "truncated", "hint": "copy it again"}
    write_failure(PredictionWriter(path), FOOTER, failure)
    footer, _ = read_footer(path)
    assert footer["failure"] == failure
    assert footer["rows"] == 0


def test_same_predictions_give_the_same_bytes(write):
    first = write(np.array([1.0, 2.0])).read_bytes()
    assert write(np.array([1.0, 2.0]), footer=dict(reversed(FOOTER.items()))).read_bytes() == first


def _foreign(path):
    pd.DataFrame({"a": [1]}).to_parquet(path)


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "text": lambda path: path.write_text("not a Parquet"),
    "of another program": _foreign,
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("case", BROKEN)
def test_file_that_is_no_whole_result_is_refused_by_name_with_what_to_do(write, case):
    path = write(np.array([1.0]))
    BROKEN[case](path)
    with pytest.raises(ResultsError) as caught:
        read_footer(path)
    assert str(caught.value).startswith(f"{path}: quadrat did not write this result, or not whole")
    assert str(caught.value).endswith("delete the file and run again")


# whole or not at all


def test_result_cannot_be_found_before_it_is_whole(path):
    with PredictionWriter(path) as writer:
        writer.append(positions_of(1), np.array([1.0]))
        writer.finish(FOOTER)
        assert not path.exists()
    assert path.exists()


def test_error_leaves_nothing(path):
    with pytest.raises(ZeroDivisionError), PredictionWriter(path) as writer:
        writer.append(positions_of(1), np.array([1 / 0]))
    assert list(path.parent.iterdir()) == []


def test_disk_that_is_full_when_the_footer_is_written_leaves_nothing(path, monkeypatch):
    writer = PredictionWriter(path)

    def write():
        with writer:
            writer.append(positions_of(1), np.array([1.0]))
            writer.finish(FOOTER)

    def fail(_):
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "close", fail)
    with pytest.raises(WriteError, match=r"a\.tif.* cannot be written: No space left on device$"):
        write()
    assert list(path.parent.iterdir()) == []


def test_error_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "images.tsv"
    path.write_bytes(b"before")

    def write_half(temporary):
        temporary.write_bytes(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        write_half(temporary)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_success_leaves_the_file_alone_in_its_folder(write, path):
    write(np.array([1.0]))
    assert list(path.parent.iterdir()) == [path]


def test_file_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "run.yaml"
    for content in (b"before", b"after"):
        replace_file(path, content)
        assert path.read_bytes() == content


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as one, replacing(path) as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert path.read_bytes() == b"one"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_file_is_as_open_as_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        replace_file(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_file_is_private_until_it_is_whole(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


def test_longest_name_of_a_key_can_be_written(tmp_path):
    path = tmp_path / ("ü" * 90 + ".0123456789ab.parquet")
    replace_file(path, b"")
    assert path.exists()


# skipped patches


@pytest.mark.parametrize(
    "predictions",
    [
        np.array([0.5, np.nan], np.float32),
        np.array([3, 4], np.int16),
        np.array([True, False]),
        np.array(["water", "ice"]),
        np.arange(12.0).reshape(2, 2, 3),
    ],
    ids=["float", "int", "bool", "text", "array"],
)
@pytest.mark.parametrize("rows_a_group", [1, 2, 100])
def test_skipped_patch_has_a_reason_and_no_prediction(path, predictions, rows_a_group, monkeypatch):
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", rows_a_group)
    places = positions_of(7)
    with PredictionWriter(path) as writer:
        writer.skip(places[:2], ["outside", "nodata"])
        writer.append(places[2:3], predictions[:1])
        writer.skip(places[3:4], ["nodata"])
        writer.append(places[4:5], predictions[1:])
        writer.skip(places[5:6], ["background"])
        writer.skip(places[6:], ["background"])
        writer.finish(FOOTER)
    table = pq.read_table(path)
    background = 2 * ["background"]
    assert table["skipped"].to_pylist() == ["outside", "nodata", None, "nodata", None, *background]
    assert table["col"].to_pylist() == [col for _, col, _ in places]
    first, second = predictions.reshape(2, -1).tolist() if predictions.ndim > 1 else predictions.tolist()
    found = table["prediction"].to_pylist()
    np.testing.assert_equal(found, [None, None, first, None, second, None, None])


def test_image_of_which_all_is_skipped_has_rows_without_a_type(path):
    with PredictionWriter(path) as writer:
        writer.skip(positions_of(3), 3 * ["outside"])
        writer.finish(FOOTER)
    table = pq.read_table(path)
    assert table["prediction"].to_pylist() == [None, None, None]
    assert pa.types.is_null(table["prediction"].type)


@pytest.mark.parametrize("sizes", [[25], [1] * 25, [9, 9, 7]])
def test_row_groups_do_not_depend_on_how_rows_come(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", 10)
    positions = positions_of(25)
    predictions = np.arange(25.0)
    with PredictionWriter(tmp_path / "a.parquet") as writer:
        first = 0
        for size in sizes:
            writer.append(positions[first : first + size], predictions[first : first + size])
            first += size
        writer.finish({})
    file = pq.ParquetFile(tmp_path / "a.parquet")
    groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert groups == [10, 10, 5]
    assert file.read()["prediction"].to_pylist() == predictions.tolist()


def test_folder_that_cannot_be_written_to_is_told_with_the_file(tmp_path):
    (tmp_path / "results").write_text("a file")
    path = tmp_path / "results/versions/a.parquet"
    with pytest.raises(WriteError, match=f"^{path}: cannot be written: Not a directory$"):
        replace_file(path, b"")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "Disk quota exceeded"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_disk_that_takes_no_more_is_told_with_the_file_and_leaves_nothing(tmp_path, number, told):
    with pytest.raises(WriteError, match=f"a: cannot be written: {told}"), replacing(tmp_path / "a"):
        raise OSError(number, "as a library puts it")
    assert list(tmp_path.iterdir()) == []


def test_other_error_of_the_system_is_not_taken_for_one_of_the_disk(tmp_path):
    with pytest.raises(ConnectionError), replacing(tmp_path / "a"):
        raise ConnectionError(errno.ECONNRESET, "of a model that asks a server")


def test_error_without_a_number_is_told_in_its_own_words():
    with pytest.raises(WriteError, match=r"^a: cannot be written: the same file$"), writing("a"):
        raise shutil.SameFileError("the same file")


def test_file_whose_temporary_one_another_run_removed_is_not_written(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(WriteError, match="a: cannot be written: No such file"), replacing(path):
        next(tmp_path.iterdir()).unlink()
    assert list(tmp_path.iterdir()) == []
