import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quadrat import open_predictions
from quadrat.errors import ResultsError
from quadrat.results.merge import merge_predictions
from quadrat.results.tables import PlannedImage
from quadrat.results.writer import PredictionWriter

OTHER = "ba9876543210"


@pytest.fixture
def merge(make_settings):
    """Return a function that merges results, and returns the lines that it told."""

    def merge_all(*paths, images=(), **config):
        lines = []
        merge_predictions(
            list(paths), list(images), make_settings(**config).as_dict(), {"level": 0}, lines.append
        )
        return lines

    return merge_all


@pytest.fixture
def dictionary(results):
    """Return a function that reads predictions.json."""
    return lambda: json.loads(Path(results.json).read_text())


@pytest.fixture
def image_table(results):
    """Return a function that reads images.tsv as text, by filename."""
    return lambda: pd.read_csv(results.images, sep="\t", dtype=str, keep_default_na=False).set_index(
        "filename"
    )


def planned(filename, problem="", hint="", **columns):
    return PlannedImage(filename, filename, "", "", filename, 0, problem, hint, columns=columns)


@pytest.fixture
def write_shard(results):
    """Return a function that writes a shard of an image, and returns its path."""

    def write(filename, rows, **footer):
        path = results.shard_path(filename, "0123456789ab", rows)
        with PredictionWriter(path) as writer:
            known = {"filename": filename, "version": "0123456789ab", "content_id": "1-2"}
            writer.finish(known | {"content_hash": None} | footer)
        return Path(path)

    return write


# the dictionary


def test_json_holds_each_image_under_its_filename_in_order(write_result, merge, dictionary):
    merge(write_result("ü.tif", [3.5]), write_result("b/a.tif", [1.0, 2.0]), write_result("a b.tif", [0.1]))
    assert dictionary() == {"a b.tif": [0.1], "b/a.tif": [1.0, 2.0], "ü.tif": [3.5]}
    assert list(dictionary()) == ["a b.tif", "b/a.tif", "ü.tif"]


@pytest.mark.parametrize(
    "predictions",
    [
        np.random.default_rng(0).random(5),
        np.random.default_rng(0).random(5, np.float32),
        np.arange(5, dtype=np.uint8),
        np.array([2**63, 2**64 - 1], np.uint64),
        np.array([True, False]),
        np.array(["cloud", 'quote"', "snow\n"]),
        np.random.default_rng(0).random((3, 4)),
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.array([["a", "b"], ["c", "d"]]),
    ],
    ids=lambda predictions: f"{predictions.dtype}{predictions.shape}",
)
def test_json_and_parquet_hold_what_was_predicted(write_result, merge, dictionary, results, predictions):
    merge(write_result("a.tif", predictions))
    assert dictionary() == {"a.tif": predictions.tolist()}
    column = pq.read_table(results.predictions)["prediction"]
    assert column.to_pylist() == predictions.reshape(len(predictions), -1).tolist() or (
        column.to_pylist() == predictions.tolist()
    )


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        ([np.nan, np.inf, -np.inf, 0.5], ["NaN", "Infinity", "-Infinity", 0.5]),
        ([[1.0, np.nan], [-np.inf, 0.0]], [[1.0, "NaN"], ["-Infinity", 0.0]]),
        (np.full((1, 2, 2), np.float32(np.inf)), [[["Infinity"] * 2] * 2]),
    ],
    ids=["numbers", "vectors", "matrices"],
)
def test_numbers_that_json_has_not_are_strings(write_result, merge, dictionary, predictions, expected):
    merge(write_result("a.tif", predictions))
    assert dictionary() == {"a.tif": expected}


def test_parquet_holds_the_rows_of_each_image_in_order(write_result, merge, results):
    merge(write_result("b.tif", [1.0, 2.0, 3.0]), write_result("a.tif", [4.0]))
    rows = pq.read_table(results.predictions).to_pydict()
    assert rows["filename"] == ["a.tif", *["b.tif"] * 3]
    assert rows["prediction"] == [4.0, 1.0, 2.0, 3.0]
    assert rows["x"] == [0, 0, 512, 1024]


def test_small_images_share_a_row_group_and_none_is_in_two(write_result, merge, results):
    patches = {
        "a.tif": 1,
        "b.tif": 2,
        "c.tif": 40_000,
        "d.tif": 3,
        "e.tif": 9_000,
        "f.tif": 9_000,
        "g.tif": 9_000,
    }
    predictions = {filename: np.random.default_rng(0).random(count) for filename, count in patches.items()}
    merge(*(write_result(filename, values) for filename, values in predictions.items()))
    file = pq.ParquetFile(results.predictions)
    groups = [file.read_row_group(index)["filename"].to_pylist() for index in range(file.num_row_groups)]
    assert [sorted(set(group)) for group in groups[:2]] == [["a.tif", "b.tif"], ["c.tif"]]
    assert sum(len(set(group)) for group in groups) == len(patches)
    assert 3 < len(groups) < len(patches)
    opened = open_predictions(results.path)
    for filename in reversed(patches):
        assert opened[filename] == predictions[filename].tolist()


def test_parquet_is_a_table_that_pandas_reads(write_result, merge, results):
    merge(write_result("b.tif", [1.0, 2.0]), write_result("a.tif", [4.0]))
    table = pd.read_parquet(results.predictions)
    assert list(table) == [
        *("filename", "row", "col", "prediction", "y", "x", "height", "width", "skipped"),
    ]
    assert table.groupby("filename")["prediction"].sum().to_dict() == {"a.tif": 4.0, "b.tif": 3.0}


def test_folder_named_like_a_partition_adds_no_column(write_result, merge, results, dictionary):
    merge(write_result("site=1/year=2024/a.tif", [1.0]), write_result("site=2/a.tif", [2.0]))
    assert dictionary() == {"site=1/year=2024/a.tif": [1.0], "site=2/a.tif": [2.0]}
    assert not {"site", "year"} & set(pd.read_parquet(results.predictions))


def test_order_of_the_results_does_not_change_a_byte(write_result, merge, results):
    paths = [write_result(f"{name}.tif", [float(name), 2.0]) for name in range(5)]
    merge(*paths)
    files = [results.predictions, results.json, results.images]
    first = [Path(file).read_bytes() for file in files]
    merge(*reversed(paths))
    assert [Path(file).read_bytes() for file in files] == first


def test_version_does_not_change_a_byte(write_result, merge, results):
    merge(write_result("a.tif", [1.0]))
    first = Path(results.predictions).read_bytes()
    merge(write_result("a.tif", [1.0], version=OTHER))
    assert Path(results.predictions).read_bytes() == first


@pytest.mark.parametrize(("limit", "is_written"), [(5, False), (6, True)])
def test_json_is_written_up_to_json_max_values(write_result, merge, dictionary, results, limit, is_written):
    predictions = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    merge(write_result("a.tif", predictions), json_max_values=limit)
    if is_written:
        assert dictionary() == {"a.tif": predictions}
    else:
        assert "6 values are more than json_max_values 5" in dictionary()
        assert "open_predictions" in dictionary()


def test_run_without_any_good_image_has_an_empty_dictionary(write_result, merge, dictionary, results):
    merge(write_result("a.tif", failure={"kind": "data", "message": "empty file", "hint": ""}))
    assert dictionary() == {}
    assert len(pd.read_parquet(results.predictions)) == 0


# skipped patches


@pytest.mark.parametrize(
    "prediction", [0.5, 3, "water", [1.0, 2.0], [[1, 2], [3, 4]], True], ids=lambda value: str(value)
)
def test_skipped_patches_are_null_in_every_form(write_result, merge, dictionary, results, prediction):
    merge(write_result("a.tif", [None, None]), write_result("b.tif", [None, prediction, None]))
    expected = {"a.tif": [None, None], "b.tif": [None, prediction, None]}
    assert dictionary() == expected
    assert open_predictions(results.path).to_dict() == expected
    table = pd.read_parquet(results.predictions)
    assert table["prediction"].isna().tolist() == [True, True, True, False, True]
    assert (table["skipped"] == "nodata").tolist() == [True, True, True, False, True]
    # A folder is read with the types of its first file, which has no prediction.
    table = pd.read_parquet(results.links)
    assert table["prediction"].isna().tolist() == [True, True, True, False, True]


def test_skipped_patch_is_not_a_prediction_that_is_nan(write_result, merge, dictionary):
    merge(write_result("a.tif", [None, np.nan, 1.0]))
    assert dictionary() == {"a.tif": [None, "NaN", 1.0]}


def test_run_of_which_all_is_skipped_has_a_dictionary_of_nulls(write_result, merge, dictionary, image_table):
    merge(write_result("a.tif", [None, None]))
    assert dictionary() == {"a.tif": [None, None]}
    assert image_table().loc["a.tif", ["status", "patches", "skipped"]].tolist() == ["ok", "2", "2"]


# predictions that differ between images


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uint8", "uint16"),
        ("uint8", "int8"),
        ("int32", "float32"),
        ("float32", "float64"),
        ("uint64", "int8"),
    ],
)
def test_numbers_are_promoted_as_numpy_does(write_result, merge, results, one, other):
    merge(write_result("a.tif", np.array([1, 2], one)), write_result("b.tif", np.array([3], other)))
    column = pq.read_table(results.predictions)["prediction"]
    assert column.type.to_pandas_dtype() is np.promote_types(one, other).type
    assert column.to_pylist() == [1, 2, 3]


def test_vectors_of_different_lengths_go_together(write_result, merge, results, dictionary):
    merge(write_result("a.tif", [[1.0, 2.0]]), write_result("b.tif", np.array([[3, 4, 5]], np.uint8)))
    assert pq.read_table(results.predictions)["prediction"].to_pylist() == [[1, 2], [3, 4, 5]]
    assert pq.read_schema(results.predictions).field("prediction").type == pa.list_(pa.float64())
    assert dictionary() == {"a.tif": [[1, 2]], "b.tif": [[3, 4, 5]]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1.0]), np.array(["a"])),
        (np.array([1.0]), np.array([[1.0, 2.0]])),
        (np.array([True]), np.array([1])),
        (np.array([["a", "b"]]), np.array([[1.0, 2.0]])),
    ],
    ids=["number and text", "number and vector", "boolean and number", "vectors of text and of numbers"],
)
def test_predictions_that_do_not_go_together_are_refused_by_name(write_result, merge, results, one, other):
    with pytest.raises(ResultsError, match=r"predictions of a\.tif are .*, but b\.tif has .*"):
        merge(write_result("a.tif", one), write_result("b.tif", other))
    assert not os.path.exists(results.predictions)
    assert not os.path.exists(results.merged)


def test_integer_that_the_numbers_of_others_cannot_hold_is_refused_by_name(write_result, merge, results):
    exact = 2**53 + 1
    with pytest.raises(
        ResultsError, match=rf"predictions of b\.tif are int64, which does not fit in .*{exact}"
    ):
        merge(write_result("a.tif", [0.5]), write_result("b.tif", [exact]))
    assert not os.path.exists(results.predictions)
    assert not os.path.exists(results.json)


# the table of images


def test_table_has_a_row_for_each_image_found(write_result, merge, image_table):
    merge(
        write_result("ok.tif", [1.0, 2.0], counts={"patches": 2, "skipped": 0, "nan": 1, "dropped": 0.25}),
        write_result("small.tif", []),
        write_result(
            "broken.tif", failure={"kind": "data", "message": "truncated:\n half", "hint": "copy it"}
        ),
        images=[planned("ok.tif"), planned("{a}.tif", problem="braces", hint="rename")],
    )
    table = image_table()
    assert table["status"].to_dict() == {
        "broken.tif": "failed", "ok.tif": "ok", "small.tif": "no_patch", "{a}.tif": "failed",
    }  # fmt: skip
    ok = table.loc["ok.tif"]
    assert (ok.patches, ok.skipped, ok.nan, ok.dropped, ok.content_hash) == (
        "2",
        "0",
        "1",
        "0.250000",
        "ab" * 16,
    )
    broken = table.loc["broken.tif"]
    assert (broken.kind, broken.message, broken.hint) == ("data", "truncated: half", "copy it")
    assert (table.loc["{a}.tif"].message, table.loc["{a}.tif"].hint) == ("braces", "rename")


def test_names_in_the_table_are_those_of_the_files(write_result, merge, image_table):
    names = ["'=a.tif", "+b.tif", "-dash.tif", "=1+1.tif", "@a.tif", "a\tb.tif", 'two  "spaces" .tif']
    merge(
        *(write_result(name, [1.0]) for name in names), images=[planned(name, shift="-1") for name in names]
    )
    table = image_table()
    assert list(table.index) == names
    assert set(table["shift"]) == {"-1"}


def test_message_in_the_table_is_one_line_that_does_nothing(write_result, merge, image_table):
    merge(write_result("a.tif", failure={"kind": "data", "message": "+1\x1b[2J\n", "hint": "-"}))
    assert image_table().loc["a.tif", ["message", "hint"]].tolist() == [r"+1\x1b[2J", "-"]


def test_only_images_with_patches_are_in_the_dictionary(write_result, merge, dictionary):
    merge(
        write_result("ok.tif", [1.0]),
        write_result("small.tif", []),
        write_result("broken.tif", failure={"kind": "data", "message": "truncated", "hint": ""}),
    )
    assert dictionary() == {"ok.tif": [1.0]}


def test_columns_of_the_user_pass_through(write_result, merge, image_table):
    images = [
        planned("a.tif", site="Ü 1", note="tab\t'"),
        planned("b.tif", site="2", note=""),
        planned("gone.tif", problem="cannot be opened", site="3", note="x"),
    ]
    merge(write_result("a.tif", [1.0]), write_result("b.tif", [1.0]), images=images)
    assert image_table()[["site", "note"]].to_dict("index") == {
        image.filename: image.columns for image in images
    }


def test_summary_adds_up(write_result, merge, results):
    merge(
        write_result("ok.tif", [1.0, 2.0], counts={"patches": 2, "dropped": 0.5}),
        write_result("small.tif", [], counts={"patches": 0, "dropped": 1.0}),
        write_result("broken.tif", failure={"kind": "data", "message": "truncated", "hint": ""}),
    )
    summary = results.read_merged()["summary"]
    dropped = summary.pop("dropped")
    counts = {"images": 3, "ok": 1, "failed": 1, "no_patch": 1, "patches": 2, "skipped": 0}
    assert summary == counts | {"notes": [], "not_taken": []}
    assert dropped == pytest.approx((0.5 * 2 + 1) / 3)  # of squares of 512 pixels


# failures that may pass


@pytest.mark.parametrize(
    ("kind", "stays"), [("data", True), ("predictor", False), ("crash", False), ("memory", False)]
)
def test_failure_is_forgotten_once_told_unless_it_is_the_image_itself(
    write_result, merge, image_table, kind, stays
):
    path = write_result("a.tif", failure={"kind": kind, "message": "told", "hint": ""})
    merge(path)
    assert image_table().loc["a.tif"].message == "told"
    assert os.path.exists(path) == stays


# links


def test_links_are_the_current_results_of_good_images(write_result, merge, results):
    merge(
        write_result("a.tif", [1.0]),
        write_result("north/a.tif", [2.0, 3.0]),
        write_result("broken.tif", failure={"kind": "data", "message": "truncated", "hint": ""}),
    )
    assert sorted(
        path.relative_to(results.links).as_posix() for path in Path(results.links).rglob("*.parquet")
    ) == [
        "a.tif.parquet",
        "north/a.tif.parquet",
    ]
    assert sorted(pd.read_parquet(results.links)["prediction"]) == [1.0, 2.0, 3.0]


# warnings


def test_nan_and_infinite_predictions_are_warned_about(write_result, merge):
    counts = {"patches": 1, "nan": 1, "infinite": 0}
    lines = merge(write_result("a.tif", [1.0]), write_result("b.tif", [np.nan], counts=counts))
    assert lines == ["warning: 1 images have predictions that are NaN or infinite, such as b.tif"]


def test_results_of_different_decoders_are_warned_about(write_result, merge):
    lines = merge(
        write_result("a.tif", [1.0], software={"tifffile": "1", "numpy": "2"}),
        write_result("b.tif", [1.0], software={"tifffile": "3", "numpy": "2"}),
    )
    assert lines == [
        "warning: results were made with tifffile 1, 3; predictions may differ between its versions"
    ]


# results that are not what their names say


def test_exchanged_result_is_refused_by_name_with_what_to_do(write_result, merge, results):
    one, other = write_result("a.tif", [1.0]), write_result("b.tif", [2.0])
    shutil.copyfile(one, other)
    with pytest.raises(ResultsError) as caught:
        merge(one, other)
    assert str(caught.value).startswith(f"{other}: contains version 0123456789ab of a.tif")
    assert str(caught.value).endswith("delete the file and run again")
    assert not os.path.exists(results.merged)


@pytest.mark.parametrize("end", [0, 10, -1])
def test_truncated_result_is_refused_by_name(write_result, merge, end):
    path = write_result("a.tif", [1.0])
    Path(path).write_bytes(Path(path).read_bytes()[:end])
    with pytest.raises(ResultsError) as caught:
        merge(path)
    assert str(caught.value).startswith(f"{path}: quadrat did not write this result, or not whole")


def test_refusal_leaves_the_last_dictionary_whole(write_result, merge, results, dictionary):
    merge(write_result("a.tif", [1.0]))
    broken = write_result("b.tif", [1.0])
    Path(broken).write_bytes(b"")
    with pytest.raises(ResultsError):
        merge(results.version_path("a.tif", "0123456789ab"), broken)
    assert dictionary() == {"a.tif": [1.0]}
    assert not [path for path in Path(results.path).rglob("*") if path.suffix == ".tmp"]


# shards


@pytest.mark.parametrize("failure", [None, {"kind": "data", "message": "truncated", "hint": ""}])
def test_shards_of_an_image_that_is_in_the_table_for_good_are_removed(
    write_result, write_shard, merge, results, failure
):
    shards = [write_shard("north/a.tif", rows) for rows in ("0-9", "10-19")]
    other = write_shard("b.tif", "0-9")
    shards.append(shards[0].with_suffix(".npz"))  # of an earlier version
    shards[-1].touch()
    merge(write_result("north/a.tif", [1.0], failure=failure))
    assert not any(path.exists() for path in shards)
    assert list(Path(results.shards).rglob("*")) == [other]


def test_good_shards_of_an_image_that_is_tried_again_stay(write_result, write_shard, merge):
    failure = {"kind": "crash", "message": "the worker was ended by SIGSEGV", "hint": ""}
    good, failed = write_shard("a.tif", "0-9"), write_shard("a.tif", "10-19", failure=failure)
    merge(write_result("a.tif", failure=failure))
    assert good.exists()
    assert not failed.exists()
