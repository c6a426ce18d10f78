import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quadrat.files.hashing import digest
from quadrat.files.text import table_bytes
from quadrat.plan.inventory import is_chosen
from quadrat.plan.plan import Plan
from quadrat.plan.sharding import Shards
from quadrat.results.folder import TABLE_COLUMNS, ResultsFolder, split_version_path
from quadrat.results.merge import merge_predictions
from quadrat.results.tables import PlannedImage
from quadrat.run.summary import failure_lines, summarise

names = st.text("ab*?[]!-{}'\"\\", min_size=1, max_size=6)

FAILURE = {"kind": "data", "message": "truncated: segment 118 of 400", "hint": "copy it again"}


@pytest.fixture(scope="module")
def failed_table(tmp_path_factory):
    """Return the path of an images.tsv that is written again and again."""
    return tmp_path_factory.mktemp("table") / "images.tsv"


def filename_of(key):
    """Return the filename of a key."""
    return unquote(key.replace("+", "%"))


def plan_of(settings, paths):
    """Return the plan that wants these results."""
    folder = ResultsFolder(settings.results)
    parts = [split_version_path(path) for path in paths]
    planned = [(head.removeprefix(f"{folder.versions}/"), version) for head, version in parts]
    images = [PlannedImage(filename_of(key), key, version, "1-2", "", 0) for key, version in planned]
    return Plan(settings, images, {}, {})


@pytest.fixture
def finish(make_settings):
    """Return a function that merges results, and returns the lines at the end of the run."""

    def merge_and_summarise(*paths, seconds=75.4, **config):
        settings = make_settings(**config)
        merge_predictions(list(paths), [], settings.as_dict(), {}, lambda line: None)
        return summarise(plan_of(settings, paths), seconds)

    return merge_and_summarise


def test_summary_counts_images_patches_and_seconds(write_result, finish, results):
    lines = finish(
        write_result("a.tif", range(1200)),
        write_result("small.tif", []),
        write_result("bad.tif", failure=FAILURE),
    )
    assert lines[0] == "3 images: 1 ok, 1 failed, 1 without patches; 1,200 patches; 75 s"
    assert f"the dictionary: {results.predictions} and {results.json}; the table: {results.images}" in lines


def test_skipped_patches_are_counted_where_there_are_some(write_result, finish):
    assert "; 3 patches, 2 of them skipped; " in finish(write_result("a.tif", [None, 1.0, None]))[0]


@pytest.mark.parametrize(("edge", "hint"), [("drop", " (edge: pad keeps them)"), ("shift", "")])
def test_share_of_dropped_pixels_is_reported_with_the_edge_that_keeps_them(write_result, finish, edge, hint):
    counts = {"patches": 1, "dropped": 0.125}
    lines = finish(write_result("a.tif", [1.0], counts=counts), edge=edge)
    assert f"12.5% of the pixels dropped at the edges{hint}" in lines


def test_no_pad_is_offered_where_nothing_was_dropped(write_result, finish):
    assert "0.0% of the pixels dropped at the edges" in finish(write_result("a.tif", [1.0]))


def test_notes_of_the_merge_and_images_that_were_not_taken_follow(write_result, finish, make_settings):
    skipped = {"patches": 2, "skipped": 2, "skipped_nodata": 2, "dropped": 0.0}
    paths = [write_result("a.tif", [1.0]), write_result("b.tif", [None, None], counts=skipped)]
    assert "b.tif: all patches were skipped" in finish(*paths)
    plan = replace(plan_of(make_settings(), paths), not_taken=["not taken: 3 .czi"])
    assert "not taken: 3 .czi" in summarise(plan, 5)


def test_superseded_results_are_counted_with_what_lists_and_removes_them(write_result, finish):
    write_result("a.tif", [1.0], version="ba9876543210")
    (line,) = [line for line in finish(write_result("a.tif", [1.0])) if "`snakemake prune`" in line]
    assert line == ("1 superseded result: `snakemake superseded` lists them, `snakemake prune` removes them")


def test_failures_come_last_with_reason_hint_and_a_line_that_leaves_them_out(write_result, finish):
    lines = finish(write_result("a.tif", [1.0]), write_result("north/ü.tif", failure=FAILURE))
    assert lines[-4:] == [
        "1 image failed:",
        "  north/ü.tif: truncated: segment 118 of 400 (copy it again)",
        "to leave it out, in config.yaml:",
        'exclude: ["north/ü.tif"]',
    ]


def lines_of(failed_table, failed, others=()):
    """Return the lines about failures; failed is names and messages."""
    rows = [[name, "failed", 0, "", "", "", "", "data", message, "", ""] for name, message in failed]
    rows += [[name, "ok", 1, 0, 0, 0, 0.0, "", "", "", ""] for name in others]
    failed_table.write_bytes(table_bytes(list(TABLE_COLUMNS), rows))
    return failure_lines(failed_table)


def test_many_failures_are_listed_by_their_reasons_with_examples(failed_table):
    failed = [(f"a/{index:05d}.png", f"truncated: it ends {index:,} bytes early") for index in range(9990)]
    failed += [(f"b/{index}.png", "no place") for index in range(9)] + [("c.png", "empty file")]
    lines = lines_of(failed_table, failed, ["good.tif"])
    assert lines == [
        f"10,000 images failed ({failed_table} lists each):",
        "  9,990 images, such as a/00000.png, a/00001.png and a/00002.png: truncated: it ends 0 bytes early",
        "  9 images, such as b/0.png, b/1.png and b/2.png: no place",
        "  c.png: empty file",
        "to leave them out, in config.yaml:",
        'exclude: ["*.png"]',
    ]


@pytest.mark.parametrize(
    ("failed", "others", "globs"),
    [
        ([f"a/x{index}.tif" for index in range(50)], ["b/1.tif"], ["a/*"]),
        ([f"a/b/x{index}.tif" for index in range(50)], ["a/1.tif"], ["a/b/*"]),
        ([*(f"{index}.png" for index in range(50)), "one.tif"], ["b/1.tif"], ["*.png", "one.tif"]),
        ([f"a[1]/x{index}.tif" for index in range(50)], ["a1/1.tif"], ["a[[]1]/*"]),
    ],
)
def test_line_that_leaves_many_failures_out_names_what_they_share(failed_table, failed, others, globs):
    line = lines_of(failed_table, [(name, "no") for name in failed], others)[-1]
    assert yaml.safe_load(line) == {"exclude": globs}
    chosen = SimpleNamespace(include=["*"], exclude=globs)
    assert not any(is_chosen(name, chosen) for name in failed)
    assert all(is_chosen(name, chosen) for name in others)


def test_many_failures_that_share_nothing_have_another_way_out(failed_table):
    failed = [(f"{index}.tif", "no") for index in range(0, 100, 2)]
    lines = lines_of(failed_table, failed, [f"{index}.tif" for index in range(1, 100, 2)])
    assert "on_failure: report (config.yaml)" in lines[-1]
    assert not any(line.startswith("exclude:") for line in lines)


def test_many_reasons_are_cut(failed_table):
    lines = lines_of(failed_table, [(f"{index}.png", f"no {'x' * index}") for index in range(25)])
    assert f"  and 5 more: see {failed_table}" in lines
    assert len(lines) == 24


def test_run_without_failures_lists_none(write_result, finish, results):
    lines = finish(write_result("a.tif", [1.0]))
    assert failure_lines(results.images) == []
    assert not any("failed:" in line for line in lines)


@pytest.mark.parametrize(
    "name",
    ["a*.tif", "a?.tif", "[a].tif", "a[!b].tif", "'a\".tif", "a\\n.tif", "#1.tif", "-a.tif", "'=a.tif"],
)
def test_line_that_leaves_failures_out_matches_them_alone(write_result, finish, make_settings, name):
    lines = finish(write_result(name, failure=FAILURE))
    settings = make_settings(**yaml.safe_load(lines[-1]))
    assert not is_chosen(name, settings)
    assert all(is_chosen(other, settings) for other in ("ab.tif", "a.tif", "axx.tif", "ac.tif", "a\\.tif"))


@given(names, names)
def test_line_that_leaves_a_failure_out_leaves_in_every_other_image(failed_table, name, other):
    quoted = name.replace('"', '""')
    others = "\t".join(TABLE_COLUMNS[2:])
    failed_table.write_text(f'filename\tstatus\t{others}\n"{quoted}"\tfailed\t0\t\t\t\t\tdata\tm\t\t\n')
    chosen = SimpleNamespace(include=["*"], **yaml.safe_load(failure_lines(failed_table)[-1]))
    assert not is_chosen(name, chosen)
    assert is_chosen(other, chosen) == (other != name)


def test_run_that_was_not_merged_shows_what_waits_and_how_to_go_on(write_result, make_settings, results):
    done = write_result("a.tif", [1.0])
    waiting = [results.version_path(f"{index:02d}.tif", "0123456789ab") for index in range(22)]
    lines = summarise(plan_of(make_settings(), [done, *waiting]), 5)
    assert lines[0].startswith("the results were not merged")
    assert "  not computed: 00.tif" in lines
    assert not any("a.tif" in line for line in lines)
    assert "  and 2 more" in lines
    assert "--set-resources predict_image:mem_mb=8000 predict_image:runtime=240" in lines[-1]
    assert f"{results.path}/logs" in lines[-1]


def test_shards_that_exist_are_counted_for_an_image_that_waits(make_settings, results, write_result):
    plan = plan_of(make_settings(), [results.version_path("a.tif", "0123456789ab")])
    paths = [results.shard_path("a.tif", "0123456789ab", rows) for rows in ("0-9", "10-19", "20-24")]
    plan = replace(plan, shards={plan.results[0]: Shards(paths, {})})
    Path(paths[1]).parent.mkdir(parents=True)
    Path(paths[1]).touch()
    lines = summarise(plan, 5)
    assert "  not computed: a.tif (1 of its 3 shards are)" in lines
    assert (
        "--set-resources predict_image:mem_mb=8000 predict_shard:mem_mb=8000 predict_image:runtime=240;"
        in lines[-1]
    )


def test_shards_of_a_result_that_no_run_wants_are_superseded(write_result, finish, results):
    other = results.shard_path("a.tif", "ba9876543210", "0-9")
    Path(other).parent.mkdir(parents=True)
    Path(other).touch()
    assert any(line.startswith("1 superseded result:") for line in finish(write_result("a.tif", [1.0])))


def test_run_that_is_stopped_before_anything_is_reported_in_one_line(make_settings, results):
    assert not Path(results.path).exists()
    assert len(summarise(plan_of(make_settings(), []), 5)) == 1


def test_run_that_did_not_merge_is_not_shown_as_the_one_before(write_result, finish, make_settings, results):
    before = write_result("a.tif", [1.0])
    finish(before)
    waiting = results.version_path("b.tif", "0123456789ab")
    lines = summarise(plan_of(make_settings(), [before, waiting]), 5)
    assert lines[0].startswith("the results were not merged")
    assert "  not computed: b.tif" in lines


def test_run_that_drew_no_maps_names_the_target_that_draws_them(write_result, make_settings):
    paths = [write_result("a.tif", [1.0]), write_result("b.tif", [2.0])]
    settings = make_settings()
    merge_predictions(paths, [], settings.as_dict(), {}, lambda line: None)
    plan = plan_of(settings, paths)
    hint = "no maps of the 2 predicted images: `snakemake maps` draws them"
    assert hint in summarise(plan, 1.0)
    assert hint not in summarise(replace(plan, is_drawn=True), 1.0)
    assert hint not in summarise(replace(plan, settings=make_settings(maps=False)), 1.0)


def test_run_that_ended_with_its_trial_blames_no_image(make_settings, results, write_model):
    code = {"kind": "python", "path": write_model("..."), "name": "predict_patch"}
    paths = [results.version_path(name, "0123456789ab") for name in ("a.tif", "b.tif")]
    plan = plan_of(make_settings(predictor=code), paths)
    (line,) = summarise(plan, 1)
    log = results.log("try_predictor", digest(plan.recipe))
    assert line.startswith(f"no image was predicted: the trial of the predictor did not end (log: {log}); ")
    os.makedirs(results.records)
    Path(results.refusal).touch()
    assert summarise(plan, 1) == []  # its failure was shown when it happened
