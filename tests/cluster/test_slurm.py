"""The profiles on a real Slurm: the bytes of one machine, and bounded waits whatever becomes of a job."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from slurm_studies import SMALL, TAKES_MEMORY, WAITS, write_flat
from studies import PROJECT, Run, Study, means, write_image


@pytest.fixture(scope="module", autouse=True)
def over_time(make_study):
    """Start a run in which an image outlasts its time; the least is a minute, during which the others run."""
    study = make_study()
    study.add_model(retries=0)
    write_flat(study.images / "endless.tif", WAITS)
    write_flat(study.images / "other.tif", 3)
    study.process = study.start(resources=["predict_image:runtime=1"])
    yield study
    study.process.kill()


def run_here(study, folder):
    """Run a copy of a study without its results on this machine, and give its merged bytes."""
    shutil.copytree(study.path, folder, ignore=shutil.ignore_patterns("results", ".snakemake"))
    done = Study(folder).run()
    assert done.code == 0, done.output
    return Study(folder).merged_bytes()


def contents(folder):
    """List what is in a folder, with the dates of its files."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in str(path)}


def test_what_changed_is_all_that_is_submitted_and_the_bytes_are_those_of_one_machine(finished, tmp_path):
    write_image(finished.images / "added.tif", 11)
    write_image(finished.images / "a.tif", 12)
    os.utime(finished.images / "a.tif", (1e9, 1e9))  # older than the one that it replaces
    (finished.images / "north/a.tif").unlink()
    (finished.images / "b.tif").touch()
    changed = finished.run()
    assert (changed.code, changed.predicted, changed.merged) == (0, 2, True), changed.output
    assert finished.states() == ["COMPLETED"] * 3
    assert sorted(finished.dictionary) == ["a.tif", "added.tif", "b.tif", "north/c.tif"]
    assert finished.merged_bytes() == run_here(finished, tmp_path / "here")

    assert finished.run().nothing_to_be_done
    assert len(finished.jobs()) == 3


def test_a_cancelled_job_and_one_over_its_memory_are_tried_again(study):
    study.add_model(retries=1)
    write_flat(study.images / "cancelled.tif", WAITS)
    write_flat(study.images / "hungry.tif", TAKES_MEMORY)
    write_flat(study.images / "other.tif", 3)
    run = study.start()
    subprocess.run(["scancel", study.wait_for("RUNNING", "cancelled.tif")], check=True)
    (study.path / "go_on").touch()
    done = study.finish(run)
    assert done.code == 0, done.output
    assert study.dictionary == {"cancelled.tif": [1], "hungry.tif": [2], "other.tif": [3]}
    assert study.states("cancelled.tif") == ["CANCELLED", "COMPLETED"]
    assert study.states("other.tif") == ["COMPLETED"]
    hungry = study.jobs("hungry.tif")
    assert [job.memory for job in hungry] == ["700M", "1400M"]
    assert [job.state == "COMPLETED" for job in hungry] == [False, True]


def test_after_kill_9_the_documented_recovery_submits_nothing_twice(study, tmp_path):
    study.add_model()
    write_flat(study.images / "waits.tif", WAITS)
    write_flat(study.images / "done.tif", 3)
    run = study.start()
    study.wait_for("RUNNING", "waits.tif")
    study.wait_for("COMPLETED", "done.tif")
    run.send_signal(signal.SIGKILL)
    run.wait()

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


def test_grouped_images_take_few_jobs_ask_for_what_they_need_and_fail_alone(study):
    (study.path / "model.py").write_text(
        "def predict_patch(patch):\n"
        "    if patch.max() == 1: raise ValueError('no')\n"
        "    return patch.mean()\n"
    )
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, retries=1)
    for value in range(1, 7):
        write_flat(study.images / f"{value}.tif", value)
    grouped = ["--groups", "predict_image=images", "--group-components", "images=3", "--cores", "1"]
    done = study.run(*grouped, resources=["predict_image:runtime=2"])
    assert done.code == 1
    assert "  1.tif: patch row 0, col 0: ValueError: no" in done.output
    assert study.dictionary == {f"{value}.tif": [value] for value in range(2, 7)}
    *groups, merge = study.jobs()
    assert [(job.cpus, job.memory, job.minutes) for job in groups] == [("1", "700M", "6:00")] * 2
    assert (merge.comment, merge.state) == ("rule_merge_predictions", "COMPLETED")


def test_a_shared_installation_runs_a_study_elsewhere_by_the_generic_profile(study, tmp_path):
    pixels = {name: write_image(study.images / name, seed) for seed, name in enumerate(["a.tif", "b.tif"])}
    (study.path / "config.yaml").rename(study.path.parent / "my.yaml")
    installed = tmp_path / "opt/quadrat"
    for part in ("envs", "workflow", "scripts", "profiles"):
        shutil.copytree(PROJECT / part, installed / part)
    shutil.copy(PROJECT / "Snakefile", installed)
    for path in [installed, *installed.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = contents(installed)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "-s", installed / "Snakefile"),
            *("--workflow-profile", installed / "profiles/cluster-generic", "--set-resources", *SMALL),
            *("--seconds-between-status-checks", "2", "--configfile", "my.yaml", "--directory", "study"),
        ],
        cwd=study.path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    run = Run(done.returncode, done.stdout)
    assert (run.code, run.predicted, run.merged) == (0, 2, True), run.output
    assert contents(installed) == before
    assert study.dictionary == {name: means(pixels[name]) for name in pixels}
    assert study.states() == ["COMPLETED"] * 3


def test_an_image_over_its_time_is_named_and_can_be_left_out(over_time):
    done = over_time.finish(over_time.process)
    assert done.code == 1
    assert over_time.states("endless.tif") == ["TIMEOUT"]
    assert re.search(
        r"endless\.tif\.\w+\.parquet: SLURM-job '\d+' failed, SLURM status is: 'TIMEOUT'", done.output
    )
    assert "  not computed: endless.tif" in done.output
    assert "predict_image:runtime=" in done.output
    over_time.configure(exclude=["endless.tif"])
    mended = Study(over_time.path).run()
    assert (mended.code, mended.predicted) == (0, 0), mended.output
    assert over_time.dictionary == {"other.tif": [3]}
