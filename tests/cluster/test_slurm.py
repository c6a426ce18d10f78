"""The profiles on a real Slurm: the bytes of one machine, and bounded waits whatever becomes of a job.

The runs of all tests go on at once: a fixture whose name ends with `_run` starts one.
"""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from names import COMMANDS, awkward_names, require_harmless, write_named
from slurm_studies import HEAD, SMALL, TAKES_MEMORY, WAITS, write_flat, write_huge
from studies import PROJECT, Study, means, write_image

pytestmark = pytest.mark.long


def run_here(study, folder):
    """Run a copy of a study without its results on this machine, and give its merged bytes."""
    shutil.copytree(study.path, folder, ignore=shutil.ignore_patterns("results", ".snakemake"))
    done = Study(folder).run()
    assert done.code == 0, done.output
    return Study(folder).merged_bytes()


def contents(folder):
    """List what is in a folder, with the dates of its files."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in str(path)}


@pytest.fixture(scope="module")
def submitted_run(make_study):
    study = make_study()
    study.add_model()
    write_flat(study.images / "waits.tif", WAITS)
    study.head = study.sbatch()
    return study


def test_a_run_that_is_a_job_ends_cleanly_before_its_time_is_up_and_goes_on_after_its_node_was_lost(
    submitted_run,
):
    study = submitted_run
    study.wait_for("RUNNING", "waits.tif")
    # What Slurm does by itself at the time that the script names.
    subprocess.run(["scancel", "--batch", "--signal=INT", study.head], check=True)
    study.wait_for("FAILED", HEAD)
    study.wait_for("CANCELLED", "waits.tif")

    again = study.sbatch()
    study.wait_for("RUNNING", "waits.tif")
    subprocess.run(["scontrol", "requeue", again], check=True)  # kills it, and starts it again
    study.wait_until(
        lambda: study.states("waits.tif")[:2] == ["CANCELLED"] * 2, lambda: study.states("waits.tif")
    )
    (study.path / "go_on").touch()
    study.wait_for("COMPLETED", HEAD)
    assert study.states("waits.tif") == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert study.dictionary == {"waits.tif": [1]}


@pytest.fixture(scope="module")
def killed_run(make_study):
    study = make_study()
    study.add_model()
    write_flat(study.images / "waits.tif", WAITS)
    write_flat(study.images / "done.tif", 3)
    study.start()
    return study


def test_after_kill_9_the_documented_recovery_submits_nothing_twice(killed_run, tmp_path):
    study = killed_run
    study.wait_for("RUNNING", "waits.tif")
    study.wait_for("COMPLETED", "done.tif")
    study.process.send_signal(signal.SIGKILL)
    study.process.wait()

    guide = (PROJECT / "docs/clusters.md").read_text()
    (cancel,) = re.findall(r"^grep .*scancel.*$", guide, re.MULTILINE)
    subprocess.run(["bash", "-c", cancel], cwd=study.path, check=True)
    study.wait_for("CANCELLED", "waits.tif")
    (study.path / "go_on").touch()
    assert study.run("--unlock").code == 0
    again = study.run()
    assert (again.code, again.predicted) == (0, 1), again.output
    assert study.states("waits.tif") == ["CANCELLED", "COMPLETED"]
    assert study.states("done.tif") == ["COMPLETED"]
    assert study.merged_bytes() == run_here(study, tmp_path / "here")


@pytest.fixture(scope="module")
def cancelled_run(make_study):
    study = make_study()
    study.add_model(retries=1)
    write_flat(study.images / "cancelled.tif", WAITS)
    write_flat(study.images / "hungry.tif", TAKES_MEMORY)
    study.start()
    return study


def test_a_cancelled_job_and_one_over_its_memory_are_tried_again(cancelled_run):
    study = cancelled_run
    subprocess.run(["scancel", study.wait_for("RUNNING", "cancelled.tif")], check=True)
    (study.path / "go_on").touch()
    done = study.finish()
    assert done.code == 0, done.output
    assert study.dictionary == {"cancelled.tif": [1], "hungry.tif": [2]}
    assert study.states("cancelled.tif") == ["CANCELLED", "COMPLETED"]
    hungry = study.jobs("hungry.tif")
    assert [job.memory for job in hungry] == ["700M", "1400M"]
    assert [job.state == "COMPLETED" for job in hungry] == [False, True]


@pytest.fixture(scope="module")
def sharded_run(make_study):
    study = make_study()
    study.add_model(patch_size=512, shard_pixels=200_000_000, retries=1)
    study.means = write_huge(study.images / "huge.tif", waits_at=(44, 40))
    study.start()
    return study


def test_a_huge_image_in_shards_gives_the_bytes_of_one_job_and_a_cancelled_shard_is_redone_alone(sharded_run):
    study, cancelled = sharded_run, "_39-47"
    study.wait_until((study.path / "waits").exists, lambda: f"{cancelled}: {study.states(cancelled)}")
    subprocess.run(["scancel", study.wait_for("RUNNING", cancelled)], check=True)
    (study.path / "go_on").touch()
    done = study.finish()
    assert done.code == 0, done.output
    assert "1 to predict, 1 of them in 8 shards" in done.output
    assert study.states(cancelled) == ["CANCELLED", "COMPLETED"]
    assert [job.memory for job in study.jobs(cancelled)] == ["700M", "1400M"]
    others = [job for job in study.jobs("predict_shard") if cancelled not in job.comment]
    assert [(job.state, job.memory) for job in others] == [("COMPLETED", "700M")] * 7
    assert study.states("predict_image") == ["COMPLETED"]
    assert study.dictionary == {"huge.tif": study.means}

    (in_shards,), merged = [path.read_bytes() for path in study.versions()], study.merged_bytes()
    whole = Study(study.path)
    whole.results = study.path / "whole"
    whole.configure(shard_pixels=None, results="whole")
    assert whole.run().predicted == 1
    assert [path.read_bytes() for path in whole.versions()] == [in_shards]
    assert whole.merged_bytes() == merged


@pytest.fixture(scope="module")
def first_run(make_study):
    study = make_study()
    for seed, name in enumerate(["a.tif", "b.tif", "north/a.tif"]):
        write_image(study.images / name, seed)
    study.start()
    return study


def test_what_changed_is_all_that_is_submitted_and_the_bytes_are_those_of_one_machine(first_run, tmp_path):
    study, first = first_run, first_run.finish()
    assert (first.code, first.predicted) == (0, 3), first.output
    assert study.states() == ["COMPLETED"] * 4
    write_image(study.images / "added.tif", 11)
    write_image(study.images / "a.tif", 12)
    os.utime(study.images / "a.tif", (1e9, 1e9))  # older than the one that it replaces
    (study.images / "north/a.tif").unlink()
    (study.images / "b.tif").touch()
    changed = study.run()
    assert (changed.code, changed.predicted, changed.merged) == (0, 2, True), changed.output
    assert study.states() == ["COMPLETED"] * 7
    assert sorted(study.dictionary) == ["a.tif", "added.tif", "b.tif"]
    assert study.merged_bytes() == run_here(study, tmp_path / "here")

    assert study.run().nothing_to_be_done
    assert len(study.jobs()) == 7


@pytest.fixture(scope="module")
def grouped_run(make_study):
    study = make_study()
    (study.path / "model.py").write_text(
        "def predict_patch(patch):\n"
        "    if patch.max() == 1: raise ValueError('no')\n"
        "    return patch.mean()\n"
    )
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, retries=1)
    for value in range(1, 7):
        write_flat(study.images / f"{value}.tif", value)
    grouped = ["--groups", "predict_image=images", "--group-components", "images=3", "--cores", "1"]
    study.start(*grouped, resources=["predict_image:runtime=2"])
    return study


def test_grouped_images_take_few_jobs_ask_for_what_they_need_and_fail_alone(grouped_run):
    study, done = grouped_run, grouped_run.finish()
    assert done.code == 1
    assert "  1.tif: patch row 0, col 0: ValueError: no" in done.output
    assert study.dictionary == {f"{value}.tif": [value] for value in range(2, 7)}
    _trial, *groups, merge = study.jobs()
    assert [(job.cpus, job.memory, job.minutes) for job in groups] == [("1", "700M", "6:00")] * 2
    assert (merge.comment, merge.state) == ("rule_merge_predictions", "COMPLETED")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a copy of the project that is never written to, and what it holds."""
    folder = tmp_path_factory.mktemp("opt") / "quadrat"
    for part in ("envs", "workflow", "scripts", "profiles"):
        shutil.copytree(PROJECT / part, folder / part)
    shutil.copy(PROJECT / "Snakefile", folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    return folder, contents(folder)


@pytest.fixture(scope="module")
def generic_run(make_study, installed):
    study, folder = make_study(), installed[0]
    study.pixels = write_image(study.images / "a.tif", 0)
    (study.path / "config.yaml").rename(study.path.parent / "my.yaml")
    command = [
        *(sys.executable, "-m", "snakemake", "-s", folder / "Snakefile"),
        *("--workflow-profile", folder / "profiles/cluster-generic", "--set-resources", *SMALL),
        *("--seconds-between-status-checks", "2", "--configfile", "my.yaml", "--directory", "study"),
    ]
    study.start_command(command, study.path.parent)
    return study


def test_a_shared_installation_runs_a_study_elsewhere_by_the_generic_profile(generic_run, installed):
    study, done = generic_run, generic_run.finish()
    assert (done.code, done.predicted, done.merged) == (0, 1, True), done.output
    assert contents(installed[0]) == installed[1]
    assert study.dictionary == {"a.tif": means(study.pixels)}
    assert study.states() == ["COMPLETED"] * 2


@pytest.fixture(scope="module")
def over_time_run(make_study):
    study = make_study()
    study.add_model(retries=0)
    write_flat(study.images / "endless.tif", WAITS)
    write_flat(study.images / "other.tif", 3)
    study.start(resources=["predict_image:runtime=1"])  # Slurm knows no shorter limit
    return study


def test_an_image_over_its_time_is_named_and_can_be_left_out(over_time_run):
    study, done = over_time_run, over_time_run.finish()
    assert done.code == 1
    assert study.states("endless.tif") == ["TIMEOUT"]
    assert re.search(r"^endless\.tif: SLURM-job '\d+' failed, SLURM status is: 'TIMEOUT'", done.output, re.M)
    assert "  not computed: endless.tif" in done.output
    assert "predict_image:runtime=" in done.output
    study.configure(exclude=["endless.tif"])
    mended = Study(study.path).run()
    assert (mended.code, mended.predicted) == (0, 0), mended.output
    assert study.dictionary == {"other.tif": [3]}


# Names that are commands, 200 in all: both queues try the plain ones, and each has others. These runs start
# when the others are over: they take both cores for a minute each.

GROUPED = ("--groups", "predict_image=images", "--group-components", "images=25", "--cores", "1")
# Starts a job by itself, as a queue would, and prints its number.
SUBMIT = """#!/bin/sh
setsid bash "$1" > /dev/null 2>&1 &
echo $!
"""


def test_names_that_are_commands_are_names_to_slurm(make_study):
    study = make_study()
    study.configure(on_failure="report")
    expected = write_named(study.images, awkward_names(100, seed=1))
    study.start(*GROUPED, resources=["predict_image:runtime=2"])
    done = study.finish()
    assert done.code == 0, done.output
    require_harmless(study, expected)


def test_names_that_are_commands_are_names_to_any_queue(make_study):
    study = make_study()
    study.configure(on_failure="report")
    expected = write_named(study.images, awkward_names(100 + len(COMMANDS), seed=2))
    (study.path / "submit.sh").write_text(SUBMIT)
    (study.path / "submit.sh").chmod(0o755)
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")),
        *("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "./submit.sh", "--jobs", "2"),
        *(*GROUPED, "--ignore-incomplete", "--keep-going", "--configfile", "config.yaml"),
    ]
    study.start_command(command, study.path)
    done = study.finish()
    assert done.code == 0, done.output
    require_harmless(study, expected)
