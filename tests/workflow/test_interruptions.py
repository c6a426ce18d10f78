"""Runs that are killed: nothing half-written is ever taken for a result, and the same command goes on."""

import os
import random
import signal
import subprocess
import time

import pytest

from studies import means, write_image

# Slow enough that a signal finds jobs at work; the numbers do not depend on it.
MODEL = """
import time
def predict_patch(patch):
    time.sleep(0.02)
    return patch.mean()
"""


@pytest.fixture
def slow_study(study):
    """Give a study of six images that take a third of a second each, and what an undisturbed run makes."""
    for seed in range(6):
        write_image(study.images / f"{seed}.tif", seed)
    (study.path / "model.py").write_text(MODEL)
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"})
    undisturbed = study.run()
    assert undisturbed.code == 0, undisturbed.output
    study.undisturbed = study.merged_bytes()
    study.configure(results="disturbed")
    study.results = study.path / "disturbed"
    return study


def disturb(study, number, seconds, whole_group):
    """Start a run and send it a signal after a while."""
    process = study.start()
    time.sleep(seconds)
    if whole_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.wait(60)


def leftovers(study):
    """List temporary files among the results."""
    return list(study.results.rglob(".*.tmp"))


def test_killed_at_ten_random_moments_the_documented_command_ends_with_the_same_bytes(slow_study):
    moments = random.Random(1)
    for _ in range(10):
        disturb(slow_study, signal.SIGKILL, moments.uniform(0.2, 4.0), whole_group=True)
        unlocked = slow_study.run("--unlock")
        assert unlocked.code == 0, unlocked.output
    finished = slow_study.run()
    assert finished.code == 0, finished.output
    assert slow_study.merged_bytes() == slow_study.undisturbed
    assert slow_study.run().nothing_to_be_done


def test_killed_alone_its_orphans_do_no_harm(slow_study):
    disturb(slow_study, signal.SIGKILL, 2.2, whole_group=False)
    assert slow_study.run("--unlock").code == 0
    finished = slow_study.run()
    assert finished.code == 0, finished.output
    assert slow_study.merged_bytes() == slow_study.undisturbed
    assert slow_study.run().nothing_to_be_done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_the_same_command_goes_on(slow_study, number):
    disturb(slow_study, number, 2.2, whole_group=number == signal.SIGINT)
    assert leftovers(slow_study) == []
    finished = slow_study.run()
    assert finished.code == 0, finished.output
    assert slow_study.merged_bytes() == slow_study.undisturbed


@pytest.fixture
def small_disk(tmp_path):
    """Give a file system of 200 kB."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_nothing_half_written_is_taken_for_a_result(study, small_disk):
    pixels = {f"{seed}.tif": write_image(study.images / f"{seed}.tif", seed) for seed in range(3)}
    study.configure(results=str(small_disk / "results"), retries=0)
    study.results = small_disk / "results"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(180_000))
    run = study.run()
    assert run.code == 1
    assert "No space left on device" in run.output
    ballast.unlink()
    assert leftovers(study) == []
    finished = study.run()
    assert finished.code == 0, finished.output
    assert study.dictionary == {name: means(pixels[name]) for name in pixels}
