import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from quadrat.errors import ResultsError
from quadrat.exports import wsinfer


@pytest.fixture
def export(image_result, tmp_path):
    """Return a function that exports a scene, and returns the CSV's lines and the stored table."""

    def write(model="scalar", labels=(), **options):
        wsinfer.write(image_result(model, labels, **options), tmp_path / "out.csv")
        stored = pq.read_table(tmp_path / "results/versions/scene.tif.0123456789ab.parquet")
        return tmp_path / "out.csv", stored.to_pandas()

    return write


def test_columns_are_those_of_the_sample_in_wsinfers_user_guide(export):
    path, _ = export("vector", labels=["Tumor", "Stroma", "Other"])
    header = path.read_text().splitlines()[0]
    assert header == "minx,miny,width,height,prob_Tumor,prob_Stroma,prob_Other"


def test_rows_are_the_patches_with_all_digits_of_their_numbers(export):
    path, stored = export("vector", labels=["Tumor", "Stroma", "Other"])
    table = np.loadtxt(path, delimiter=",", skiprows=1)  # pandas 2 would round the last digit
    np.testing.assert_array_equal(table[:, :4], stored[["x", "y", "width", "height"]])
    np.testing.assert_array_equal(table[:, 4:], np.stack(stored["prediction"]))


def test_float32_is_written_with_its_own_digits(export):
    path, stored = export("float32")
    written = [line.split(",")[4] for line in path.read_text().splitlines()[1:]]
    assert written == [str(np.float32(value)) for value in stored["prediction"]]


def test_skipped_patches_are_left_out_and_integers_stay_exact(export):
    path, stored = export("integer", skipped=[0, 11])
    table = pd.read_csv(path)
    assert table["prob_prediction"].tolist() == stored["prediction"].dropna().tolist()


def test_labels_cannot_be_probabilities(export):
    with pytest.raises(ResultsError, match=r"^scene\.tif: predictions are labels.*snakemake qupath$"):
        export("label")


def test_no_cell_starts_a_formula_and_names_are_quoted(export):
    path, _ = export("vector", labels=['=cmd|"x"!A1', "@a,b", "-1+1"])
    cells = pd.read_csv(path, header=None, dtype=str).iloc[0]
    assert cells.tolist()[4:] == ['prob_=cmd|"x"!A1', "prob_@a,b", "prob_-1+1"]
