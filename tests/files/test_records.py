"""Records that hold what quadrat never wrote: each is refused in one line, or made again."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from quadrat.errors import QuadratError
from quadrat.exports import export_results
from quadrat.files.atomic import replace_file
from quadrat.jobs.join import join_shards
from quadrat.jobs.predict import predict_image
from quadrat.plan.plan import make_plan, read_plan, remove_other_mark
from quadrat.results.folder import ResultsFolder
from quadrat.results.merge import merge_predictions
from quadrat.results.predictions import open_predictions
from quadrat.run.record import write_run_record
from quadrat.run.summary import summarise
from quadrat.views.overview import write_overview

FOLDER = ResultsFolder("results")
IMAGE, BROKEN = "north/a.tif", "broken.tif"
SHARDS = ["results/shards/0-1.parquet", "results/shards/2-2.parquet"]
JOINED = "results/versions/joined.parquet"
HERE = "@"  # where a value is exchanged
DEEP = "[" * 100_000 + "]" * 100_000
# In the place of each value, as JSON; and of each cell of a table, or of a whole file.
VALUES = [
    *("null", "true", "-1", "0.5", "[]", "{}", '""', "[[]]", '{"a": null}', "9" * 30, "9" * 5000, "1e999"),
    *("NaN", "-Infinity", '"../../canary"', '"/etc/passwd"', '"\\u0000"', '"\\ud800"', '"\\n"', DEEP),
]
CELLS = ["", "-1", "text", "9" * 5000, "n" * 200_000, "\0", '"', "../../canary", "a\tb", "nan"]
FILES = [b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b"\t\n\t\t\n", b"\n", b"5", b"x" * 200_000]


@pytest.fixture
def study(tmp_path, monkeypatch, make_settings, write_tiff, make_task, images):
    """Return what operations need of a study that has all records; names in it are relative."""
    write_tiff(IMAGE)
    (images / BROKEN).touch()
    monkeypatch.chdir(tmp_path)
    settings = make_settings(images="images", results="results", patch_size=32, shard_pixels=6000)
    study = Study(settings)
    make_plan(settings, str)
    study.plan = make_plan(settings, str)
    for image, path in zip(study.plan.images, study.plan.results, strict=True):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        known = {"version": image.version, "content_id": image.content_id, "results": "results"}
        predict_image(make_task(image.path, filename=image.filename, output=path, **known))
    merge(study)
    write_run_record(FOLDER.run, settings.as_dict(), {}, ".", "results")
    export(study)
    study.parts = [
        make_task(f"images/{IMAGE}", output=path, rows=rows)
        for path, rows in zip(SHARDS, ([0, 1], [2, 2]), strict=True)
    ]
    for part in study.parts:
        predict_image(part)
    study.join = make_task(f"images/{IMAGE}", output=JOINED, shards=SHARDS)
    return study


class Study:
    def __init__(self, settings):
        self.settings = settings


def merge(study):
    plan = study.plan
    state = merge_predictions(plan.results, plan.images, study.settings.as_dict(), plan.recipe, str)
    replace_file(FOLDER.merge_mark, state.encode(), "results")


def plan(study):
    planned = make_plan(study.settings, str)
    remove_other_mark(planned)
    summarise(planned, 1.0)
    read_plan(study.settings)


def read(study):
    read_plan(study.settings)


def overview(study):
    write_overview(FOLDER)


def export(study, form="wsinfer"):
    export_results(form, study.plan.results, "results", None, str)


def export_again(study):
    for form in ("geotiff", "qupath"):
        shutil.rmtree(f"results/{form}", ignore_errors=True)
        export(study, form)


def look_up(study):
    predictions = open_predictions("results")
    predictions._repr_html_()
    for filename in predictions:
        predictions.grid(filename)
    predictions.to_dict()


def join(study):
    join_shards(study.join)


def footer(path):
    return pq.read_metadata(path).metadata[b"quadrat"].decode()


def set_footer(path, text):
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema.remove_metadata()) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"quadrat": text.encode("utf-8", "surrogatepass")})


def whole(path):
    return Path(path).read_text()


def set_whole(path, text):
    Path(path).write_text(text)


def last_line(path):
    return whole(path).splitlines()[-1]


def table(path):
    return [line.split("\t") for line in whole(path).splitlines()]


# Where a record is, what reads it, and how its JSON is taken out and put back.
RECORDS = {
    "merge": (lambda study: FOLDER.merged, [plan], whole, set_whole),
    "plan": (lambda study: FOLDER.plan, [plan, read], whole, set_whole),
    "shard plan": (lambda study: FOLDER.shard_plan, [plan, read], whole, set_whole),
    "contents": (lambda study: FOLDER.content_log, [plan], last_line, set_whole),
    "exports": (lambda study: f"{FOLDER.exported}/wsinfer.json", [export], whole, set_whole),
    "result": (lambda study: study.plan.results[-1], [plan, merge, export_again], footer, set_footer),
    "failure": (lambda study: study.plan.results[0], [plan, merge], footer, set_footer),
    "shard": (lambda study: SHARDS[0], [join], footer, set_footer),
    "dictionary": (lambda study: FOLDER.predictions, [look_up, overview], footer, set_footer),
}
TABLES = {
    "manifest": (FOLDER.manifest, [read]),
    "images": (FOLDER.images, [plan, overview]),
}
OTHERS = {"mark": (FOLDER.merge_mark, [plan]), "run": (FOLDER.run, [overview])}


def exchanged(value):
    """Yield a value of JSON's types as text, with each value in it in turn exchanged for some others."""
    for number, marked in enumerate(marks(value)):
        text = json.dumps(marked)
        for other in VALUES[number % 10 :: 10]:
            yield text.replace(f'"{HERE}"', other)


def marks(value):
    yield HERE
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        for marked in marks(item):
            copied = value.copy()
            copied[key] = marked
            yield copied
        if isinstance(value, dict):
            yield {other: inner for other, inner in value.items() if other != key}


def tables(rows):
    for row, cells in enumerate(rows):
        for place in range(len(cells)):
            for cell in CELLS[(row + place) % 3 :: 3]:
                changed = [*cells[:place], cell, *cells[place + 1 :]]
                yield "\n".join("\t".join(line) for line in [*rows[:row], changed, *rows[row + 1 :]])


def refusal(do, study):
    try:
        do(study)
    except QuadratError as error:
        return str(error)
    return None


def attack(study, path, operations, contents, put):
    """Put each content in the place of a record: at most a line about a file of the results comes of it."""
    shutil.copytree("results", "before", symlinks=True)
    Path("canary").write_text("canary")
    outside = sorted(os.listdir("."))
    for content in contents:
        for do in operations:
            put(path, content)
            line = refusal(do, study)
            assert line is None or "results/" in line
            shutil.rmtree("results")
            shutil.copytree("before", "results", symlinks=True)
    assert Path("canary").read_text() == "canary"
    assert sorted(os.listdir(".")) == outside


@pytest.mark.parametrize("name", RECORDS)
def test_value_that_quadrat_never_wrote_is_refused_in_one_line(study, name):
    place, operations, get, put = RECORDS[name]
    path = place(study)
    attack(study, path, operations, exchanged(json.loads(get(path))), put)


@pytest.mark.parametrize("name", TABLES)
def test_cell_that_quadrat_never_wrote_is_refused_in_one_line(study, name):
    path, operations = TABLES[name]
    attack(study, path, operations, tables(table(path)), set_whole)


@pytest.mark.parametrize("name", [*RECORDS, *TABLES, *OTHERS])
def test_file_that_is_no_record_is_refused_in_one_line(study, name):
    path, operations, *_ = (RECORDS | TABLES | OTHERS)[name]
    path = path if isinstance(path, str) else path(study)
    attack(study, path, operations, FILES, lambda path, content: Path(path).write_bytes(content))
