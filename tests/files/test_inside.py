"""Links and pipes that somebody planted in a results folder: nothing outside changes, and nothing hangs.

Each operation is tried with each component of its file's path planted in turn.
"""

import io
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from quadrat.errors import QuadratError, WriteError
from quadrat.exports import FORMATS, export_results
from quadrat.files.atomic import replace_file, writing
from quadrat.files.inside import remove
from quadrat.files.locks import RunLock, merging_alone
from quadrat.files.log import JobLog, job_log
from quadrat.jobs.predict import predict_image
from quadrat.plan.content_ids import ContentLog
from quadrat.plan.plan import make_plan
from quadrat.processes.child import run_in_child
from quadrat.results.folder import ResultsFolder
from quadrat.results.links import link_results
from quadrat.results.merge import merge_predictions
from quadrat.results.tables import PlannedImage, write_manifest
from quadrat.results.writer import PredictionWriter
from quadrat.run.inspection import answer, inspect_images
from quadrat.run.record import write_run_record
from quadrat.views.draw import draw_image
from quadrat.views.drawings import DrawingsFolder
from quadrat.views.overview import write_overview

VERSION = "0123456789ab"
IMAGE, BROKEN, VOID = "north/a.tif", "north/broken.tif", "north/void.tif"
FOLDER = ResultsFolder("results")
DRAWINGS = DrawingsFolder("results", True)
DRAWING = DRAWINGS.at(IMAGE, VERSION, IMAGE)
PLANNED = PlannedImage(IMAGE, IMAGE, VERSION, "1-2", f"images/{IMAGE}", 1)
RESULT, VOID_RESULT = (FOLDER.version_path(name, VERSION) for name in (IMAGE, VOID))
BROKEN_RESULT = FOLDER.version_path(BROKEN, VERSION)
LOG = FOLDER.log("predict_image", f"{IMAGE}.{VERSION}")
SHARD = FOLDER.shard_path(IMAGE, VERSION, "0-9")
LEFT = f"{FOLDER.versions}/north/.left.tmp"
MARK = DRAWINGS.part_path("0-0.new", "ab")


@pytest.fixture
def study(tmp_path, monkeypatch, make_settings, write_tiff, make_task, write_result):
    """Return what operations need; the test runs in the folder of the study, and names in it are relative."""
    image = write_tiff(IMAGE).path
    monkeypatch.chdir(tmp_path)
    task = make_task(f"images/{IMAGE}", filename=IMAGE, output=RESULT, results="results")
    predict_image(task)
    write_result(BROKEN, failure={"kind": "crash", "message": "m", "hint": ""})
    write_result(VOID, [None])
    settings = make_settings(images="images", results="results", patch_size=32, allow_removed=True)
    study = SimpleNamespace(task=task, settings=settings, image=image)
    merge(study)
    write_result(BROKEN, failure={"kind": "crash", "message": "m", "hint": ""})
    return study


def merge(study):
    paths = [RESULT, BROKEN_RESULT, VOID_RESULT]
    merge_predictions([p for p in paths if os.path.exists(p)], [], study.settings.as_dict(), {}, print)


def draw(study):
    draw_image(PLANNED, DRAWINGS, 1, 1000, print)


def overview(study):
    write_run_record(FOLDER.run, {}, {}, ".", "results")
    write_overview(FOLDER)


def export(form, study):
    export_results(form, [RESULT], "results", None, print)


def no_export(form, study):
    if not os.path.exists(f"{FOLDER.exported}/{form}.json"):
        export(form, study)
    export_results(form, [], "results", None, print)


def link_map(study):
    link_results({IMAGE: DRAWING.map}, FOLDER.maps, "results", ".png")


def record(study):
    ContentLog(Path(FOLDER.content_log)).record([(os.urandom(4).hex(), (1, 2, 3), "x")])


def compact(study):
    log = ContentLog(Path(FOLDER.content_log))
    log._lines = 1000
    log.compact()


def lock(study):
    RunLock(FOLDER.lock)


def lock_merge(study):
    with merging_alone(FOLDER.merging, print):
        pass


def log(study):
    with job_log(LOG, "results") as log:
        log("a line")


def inspect(study):
    inspect_images(study.settings, partial(map, answer), JobLog(io.BytesIO()))


def work(study):
    ending = run_in_child(lambda: print("done"), LOG, "results")
    if ending:
        assert ending.kind == WriteError.kind
        raise SystemExit(ending.message)


def write_shard(study):
    with PredictionWriter(SHARD, "results") as writer:
        writer.finish({})


def prune(path, study):
    with writing(path):
        remove(path, "results")


def drop_shard(study):
    with writing(SHARD):
        FOLDER.remove_shard(SHARD)


# What is done, and the file that is made, replaced or appended to.
MAKES = {
    "lock": (lock, FOLDER.lock),
    "lock of the merge": (lock_merge, FOLDER.merging),
    "log of a rule": (log, LOG),
    "log of the work": (work, LOG),
    "contents": (record, FOLDER.content_log),
    "contents anew": (compact, FOLDER.content_log),
    "plan": (lambda study: make_plan(study.settings, print), FOLDER.plan),
    "manifest": (lambda study: write_manifest(FOLDER.manifest, [], "results"), FOLDER.manifest),
    "result": (lambda study: predict_image(study.task), RESULT),
    "shard": (write_shard, SHARD),
    "mark of a rule": (lambda study: replace_file(FOLDER.merge_mark, b"", "results"), FOLDER.merge_mark),
    **{path: (merge, path) for path in FOLDER.merged_files(has_regions=False) if path != FOLDER.run},
    "link": (merge, f"{FOLDER.links}/{IMAGE}.parquet"),
    "typed copy": (merge, f"{FOLDER.links}/{VOID}.parquet"),
    "map": (draw, DRAWING.map),
    "page": (draw, DRAWING.page),
    "link of a map": (link_map, f"{FOLDER.maps}/{IMAGE}.png"),
    "overview": (overview, FOLDER.overview),
    "record of a run": (overview, FOLDER.run),
    "inspection": (
        lambda study: inspect_images(study.settings, partial(map, answer), JobLog(io.BytesIO())),
        FOLDER.inspected,
    ),
    **{form: (partial(export, form), f"results/{form}/{IMAGE}{ending}") for form, ending in FORMATS.items()},
    "record of exports": (partial(export, "wsinfer"), f"{FOLDER.exported}/wsinfer.json"),
}
# What is done, and the file that is removed.
REMOVES = {
    "result that may pass": (merge, BROKEN_RESULT),
    "pruned result": (partial(prune, RESULT), RESULT),
    "pruned drawing": (partial(prune, DRAWING.map), DRAWING.map),
    "shard of a merge": (drop_shard, SHARD),
    "leftover": (lambda study: FOLDER.remove_leftovers(), LEFT),
    "link of another image": (merge, f"{FOLDER.links}/gone/b.tif.parquet"),
    "mark of a part": (lambda study: DRAWINGS.forget_parts(), MARK),
    "export of a run before": (partial(no_export, "wsinfer"), f"results/wsinfer/{IMAGE}.csv"),
}


def begin(study):
    """Do what a run does before all else."""
    FOLDER.check()
    FOLDER.remove_leftovers()


def components(path):
    """List the paths below the results folder that lead to a file, and itself."""
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(2, len(names) + 1)]


def everything(folder):
    """Return what each path beneath a folder is, when it was changed, and what it holds."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else path.is_symlink())
        for path in [folder, *folder.rglob("*")]
    }


def attempt(do, study):
    """Do it within bounded time, and give the line of its error; None where there is none."""

    def expire(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(5)
    try:
        do(study)
    except (QuadratError, SystemExit) as error:
        return str(error)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return None


def make_file(path):
    """Make a file where the study has none."""
    if not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_bytes(b"")


def prepare(name, path):
    if name in ("overview", "record of a run"):
        return  # they read what the merge wrote
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if name in REMOVES and not name.startswith("export"):
        make_file(path)


def plant(kind, place, outside):
    """Move what is in a place outside, and lead there by a link; or put a pipe in its place."""
    canary = outside / "canary"
    canary.write_bytes(b"canary")
    target = outside / "moved"
    if kind == "pipe":
        shutil.rmtree(place) if os.path.isdir(place) else Path(place).unlink(missing_ok=True)
        os.mkfifo(place)
        return
    if os.path.lexists(place):
        os.rename(place, target)
    elif kind == "file":
        target.write_bytes(b"canary")
    else:
        target.mkdir()
    os.symlink(target, place)


@pytest.mark.parametrize("name", [*MAKES, *REMOVES])
def test_operation_does_its_work_where_nothing_is_planted(study, name):
    do, path = (MAKES | REMOVES)[name]
    prepare(name, path)
    if name in MAKES and path not in (RESULT, FOLDER.content_log):
        Path(path).unlink(missing_ok=True)
    if name == "mark of a part":
        make_file(path)
    assert attempt(do, study) is None
    assert os.path.lexists(path) == (name in MAKES)


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [
        *(
            (name, "link", place)
            for name, (_, path) in (MAKES | REMOVES).items()
            for place in components(path)
        ),
        *((name, "pipe", path) for name, (_, path) in (MAKES | REMOVES).items()),
    ],
)
def test_what_is_planted_leads_nowhere(study, tmp_path, name, place, kind):
    do, path = (MAKES | REMOVES)[name]
    prepare(name, path)
    outside = tmp_path / "outside"
    outside.mkdir()
    plant("file" if kind == "link" and place == path else kind, place, outside)
    # A link that is planted later meets the operation itself.
    refused = attempt(begin, study) if kind == "pipe" else None
    before = everything(outside)
    line = refused or attempt(do, study)
    assert everything(outside) == before
    if line is not None:
        assert "\n" not in line
        assert place in line
