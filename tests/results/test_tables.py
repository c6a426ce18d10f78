import pandas as pd
import pytest

from quadrat.results.tables import PlannedImage, read_manifest, write_manifest


def planned(filename, **changes):
    return PlannedImage(
        **{"filename": filename, "key": "k", "version": "v", "content_id": "c", "path": "p", "size": 12}
        | changes
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.tsv"


def test_manifest_is_read_back_as_it_was_written(path):
    images = [
        planned("a b.tif", regions="ab", columns={"site": "1", "note": ""}),
        planned('tab\t"quote".tif', columns={"site": "ü", "note": "two\nlines"}),
        planned(
            "{c}.tif",
            version="",
            content_id="",
            problem="braces",
            hint="rename",
            columns={"site": "", "note": ""},
        ),
    ]
    write_manifest(path, images)
    assert read_manifest(path) == images


def test_user_column_may_be_called_as_one_of_the_manifest(path):
    images = [planned("a.tif", columns={"path": "of the user", "key": "7"})]
    write_manifest(path, images)
    assert read_manifest(path) == images


def test_manifest_is_a_table_that_pandas_reads(path):
    write_manifest(path, [planned("a.tif", columns={"site": "x"}), planned("b.tif", columns={"site": "y"})])
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    assert table["filename"].tolist() == ["a.tif", "b.tif"]
    assert table["site"].tolist() == ["x", "y"]


def test_manifest_of_no_image_is_read_back(path):
    write_manifest(path, [])
    assert read_manifest(path) == []
