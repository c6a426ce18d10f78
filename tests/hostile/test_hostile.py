"""No file, however broken, stops a run, hangs it, or is taken for something that it is not."""

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

from corpus import RGB, corpus
from forking import NO_THREADS
from phrases import FORBIDDEN
from quadrat import open_predictions
from quadrat.config import load_settings
from quadrat.plan.plan import make_plan
from quadrat.results.merge import merge_predictions

PATCH_SIZE = 32
PROCESSES = 2
JOBS = Path(__file__).with_name("jobs.py")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Return the ending of the job of each hostile file, and the folder of the merged results."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "images").mkdir()
    for name, content in corpus():
        (folder / "images" / name).write_bytes(content)
    config = {"images": str(folder / "images"), "results": str(folder / "results"), "patch_size": PATCH_SIZE}
    settings = load_settings(config)
    plan = make_plan(settings, lambda line: None)
    jobs = [
        (
            {
                "filename": image.filename,
                "path": image.path,
                "version": image.version,
                "content_id": image.content_id,
                "predictor": settings.predictor,
                "output": output,
                "memory_mb": 1000,
            },
            str(folder / "job.log"),
        )
        for image, output in zip(plan.images, plan.results, strict=True)
    ]
    with ThreadPoolExecutor(PROCESSES) as pool:
        parts = list(pool.map(run_jobs, [jobs[part::PROCESSES] for part in range(PROCESSES)]))
    endings = {
        job[0]["filename"]: ending
        for part, endings in enumerate(parts)
        for job, ending in zip(jobs[part::PROCESSES], endings, strict=True)
    }
    merge_predictions(plan.results, plan.images, settings.as_dict(), plan.recipe, lambda line: None)
    return folder, endings


def run_jobs(jobs):
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, str(JOBS)],
        input=json.dumps(jobs),
        env=os.environ | {"PYTHONPATH": path} | NO_THREADS,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def table(hostile):
    """Return the rows of images.tsv."""
    with (hostile[0] / "results/images.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_there_are_hundreds_of_hostile_files(hostile):
    assert len(hostile[1]) > 500


def test_every_job_ends_by_itself_within_its_bounds(hostile):
    _, endings = hostile
    assert {name: ending for name, ending in endings.items() if ending["code"] != 0} == {}
    assert {name: ending for name, ending in endings.items() if ending["cpu_s"] >= 10} == {}
    assert {name: ending for name, ending in endings.items() if ending["memory_mb"] >= 1000} == {}


def test_every_file_is_in_the_table_once_and_its_failure_is_its_own(hostile, table):
    assert [row["filename"] for row in table] == sorted(os.listdir(hostile[0] / "images"))
    # A crash, or an error of a kind that nobody thought of, would be of another kind and be tried again.
    failed = [row for row in table if row["status"] == "failed"]
    assert {row["filename"]: row["message"] for row in failed if row["kind"] not in ("data", "memory")} == {}
    assert all(row["message"] for row in failed)
    assert {row["status"] for row in table} <= {"ok", "failed", "no_patch"}
    assert len(failed) > len(table) / 3


def test_message_of_a_broken_file_is_about_the_file(table):
    messages = {
        row["filename"]: f"{row['message']} ({row['hint']})" for row in table if row["status"] == "failed"
    }
    assert len(messages) > 100
    assert {name: message for name, message in messages.items() if FORBIDDEN.search(message)} == {}


def test_good_files_are_good_and_bombs_are_not(table):
    by_name = {row["filename"]: row["status"] for row in table}
    assert {status for name, status in by_name.items() if name.startswith("good")} == {"ok"}
    assert {
        name: status for name, status in by_name.items() if name.startswith("bomb") and status == "ok"
    } == {}


def means(pixels):
    height, width = pixels.shape[:2]
    return [
        float(np.mean(pixels[y : y + PATCH_SIZE, x : x + PATCH_SIZE]))
        for y in range(0, height - PATCH_SIZE + 1, PATCH_SIZE)
        for x in range(0, width - PATCH_SIZE + 1, PATCH_SIZE)
    ]


def decoded(path):
    """Return what the decoder itself returns for a file; None where it refuses."""
    try:
        if path.suffix == ".jp2":
            with rasterio.open(path) as image:
                return np.moveaxis(image.read(), 0, -1)
        if path.suffix != ".tif":
            with Image.open(path) as image:
                return np.asarray(image)
        with tifffile.TiffFile(path) as tif:
            pixels = tif.pages.first.asarray()
            return np.moveaxis(pixels, 0, -1) if pixels.shape[0] == 3 else pixels
    except Exception:  # noqa: BLE001  a decoder may raise anything on a broken file
        return None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_no_pixel_is_another_than_the_decoder_gives(hostile, table, caplog):
    caplog.set_level("CRITICAL")  # tifffile tells of each broken tag
    folder, _ = hostile
    predictions = open_predictions(folder / "results")
    compared, differ = 0, {}
    for filename in (row["filename"] for row in table if row["status"] == "ok"):
        pixels = decoded(folder / "images" / filename)
        if pixels is None:
            differ[filename] = "the decoder refuses it"
            continue
        compared += 1
        if predictions[filename] != means(pixels):
            differ[filename] = f"{pixels.shape}, {pixels.dtype}"
    assert differ == {}
    assert compared > 50


def test_good_file_has_the_pixels_that_were_written(hostile):
    assert open_predictions(hostile[0] / "results")["good.strips.tif"] == means(RGB)
