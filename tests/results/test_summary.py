import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quadrat.results.merge import merge_predictions
from quadrat.results.summary import Region

BROKEN = {"kind": "data", "message": "truncated", "hint": ""}


@pytest.fixture
def summary(make_settings, results):
    """Return a function that merges results and reads the summary of images, by filename."""

    def summarise(*paths, name="summary", locate=None, **config):
        settings = make_settings(**config).as_dict()
        merge_predictions(list(paths), [], settings, {}, lambda line: None, locate=locate)
        table = pd.read_csv(f"{results.path}/{name}.tsv", sep="\t", index_col=0, dtype=str)
        return table.map(exact)

    return summarise


def exact(cell):
    """Return a number as Python reads it: the parser of some versions of pandas rounds the last digit."""
    try:
        return float(cell)
    except ValueError:
        return cell


def values(table, filename):
    """Return the cells of a row that are not empty."""
    return table.loc[filename].dropna().to_dict()


def test_numbers_have_the_statistics_of_numpy(write_result, summary):
    numbers = np.random.default_rng(0).normal(1e6, 1e-3, 5000)
    table = summary(write_result("a.tif", numbers), write_result("b.tif", [2.0]))
    assert list(table) == [
        *("status", "patches", "predicted", "nan", "area_m2", "area_mm2", "mean", "std", "min", "max")
    ]
    found = table.loc["a.tif"]
    assert (found["patches"], found["predicted"], found["nan"]) == (5000, 5000, 0)
    assert found["mean"] == pytest.approx(numbers.mean(), rel=1e-15)
    assert found["std"] == pytest.approx(numbers.std(), rel=1e-8)  # numpy's mean is rounded more than once
    assert found["std"] == pytest.approx(np.std(numbers.astype(np.longdouble)), rel=1e-13)
    assert (found["min"], found["max"]) == (numbers.min(), numbers.max())
    expected = {
        "status": "ok",
        "patches": 1,
        "predicted": 1,
        "nan": 0,
        "mean": 2,
        "std": 0,
        "min": 2,
        "max": 2,
    }
    assert values(table, "b.tif") == expected


def test_order_of_the_numbers_changes_no_digit(write_result, summary):
    numbers = np.random.default_rng(0).normal(size=70_001) * 10.0 ** np.random.default_rng(1).integers(
        -9, 9, 70_001
    )
    first = summary(write_result("a.tif", numbers)).loc["a.tif"]
    assert first.equals(summary(write_result("a.tif", numbers[::-1])).loc["a.tif"])
    assert first["mean"] == math.fsum(numbers) / len(numbers)


def test_statistics_of_short_floats_are_those_of_long_ones(write_result, summary):
    numbers = np.random.default_rng(0).normal(1, 1e-5, 1000).astype(np.float32)
    found = summary(write_result("a.tif", numbers)).loc["a.tif"]
    long = numbers.astype(np.float64)
    assert found[["mean", "std"]].tolist() == pytest.approx([long.mean(), long.std()], rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_extremes_are_the_predictions_themselves(write_result, summary, results, dtype):
    numbers = np.array([7, 250, 0.1], dtype)
    summary(write_result("a.tif", numbers))
    *_, low, high = Path(results.summary).read_text().splitlines()[1].split("\t")
    assert [low, high] == [repr(numbers.min().item()), repr(numbers.max().item())]


def test_skipped_patches_and_nan_are_counted_and_left_out(write_result, summary):
    table = summary(
        write_result("a.tif", [1.0, None, np.nan, 4.0]),
        write_result("b.tif", [np.nan, None]),
        write_result("c.tif", [None, None]),
        write_result("d.tif", [np.inf, 1.0]),
        write_result("e.tif", [np.inf, -np.inf]),
    )
    numbers = pd.Series([1.0, None, np.nan, 4.0])
    assert values(table, "a.tif") == {
        "status": "ok",
        "patches": 4,
        "predicted": 3,
        "nan": 1,
        "mean": numbers.mean(),
        "std": numbers.std(ddof=0),
        "min": 1.0,
        "max": 4.0,
    }
    assert values(table, "b.tif") == {"status": "ok", "patches": 2, "predicted": 1, "nan": 1}
    assert values(table, "c.tif") == {"status": "ok", "patches": 2, "predicted": 0, "nan": 0}
    assert table.loc["d.tif", ["mean", "min", "max"]].tolist() == [np.inf, 1.0, np.inf]
    assert np.isnan(table.loc[["d.tif", "e.tif"], "std"]).all()
    assert np.isnan(table.loc["e.tif", "mean"])


def test_sum_beyond_the_largest_number_is_infinite_as_in_numpy(write_result, summary):
    table = summary(write_result("a.tif", [1.7e308, 1.7e308]))
    assert table.loc["a.tif", ["mean", "max"]].tolist() == [np.inf, 1.7e308]


def test_each_image_has_its_row_also_without_predictions(write_result, summary):
    table = summary(
        write_result("c.tif", [1.0]), write_result("b.tif", failure=BROKEN), write_result("a.tif", [])
    )
    assert list(table.index) == ["a.tif", "b.tif", "c.tif"]
    assert values(table, "a.tif") == {"status": "no_patch", "patches": 0, "predicted": 0}
    assert values(table, "b.tif") == {"status": "failed", "patches": 0, "predicted": 0}


def test_run_without_a_good_image_has_a_table_of_counts(write_result, summary):
    table = summary(write_result("b.tif", failure=BROKEN))
    assert list(table) == ["status", "patches", "predicted", "nan", "area_m2", "area_mm2"]


def test_values_of_an_array_have_columns_of_their_names(write_result, summary):
    numbers = np.random.default_rng(0).random((40, 2, 2))
    numbers[3, 0, 1] = np.nan
    table = summary(write_result("a.tif", numbers), write_result("b.tif", numbers[:, 0]))
    assert list(table)[6:] == [f"{name}_{n}" for n in (1, 2, 3, 4) for name in ("mean", "std", "min", "max")]
    assert table.loc["a.tif", "nan"] == 1
    flat = pd.DataFrame(numbers.reshape(40, 4), columns=["1", "2", "3", "4"])
    for name in flat:
        assert table.loc["a.tif", f"mean_{name}"] == pytest.approx(flat[name].mean(), rel=1e-14)
        assert table.loc["a.tif", f"std_{name}"] == pytest.approx(flat[name].std(ddof=0), rel=1e-14)
    assert not {"mean_3", "mean_4"} & set(values(table, "b.tif"))


def test_labels_of_a_model_name_its_values(write_result, summary):
    predictor = {"labels": ["water", "land"]}
    table = summary(write_result("a.tif", [[0.25, 0.75], [0.5, 0.5]], predictor=predictor))
    assert table.loc["a.tif", ["mean_water", "max_land"]].tolist() == [0.375, 0.75]
    assert not [name for name in table if name.startswith("share")]


def test_statistics_name_their_values_and_channels(write_result, summary):
    predictor = {"kind": "statistics", "of": ["p5", "histogram"], "bins": 2, "range": [0, 9]}
    row = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    table = summary(write_result("a.tif", [row[:3]]), predictor=predictor)
    assert table.filter(like="mean").loc["a.tif"].to_dict() == {
        "mean_p5": 1,
        "mean_histogram_1": 2,
        "mean_histogram_2": 3,
    }
    table = summary(write_result("a.tif", [row]), predictor=predictor | {"per_channel": True})
    found = table.filter(like="max").loc["a.tif"]
    assert (found["max_p5_1"], found["max_p5_2"], found["max_histogram_2_2"]) == (1, 4, 6)


def test_statistics_of_bands_have_the_names_of_bands(write_result, summary):
    predictor = {"kind": "statistics", "of": "mean", "per_channel": True}
    described = {"predictor": predictor | {"values": ["B04 mean", "B8A mean"]}}
    table = summary(write_result("a", [[1.0, 5.0], [3.0, 7.0]], **described), predictor=predictor)
    assert table.filter(like="max").loc["a"].to_dict() == {"max_B04_mean": 3, "max_B8A_mean": 7}


def test_embeddings_have_counts_alone(write_result, summary):
    numbers = np.zeros((3, 17))
    numbers[1, 4] = np.nan
    table = summary(write_result("a.tif", numbers), write_result("b.tif", numbers[:, :16]))
    assert values(table, "a.tif") == {"status": "ok", "patches": 3, "predicted": 3, "nan": 1}
    assert table.loc["b.tif", "mean_16"] == 0


def shares(table, filename):
    return {name: value for name, value in values(table, filename).items() if name.startswith("share")}


def test_labels_have_shares_of_the_predicted_patches(write_result, summary):
    table = summary(
        write_result("a.tif", ["snow", "water", None, "snow", "ice\t1"]), write_result("b.tif", [None, None])
    )
    assert shares(table, "a.tif") == {"share_ice\t1": 0.25, "share_snow": 0.5, "share_water": 0.25}
    assert values(table, "b.tif") == {"status": "ok", "patches": 2, "predicted": 0, "nan": 0}


def test_labels_of_the_configuration_have_columns_in_its_order_also_without_patches(
    write_result, summary, tmp_path
):
    (tmp_path / "m.onnx").touch()
    predictor = {"kind": "onnx", "path": str(tmp_path / "m.onnx"), "argmax": True, "labels": ["b", "c", "a"]}
    table = summary(write_result("1.tif", ["a", "b", "a"]), predictor=predictor)
    assert list(shares(table, "1.tif").items()) == [("share_b", 1 / 3), ("share_c", 0), ("share_a", 2 / 3)]


def test_classes_without_labels_have_shares_by_their_number(write_result, summary, tmp_path):
    predictor = {"kind": "onnx", "path": str(tmp_path / "m.onnx"), "argmax": True}
    table = summary(write_result("1.tif", np.array([10, 9, 9, 100])), predictor=predictor)
    assert list(shares(table, "1.tif").items()) == [("share_9", 0.5), ("share_10", 0.25), ("share_100", 0.25)]
    assert "mean" not in table


def test_booleans_have_the_share_of_true(write_result, summary):
    table = summary(write_result("a.tif", [True, None, False, False, True]), write_result("b.tif", [False]))
    assert [shares(table, name) for name in table.index] == [{"share_true": 0.5}, {"share_true": 0}]


def test_booleans_of_an_array_count_as_0_and_1(write_result, summary):
    found = summary(write_result("a.tif", [[True, False], [True, True]])).loc["a.tif"]
    assert found[["mean_1", "mean_2", "std_2", "min_2", "max_2"]].tolist() == [1, 0.5, 0.5, 0, 1]


def test_labels_of_an_array_have_counts_alone(write_result, summary):
    table = summary(write_result("a.tif", [["x", "y"], ["x", "x"]]))
    assert values(table, "a.tif") == {"status": "ok", "patches": 2, "predicted": 2, "nan": 0}


def test_more_labels_than_a_table_should_have_get_no_columns(write_result, summary):
    names = [f"label {n}" for n in range(300)]
    for count, columns in ((256, 256), (257, 0), (300, 0)):
        paths = write_result("a.tif", names[:count]), write_result("b.tif", names[:1])
        assert len([name for name in summary(*paths) if name.startswith("share")]) == columns


def test_region_has_the_statistics_of_its_patches_alone(write_result, summary, tmp_path):
    numbers = [3.0, None, 5.0, np.nan, 7.0]
    paths = write_result("a.tif", numbers), write_result("b.tif", [1.0])
    regions = {
        "a.tif": [
            Region(1, "ü", "Tumor", np.array([0, 1, 3, 4])),
            Region(2, "", "", np.array([4])),
            Region(5, "none", "", np.array([], int)),
        ],
        "b.tif": [],
    }
    (tmp_path / "drawn").mkdir()
    locate = {"name": "regions", "locate": lambda result: regions[result.filename]}
    table = summary(*paths, **locate, regions=str(tmp_path / "drawn")).reset_index()
    assert list(table)[:6] == ["filename", "region", "name", "class", "patches", "predicted"]
    assert set(table["filename"]) == {"a.tif"}
    first, second, third = (row.dropna().to_dict() for _, row in table.drop(columns="filename").iterrows())
    inside = np.array([3.0, 7.0])
    assert first == {
        "region": 1,
        "name": "ü",
        "class": "Tumor",
        "patches": 4,
        "predicted": 3,
        "nan": 1,
        "mean": inside.mean(),
        "std": inside.std(),
        "min": 3.0,
        "max": 7.0,
    }
    assert (second["patches"], second["predicted"], second["mean"], second["std"]) == (1, 1, 7.0, 0.0)
    assert third == {"region": 5, "name": "none", "patches": 0, "predicted": 0, "nan": 0}
    summary(*paths)
    assert not (tmp_path / "results/regions.tsv").exists(), "the regions are those of the last merge"


def test_skipped_patches_alone_have_no_statistics_in_a_region(write_result, summary, tmp_path):
    regions = [Region(1, "", "", np.array([1]))]
    table = summary(
        write_result("a.tif", ["x", None]),
        name="regions",
        locate=lambda result: regions,
        regions=str(tmp_path),
    )
    assert values(table, "a.tif") == {"region": 1, "patches": 1, "predicted": 0, "nan": 0}
