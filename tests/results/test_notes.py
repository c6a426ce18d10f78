import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from quadrat.grid import PatchGrid
from quadrat.jobs.predict import predict_image
from quadrat.patches.skips import REASONS
from quadrat.results.folder import TABLE_COLUMNS
from quadrat.results.merge import merge_predictions
from quadrat.results.schema import SKIPPED_BY
from quadrat.results.tables import read_image_table

PLACED = (10, 0, 500_000, 0, -10, 4_000_000)


@pytest.fixture
def merge(make_settings, results):
    """Return a function that merges results, and returns the notes on each image and on all."""

    def merge_all(*paths, **unread):
        settings = make_settings().as_dict()
        merge_predictions(list(paths), [], settings, {}, lambda line: None, **unread)
        table = pd.read_csv(results.images, sep="\t", dtype=str, keep_default_na=False)
        return dict(zip(table.filename, table.notes, strict=True)), results.read_merged()["summary"]["notes"]

    return merge_all


@pytest.fixture
def write_noted(write_result, described):
    """Return a function that stores a result with notes of its reader, some patches and a place."""

    def write(filename, *notes, predictions=(1.0,), place=None, **skipped):
        footer = described(PatchGrid(512, 512 * len(predictions)))
        footer["image"] |= {"notes": notes, "transform": place}
        counts = {"patches": len(predictions), "skipped": sum(skipped.values()), "dropped": 0.0}
        counts |= {f"skipped_{reason}": number for reason, number in skipped.items()}
        return write_result(filename, predictions, **footer, counts=counts)

    return write


def test_notes_of_readers_are_in_the_table_and_counted(write_noted, merge):
    palette, plane = "palette expanded to RGB", "axis Z has 2 planes: the first is read"
    notes, lines = merge(
        write_noted("a.tif", palette), write_noted("b.tif", plane, palette), write_noted("c.tif")
    )
    assert notes == {"a.tif": palette, "b.tif": f"{plane}; {palette}", "c.tif": ""}
    assert lines == [f"2 images, such as a.tif: {palette}", f"b.tif: {plane}"]


def test_note_of_a_file_is_a_cell_that_does_nothing_but_be_read(write_noted, merge):
    notes, lines = merge(write_noted("a.tif", "a\tb\nc\x1b[2J"))
    assert notes == {"a.tif": "a b c\\x1b[2J"}
    assert len(lines) == 1


def test_many_notes_are_cut_to_a_few_lines_and_the_column_that_has_them(write_noted, merge):
    paths = [write_noted(f"{number}.tif", f"{number} segments are not in the file") for number in range(9)]
    notes, lines = merge(*paths)
    assert len(lines) == 4
    assert lines[-1] == "more notes: see column `notes` of images.tsv"
    assert len(set(notes.values())) == 9


def test_results_of_before_without_notes_and_failures_have_an_empty_cell(write_result, merge):
    failure = {"kind": "data", "message": "truncated", "hint": ""}
    paths = write_result("a.tif", [1.0]), write_result("b.tif", failure=failure), write_result("c.tif", [])
    assert merge(*paths, sidecars={"b.tif": [".tab"]}) == ({"a.tif": "", "b.tif": "", "c.tif": ""}, [])


def test_image_whose_patches_were_all_skipped_is_noted_with_the_reasons(write_noted, merge):
    notes, lines = merge(
        write_noted("a.tif", "palette", predictions=[None] * 15, nodata=12, outside=3),
        write_noted("b.tif", predictions=[None, None], outside=2),
        write_noted("c.tif", predictions=[None, 1.0], nodata=1),
    )
    assert notes == {
        "a.tif": "all patches were skipped (outside 3, nodata 12); palette",
        "b.tif": "all patches were skipped (outside 2)",
        "c.tif": "",
    }
    assert lines == ["2 images, such as a.tif: all patches were skipped", "a.tif: palette"]


def test_run_whose_patches_were_all_skipped_warns_with_the_keys_to_change(write_noted, merge, write_result):
    failure = {"kind": "data", "message": "truncated", "hint": ""}
    _, lines = merge(
        write_noted("a.tif", predictions=[None] * 3, outside=2, nodata=1),
        write_noted("b.tif", predictions=[None], outside=1),
        write_result("c.tif", failure=failure),
    )
    assert lines == [
        "warning: all patches were skipped (outside 3, nodata 1); "
        "change regions and skip: nodata (config.yaml)"
    ]


def test_run_without_a_patch_does_not_warn_of_skipped_ones(write_result, merge):
    assert merge(write_result("a.tif", []))[1] == []


def test_image_without_a_place_is_noted_with_the_files_beside_it_that_may_hold_it(write_noted, merge):
    notes, lines = merge(
        write_noted("a.tif"),
        write_noted("b.tif", place=PLACED),
        write_noted("c.tif"),
        sidecars={"a.tif": [".tab", ".ovr"], "b.tif": [".tab"]},
    )
    place = (
        "no place on Earth, and not read beside the image: .tab "
        "(if they hold it, gdal_translate IN OUT.tif writes it into the image)"
    )
    assert notes == {
        "a.tif": f"{place}; not read beside the image: .ovr",
        "b.tif": "not read beside the image: .tab",
        "c.tif": "",
    }
    assert lines == [
        f"a.tif: {place}",
        "a.tif: not read beside the image: .ovr",
        "b.tif: not read beside the image: .tab",
    ]


def test_each_reason_of_a_skipped_patch_has_its_key():
    assert tuple(SKIPPED_BY) == REASONS


def test_jobs_count_the_reasons_that_notes_name(images, make_task, merge, tmp_path):
    tifffile.imwrite(images / "a.tif", np.zeros((64, 96), np.uint8), extratags=[(42113, "s", 0, "0", True)])
    output = tmp_path / "results/versions/a.tif.0123456789ab.parquet"
    predict_image(make_task(images / "a.tif", skip={"nodata": 1.0}, output=str(output)))
    notes, (line,) = merge(str(output))
    assert notes == {"a.tif": "all patches were skipped (nodata 6)"}
    assert line == "warning: all patches were skipped (nodata 6); change skip: nodata (config.yaml)"


def test_table_of_before_without_notes_is_read(tmp_path):
    path = tmp_path / "images.tsv"
    columns, row = [*TABLE_COLUMNS[:-1], "site"], ["a.tif", "ok", "1", *[""] * 7, "north"]
    path.write_text("\n".join("\t".join(cells) for cells in (columns, row)) + "\n")
    (read,) = read_image_table(path)
    assert (read["filename"], read["notes"], read["site"]) == ("a.tif", "", "north")


def test_record_of_a_merge_of_before_has_no_notes(write_noted, merge, results):
    merge(write_noted("a.tif"))
    record = json.loads(Path(results.merged).read_text())
    for key in ("notes", "not_taken"):
        del record["summary"][key]
    Path(results.merged).write_text(json.dumps(record))
    assert results.read_merged()["summary"] == record["summary"]
