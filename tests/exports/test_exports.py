import json
import os
import re
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio

from quadrat.errors import ResultsError
from quadrat.exports import FORMATS, export_results


@pytest.fixture
def export(results):
    """Return a function that exports results, and returns the line that it tells."""

    def run(paths, form="wsinfer", labels=None):
        lines = []
        export_results(form, paths, results.path, labels, lines.append)
        assert len(lines) == 1
        return lines[0].removeprefix(f"{results.path}/{form}: ")

    return run


@pytest.fixture
def files(results):
    """Return a function that lists the files of an export with their inodes."""

    def listed(form="wsinfer"):
        folder = Path(results.path) / form
        return {str(path.relative_to(folder)): path.stat().st_ino for path in sorted(folder.rglob("*.*"))}

    return listed


def counts(written=0, unchanged=0, removed=0):
    return f"{written} written, {unchanged} unchanged, {removed} removed"


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_writes_a_file_under_the_name_of_the_image(export, predict_scene, files, form):
    paths = [predict_scene(filename=name) for name in ("a.tif", "north/a.tif", "n" * 240 + ".tif")]
    assert export(paths, form) == counts(written=3)
    names = list(files(form))
    assert names[0] == f"a.tif{FORMATS[form]}"
    assert names[2] == f"north/a.tif{FORMATS[form]}"
    assert len(names) == 3


def test_only_what_changed_is_written_again(export, predict_scene, files):
    paths = [predict_scene(filename=name) for name in ("a.tif", "b.tif")]
    export(paths)
    before = files()
    newer = paths[1].replace("0123456789ab", "00000000cafe")
    assert export(paths) == counts(unchanged=2)
    assert files() == before
    rewrite_version(paths[1], newer)
    assert export([paths[0], newer]) == counts(written=1, unchanged=1)
    after = files()
    assert after["a.tif.csv"] == before["a.tif.csv"]
    assert after["b.tif.csv"] != before["b.tif.csv"]
    assert export(paths) == counts(written=1, unchanged=1), (
        "an earlier version is not taken for the newer one"
    )


def rewrite_version(path, newer):
    """Store a result as one of another version."""
    import pyarrow.parquet as pq

    table, footer = pq.read_table(path), pq.read_metadata(path).metadata[b"quadrat"]
    with pq.ParquetWriter(newer, table.schema.remove_metadata()) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"quadrat": footer.replace(b"0123456789ab", b"00000000cafe")})


def test_export_that_was_deleted_is_written_again(export, predict_scene, results):
    path = predict_scene()
    export([path])
    Path(results.path, "wsinfer/scene.tif.csv").unlink()
    assert export([path]) == counts(written=1)


def test_exports_of_images_that_are_gone_leave_and_a_users_own_files_stay(export, predict_scene, results):
    paths = [predict_scene(filename=name) for name in ("a.tif", "b.tif")]
    export(paths)
    Path(results.path, "wsinfer/notes.csv").write_text("mine")
    assert export(paths[:1]) == counts(unchanged=1, removed=1)
    assert sorted(os.listdir(f"{results.path}/wsinfer")) == ["a.tif.csv", "notes.csv"]


def test_images_that_failed_have_no_export(export, predict_scene, write_result, files):
    failed = write_result("b.tif", failure={"kind": "data", "message": "truncated", "hint": ""})
    gone = failed.replace("b.tif", "c.tif")
    assert export([predict_scene(), failed, gone]) == counts(written=1)
    assert list(files()) == ["scene.tif.csv"]


def content(path, form):
    """Read an export by the library of its own format."""
    if form == "geotiff":
        with rasterio.open(path) as raster:
            return raster.read().tolist()
    if form == "qupath":
        return json.loads(Path(path).read_text())["features"]
    if form == "wsinfer":
        return Path(path).read_text().splitlines()[1:]
    table = geopandas.read_parquet(path) if form == "geoparquet" else geopandas.read_file(path)
    return list(table.iterfeatures())


@pytest.mark.parametrize("form", FORMATS)
def test_image_of_which_all_patches_were_skipped_is_exported_too(export, predict_scene, results, form):
    assert export([predict_scene(skipped=range(12))], form) == counts(written=1)
    found = content(f"{results.path}/{form}/scene.tif{FORMATS[form]}", form)
    if form == "geotiff":
        np.testing.assert_array_equal(found, np.full((1, 3, 4), np.nan))
    elif form in ("qupath", "wsinfer"):
        assert found == []
    else:
        told_of = [(patch["properties"]["prediction"], patch["properties"]["skipped"]) for patch in found]
        assert told_of == [(None, "nodata")] * 12


@pytest.mark.parametrize("form", FORMATS)
def test_export_is_the_same_however_much_is_read_at_once(export, predict_scene, results, form, monkeypatch):
    path = predict_scene("vector", skipped=[2, 3, 4, 5, 9])
    file = f"{results.path}/{form}/scene.tif{FORMATS[form]}"
    export([path], form)
    at_once = content(file, form)
    os.unlink(file)
    monkeypatch.setattr("quadrat.results.result.BATCH_VALUES", 2 * 3)  # two patches: half a row of the grid
    assert export([path], form) == counts(written=1)
    np.testing.assert_equal(content(file, form), at_once)


def test_what_was_written_before_an_error_is_not_written_again(export, predict_scene):
    paths = [predict_scene(filename="a.tif"), predict_scene("label", filename="b.tif")]
    with pytest.raises(ResultsError, match="labels"):
        export(paths, labels=["Tumor"])
    assert export(paths[:1], labels=["Tumor"]) == counts(unchanged=1)


def test_a_label_has_one_code_in_all_images(export, predict_scene, results):
    paths = [predict_scene("label", filename=name) for name in ("a.tif", "b.tif")]
    export(paths, "geotiff")
    tags = []
    for name in ("a.tif", "b.tif"):
        with rasterio.open(f"{results.path}/geotiff/{name}.tif") as raster:
            tags.append({key: label for key, label in raster.tags(1).items() if key.startswith("CLASS_")})
    assert tags[0] == tags[1]
    assert sorted(tags[0].values()) == ["<b>ice</b>", "=water", "snow"]


def test_labels_of_the_configuration_have_codes_in_its_order(export, predict_scene, results):
    export([predict_scene("label")], "geotiff", labels=["snow", "=water", "<b>ice</b>"])
    with rasterio.open(f"{results.path}/geotiff/scene.tif.tif") as raster:
        assert raster.tags(1)["CLASS_1"] == "snow"


def test_each_format_is_a_rule_and_a_documented_target():
    project = Path(__file__).parents[2]
    rules = (project / "workflow/rules/exports.smk").read_text()
    assert set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", rules, re.MULTILINE)) == set(FORMATS)
    documented = re.findall(
        r"`snakemake (\w+)` \| `results/(\w+)/<filename>(\.\w+)`", (project / "docs/exports.md").read_text()
    )
    assert documented == [(form, form, FORMATS[form]) for form, _, _ in documented]
    assert {form for form, _, _ in documented} == set(FORMATS)


@pytest.mark.parametrize("absolute", [True, False])
def test_record_that_names_a_file_elsewhere_is_refused_and_removes_nothing(
    export, predict_scene, results, tmp_path, absolute
):
    export([predict_scene()])
    outside = tmp_path / "outside.csv"
    outside.touch()
    name = str(outside) if absolute else "../../outside.csv"
    record = Path(results.exported) / "wsinfer.json"
    record.write_text(json.dumps({name: "mark"}))
    with pytest.raises(ResultsError, match=r"outside\.csv, which is not in .*wsinfer; delete the record"):
        export([])
    assert outside.exists()
