"""Disks that fill, become read-only or vanish: it is told, nothing is lost, and the next run finishes."""

import os
import shutil
import subprocess
import time

import pytest

from studies import Run, means, write_image

# Waits at its first patch until the test has done its worst.
HELD = """
import os, pathlib, time
def predict_patch(patch):
    pathlib.Path("begun").touch()
    while not os.path.exists("go"):
        time.sleep(0.01)
    return patch.mean()
"""

# A result takes 200 kB.
LARGE = """
import numpy
def predict_patch(patch):
    return numpy.random.default_rng(int(patch.sum())).random(2000)
"""


def mount(*arguments):
    """Mount what only root may mount."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root may mount a file system")


def unmount(folder):
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """Return a file system of 1 MB."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1000k", "tmpfs", folder)
    yield folder
    unmount(folder)


@pytest.fixture
def read_only():
    """Return a function that makes a folder read-only, for root too, until it is unmounted."""
    mounted = []

    def lay_over(folder):
        mount("--bind", folder, folder)
        mounted.append(folder)
        mount("-o", "remount,bind,ro", folder)

    yield lay_over
    for folder in filter(os.path.ismount, mounted):
        unmount(folder)


def fill(disk, but=0):
    """Fill a disk up, but for some bytes."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() - but)


def run_held(study, act):
    """Start a run, act while its first image is at work, and give what it did."""
    (study.path / "model.py").write_text(HELD)
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"})
    command = study.command("--latency-wait", "1", cores=1)
    pipes = {"cwd": study.path, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        wait_for(study.path / "begun", process)
        act()
        (study.path / "go").touch()
        output = process.communicate(timeout=100)[0]
    return Run(process.returncode, output)


def wait_for(path, process):
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)
    assert path.exists()


@pytest.fixture
def pixels(study):
    """Write three images, and give their pixels."""
    return {f"{seed}.tif": write_image(study.images / f"{seed}.tif", seed) for seed in range(3)}


def last_line(run):
    return run.output.strip().splitlines()[-1]


@pytest.mark.long
def test_images_that_vanish_in_the_middle_are_reported_and_predicted_once_they_are_back(study, pixels):
    run = run_held(study, lambda: study.images.rename(study.path / "away"))
    assert run.code == 1
    gone = "3 of the 3 images are gone since the run began, such as images/0.tif; is a disk not mounted?"
    assert gone in run.output.splitlines()[-10:]
    (study.path / "away").rename(study.images)
    finished = study.run()
    assert (finished.code, finished.predicted) == (0, 3), finished.output
    assert study.dictionary == {name: means(pixels[name]) for name in pixels}


def test_images_that_are_gone_do_not_empty_the_dictionary(finished):
    before = finished.merged_bytes()
    finished.images.rename(finished.path / "away")
    for message in ("images images: no such folder", "images images: no file in it"):
        run = finished.run()
        assert run.code == 1
        assert f"quadrat: {message}" in last_line(run)
        finished.images.mkdir(exist_ok=True)
    assert finished.merged_bytes() == before
    finished.images.rmdir()
    (finished.path / "away").rename(finished.images)
    assert finished.run().nothing_to_be_done


@pytest.mark.long
def test_results_that_become_read_only_are_reported_and_go_on_once_they_are_not(study, pixels, read_only):
    run = run_held(study, lambda: read_only(study.results))
    assert run.code == 1
    obstacle, log = run.output.splitlines()[-2:]
    assert obstacle == "results: cannot be written to: Read-only file system"
    assert log == f"Snakemake's log: {study.logs()[0].relative_to(study.path)}"
    refused = study.run()
    assert refused.code == 1
    assert last_line(refused) == "quadrat: results/.quadrat/lock: cannot be written: Read-only file system"
    unmount(study.results)
    finished = study.run()
    assert finished.code == 0, finished.output
    assert study.dictionary == {name: means(pixels[name]) for name in pixels}


def test_disk_that_is_full_is_reported_and_nothing_half_written_counts_as_a_result(study, pixels, small_disk):
    study.configure(results=str(small_disk / "results"), retries=0)
    study.results = small_disk / "results"
    fill(small_disk, but=20_000)
    run = study.run()
    assert run.code == 1
    assert "cannot be written: No space left on device" in run.output
    assert f"{study.results}: cannot be written to: No space left on device" in run.output.splitlines()
    assert "Traceback" not in run.output
    (small_disk / "ballast").unlink()
    assert list(study.results.rglob("*.tmp")) == []
    finished = study.run()
    assert finished.code == 0, finished.output
    assert study.dictionary == {name: means(pixels[name]) for name in pixels}


def test_disk_that_is_full_at_the_merge_leaves_the_dictionary_as_it_was(study, small_disk):
    write_image(study.images / "a.tif", 1)
    study.configure(results=str(small_disk / "results"))
    study.results = small_disk / "results"
    assert study.run().code == 0
    before = study.merged_bytes()
    (study.path / "model.py").write_text(LARGE)
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"})
    fill(small_disk, but=300_000)
    run = study.run()
    assert (run.code, run.predicted, run.merged) == (1, 1, False), run.output
    full = "No space left on device"
    assert f"quadrat: {study.results}/predictions.json: cannot be written: {full} (log: " in run.output
    assert f"{study.results}: cannot be written to: {full}" in run.output.splitlines()
    assert study.merged_bytes() == before
    (small_disk / "ballast").unlink()
    finished = study.run()
    assert (finished.code, finished.predicted, finished.merged) == (0, 0, True), finished.output
    assert len(study.dictionary["a.tif"]) == 12


@pytest.mark.long
def test_disk_of_snakemakes_own_records_that_fills_is_reported(study, pixels, small_disk):
    study.configure(images=str(study.images), results=str(study.results))
    (small_disk / "config.yaml").write_bytes((study.path / "config.yaml").read_bytes())
    study.path = small_disk
    run = run_held(study, lambda: fill(small_disk))
    assert run.code == 1
    assert ".snakemake: cannot be written to: No space left on device" in run.output.splitlines(), run.output
    (small_disk / "ballast").unlink()
    finished = study.run()
    assert finished.code == 0, finished.output
    assert study.dictionary == {name: means(pixels[name]) for name in pixels}


@pytest.mark.long
def test_disk_that_is_full_at_the_maps_is_reported_and_the_next_run_draws_them(study, pixels, small_disk):
    assert study.run().code == 0
    shutil.move(study.results, small_disk / "results")
    study.configure(results=str(small_disk / "results"), maps=True, retries=0)
    study.results = small_disk / "results"
    before = study.merged_bytes()
    fill(small_disk, but=30_000)
    run = study.run()
    assert (run.code, run.predicted) == (1, 0), run.output
    assert "/map.png: cannot be written: No space left on device" in run.output
    assert f"{study.results}: cannot be written to: No space left on device" in run.output.splitlines()
    assert study.merged_bytes() == before
    mount("-o", "remount,size=20m", small_disk)
    finished = study.run()
    assert (finished.code, finished.predicted) == (0, 0), finished.output
    assert len(list(study.results.glob("maps/*.png"))) == 3
