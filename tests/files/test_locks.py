import os
import subprocess
import sys
from pathlib import Path

import pytest

from quadrat.errors import ResultsError, WriteError
from quadrat.files.locks import RunLock, merging_alone

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_second_run_on_a_results_folder_is_refused_with_what_to_do(results):
    first = RunLock(results.lock)
    with pytest.raises(ResultsError) as caught:
        RunLock(results.lock)
    assert str(caught.value).startswith(f"{results.path}: another run is writing there; wait for it")
    assert "config.yaml: results" in str(caught.value)
    del first


def test_lock_ends_with_its_process_however_that_ends(results):
    program = (
        "import os, sys\n"
        "from quadrat.files.locks import RunLock\n"
        "lock = RunLock(sys.argv[1])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, results.lock], cwd=SCRIPTS, check=False)
    assert done.returncode == -9
    RunLock(results.lock)


def test_two_results_folders_can_be_written_at_once(tmp_path):
    locks = [RunLock(tmp_path / name / ".quadrat/lock") for name in ("one", "other")]
    assert len(locks) == 2


def test_folder_that_cannot_be_made_is_reported_in_one_line(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(WriteError, match=r"^.*/results/.quadrat/lock: cannot be written: Not a directory$"):
        RunLock(tmp_path / "results/.quadrat/lock")


MERGES = """
import sys
from quadrat.files.locks import merging_alone
with merging_alone(sys.argv[1], print):
    print("merging", flush=True)
    sys.stdin.read()
"""


def test_merge_waits_for_one_that_outlived_its_run(results):
    os.makedirs(os.path.dirname(results.merging))
    command = [sys.executable, "-c", MERGES, results.merging]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": SCRIPTS}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == "merging\n"
        with subprocess.Popen([command[0], "-u", *command[1:]], **pipes) as second:
            assert second.stdout.readline() == "waiting until the merge of a killed run ends\n"
            first.communicate()
            assert second.communicate()[0] == "merging\n"


def test_merge_need_not_wait_for_one_that_was_killed(results):
    os.makedirs(os.path.dirname(results.merging))
    killed = MERGES.replace("sys.stdin.read()", "import os; os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", killed, results.merging], cwd=SCRIPTS, check=False)
    assert done.returncode == -9
    lines = []
    with merging_alone(results.merging, lines.append):
        pass
    assert lines == []


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_planted_in_the_place_of_the_lock_is_refused(results, tmp_path, kind):
    os.makedirs(os.path.dirname(results.lock))
    outside = tmp_path / "outside"
    if kind == "link":
        os.symlink(outside, results.lock)
    else:
        os.mkfifo(results.lock)
    with pytest.raises(WriteError, match=f"lock is a {kind}, but must be a file of quadrat's; delete it"):
        RunLock(results.lock)
    assert not outside.exists()


def test_second_user_who_may_not_write_to_the_lock_is_refused_in_one_line(results):
    RunLock(results.lock)
    os.chmod(results.lock, 0o444)
    program = "import sys; from quadrat.files.locks import RunLock; RunLock(sys.argv[1])"
    command = [sys.executable, "-c", program, results.lock]
    if os.geteuid() == 0:
        # The permissions of files hold for root too where this is dropped.
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all", *command]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("/.quadrat/lock: cannot be written: Permission denied")
