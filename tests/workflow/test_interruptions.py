"""Runs that are killed: nothing half-written is ever taken for a result, and the same command goes on."""

import os
import pty
import random
import select
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from studies import PATCH_SIZE, Study, means, write_image

CLEAR_LINE = "\r\x1b[K"

# Slow enough that a signal finds jobs at work; the numbers do not depend on it.
MODEL = """
import time
def predict_patch(patch):
    time.sleep(0.02)
    return patch.mean()
"""


HELD = """
import os, sys, time
def predict_patch(patch):
    while "try_predictor" not in sys.argv[0] and not os.path.exists("go"):
        open(f"begun.{os.getpid()}", "w").close()
        time.sleep(0.02)
    return patch.mean()
"""


@pytest.fixture(scope="module")
def _undisturbed(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("undisturbed") / "study")
    for seed in range(6):
        write_image(study.images / f"{seed}.tif", seed)
    (study.path / "model.py").write_text(MODEL)
    predictor = {"kind": "python", "path": "model.py", "name": "predict_patch"}
    study.configure(patch_size=PATCH_SIZE, maps=False, predictor=predictor)
    run = study.run()
    assert run.code == 0, run.output
    return study


@pytest.fixture
def slow_study(_undisturbed, tmp_path):
    """Return a study of six images that take a third of a second each, and what an undisturbed run makes."""
    shutil.copytree(_undisturbed.path, tmp_path / "study", symlinks=True)
    study = Study(tmp_path / "study")
    study.undisturbed = study.merged_bytes()
    study.configure(results="disturbed")
    study.results = study.path / "disturbed"
    return study


def disturb(study, number, seconds, whole_group):
    """Start a run, send it a signal after a while, and return the number of its group of processes."""
    process = study.start()
    time.sleep(seconds)
    if whole_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.wait(60)
    return process.pid


def wait_for_group(group):
    """Wait until all processes of a group have ended: jobs clean up after Snakemake has ended."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            time.sleep(0.05)


def lines_of_a_terminal(study, must_stop=lambda: False):
    """Run a study at a terminal, press Ctrl-C when it must stop, and return what the terminal shows last."""
    terminal, end = pty.openpty()
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), end)
    typed = ["setsid", "--ctty", "--wait", *study.command()]
    sent, is_stopped = "", False
    with subprocess.Popen(typed, cwd=study.path, env=os.environ | {"TERM": "xterm"}, **pipes) as process:
        os.close(end)
        while process.poll() is None or select.select([terminal], [], [], 0)[0]:
            if not is_stopped and must_stop():
                os.write(terminal, b"\x03")
                is_stopped = True
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    sent += os.read(terminal, 1 << 16).decode()
                except OSError:  # it is closed
                    break
    os.close(terminal)
    shown = [line.rpartition(CLEAR_LINE)[2] for line in sent.replace("\r\n", "\n").split("\n")]
    return process.returncode, sent.count(CLEAR_LINE), shown


def leftovers(study):
    """List temporary files among the results."""
    return list(study.results.rglob("*.tmp"))


@pytest.mark.long
def test_killed_at_random_moments_the_documented_command_ends_with_the_same_bytes(slow_study):
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


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)],
    ids=lambda number: number.name,
)
def test_interrupted_the_same_command_goes_on(slow_study, number):
    wait_for_group(disturb(slow_study, number, 2.2, whole_group=number == signal.SIGINT))
    assert leftovers(slow_study) == []
    finished = slow_study.run()
    assert finished.code == 0, finished.output
    assert slow_study.merged_bytes() == slow_study.undisturbed


# Its job is ended as the kernel ends it: the process that Snakemake knows first. The trial is spared.
DEADLY = """
import os, signal, sys
def predict_patch(patch):
    if "try_predictor" not in sys.argv[0] and not os.path.exists("spared"):
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return patch.mean()
"""


def test_bar_leaves_no_trace_on_a_terminal(slow_study):
    code, drawn, lines = lines_of_a_terminal(slow_study)
    assert code == 0
    assert drawn > 6
    assert [line for line in lines if " done" in line] == ["6 of 6 images done"]
    assert not any("[" in line for line in lines)
    assert slow_study.merged_bytes() == slow_study.undisturbed


def test_ctrl_c_leaves_clean_lines_and_blames_no_image(slow_study):
    (slow_study.path / "model.py").write_text(HELD)
    code, drawn, lines = lines_of_a_terminal(
        slow_study, lambda: len(list(slow_study.path.glob("begun.*"))) == 2
    )
    assert code == 1
    assert drawn > 1
    planned, *others = [line.replace("^C", "") for line in lines[1:]]
    assert planned.endswith("6 to predict")
    assert others[0].startswith("the results were not merged")
    assert not any("[" in line or "Traceback" in line or "ended without" in line for line in others)
    (slow_study.path / "go").touch()
    assert slow_study.run().code == 0
    assert slow_study.merged_bytes() == slow_study.undisturbed


def test_jobs_that_are_killed_alone_are_listed_and_the_next_run_finishes(study):
    pixels = {f"{seed}.tif": write_image(study.images / f"{seed}.tif", seed) for seed in range(2)}
    (study.path / "model.py").write_text(DEADLY)
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, retries=1)
    run = study.run()
    assert run.code == 1
    assert run.log.count("Trying to restart job") == 2
    assert all(f"  not computed: {name}" in run.output.splitlines() for name in pixels)
    (study.path / "spared").touch()
    finished = study.run()
    assert (finished.code, finished.predicted) == (0, 2), finished.output
    assert study.dictionary == {name: means(pixels[name]) for name in pixels}
    assert leftovers(study) == []
