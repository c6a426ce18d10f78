import os
import re
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from quadrat.files.log import read_failure
from quadrat.results.schema import read_footer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# The worker replaces the streams and signal handlers of its process, so that each test needs its own.
IN_CHILD = """
import os, signal, sys, time
from quadrat.errors import ImageError, MemoryBudgetError, PredictorError, QuadratError
from quadrat.processes.child import run_in_child

def work():
{work}

{before}
ending = run_in_child(work, sys.argv[1], memory_mb=200)
print(None if ending is None else tuple(ending))
"""

RECORDED = """
import sys
from quadrat.settings import ReadSettings
from quadrat.jobs.task import ImageTask
from quadrat.jobs.worker import run_recorded

run_recorded(eval(sys.argv[1]), sys.argv[2], sys.argv[3] == "last")
"""

TRIED = """
import sys
from quadrat.config import load_settings
from quadrat.settings import ReadSettings
from quadrat.jobs.task import ImageTask
from quadrat.jobs.worker import run_trial

tasks = eval(sys.argv[1])
settings = load_settings({"images": ".", "results": sys.argv[2], "predictor": tasks[0].predictor})
run_trial(lambda: tasks, settings, f"{sys.argv[2]}/mark", sys.argv[3], 2000, sys.argv[4] == "last")
"""


def in_child(work, before=""):
    return IN_CHILD.format(work=textwrap.indent(work, "    "), before=before)


def python(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def log(tmp_path):
    return tmp_path / "job.log"


@pytest.fixture
def ending(log):
    """Return a function from what is done in the child to how it ended."""

    def work(source):
        done = python(in_child(source), log)
        assert done.returncode == 0, done.stderr
        return eval(done.stdout)

    return work


def test_work_that_is_done_ends_without_a_word(ending, log):
    assert (
        ending("print('said'); print('warned', file=sys.stderr); os.system('echo by another program')")
        is None
    )
    assert sorted(log.read_text().splitlines()) == ["by another program", "said", "warned"]


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        ("PredictorError('patch row 1, col 2: KeyError')", "predictor", "patch row 1, col 2: KeyError"),
        ("ImageError('truncated')", "data", "truncated"),
        ("MemoryBudgetError('needs 9 GB')", "memory", "needs 9 GB"),
        ("ValueError('ü\\nof two lines')", "error", "ValueError: ü\nof two lines"),
        ("KeyboardInterrupt()", "error", "KeyboardInterrupt: "),
        ("SystemExit(0)", "error", "SystemExit: 0"),
        ("OSError(28, 'No space left on device')", "error", "OSError: [Errno 28] No space left on device"),
    ],
)
def test_error_is_reported_with_its_kind_and_traceback(ending, log, raised, kind, message):
    assert ending(f"raise {raised}")[:2] == (kind, message)
    assert log.read_text().startswith("Traceback")


@pytest.mark.parametrize("error", ["ValueError", "ImageError"])
def test_password_of_a_url_is_not_shown_and_not_logged(ending, log, error):
    message = ending(f"raise {error}('s3://key:se/cret@bucket/a.tif: gone')")[1]
    assert message.endswith("s3://***@bucket/a.tif: gone")
    assert log.read_text().startswith("Traceback")
    assert "s3://***@bucket" in log.read_text()


def test_hint_of_an_error_is_reported(ending):
    assert ending("raise ImageError('truncated', 'copy it again')") == ("data", "truncated", "copy it again")


@pytest.mark.parametrize(
    ("name", "hint"), [("SIGKILL", "; perhaps it ran out of memory"), ("SIGSEGV", ""), ("SIGABRT", "")]
)
def test_signal_that_ends_the_worker_is_reported(ending, name, hint):
    assert ending(f"os.kill(os.getpid(), signal.{name})")[:2] == (
        "crash",
        f"the worker was ended by {name}{hint}",
    )


def test_worker_that_takes_too_much_memory_is_ended_with_what_it_took_and_might(ending):
    kind, message, _ = ending("held = b'x' * (1 << 30)\ntime.sleep(60)")
    assert kind == "memory"
    taken = re.fullmatch(r"its job took ([0-9,]+) MB of memory, but may use 200 MB \(mem_mb\)", message)
    assert 200 < int(taken[1].replace(",", "")) <= 1100


def test_memory_that_is_reserved_or_shared_with_a_file_is_not_counted(ending, tmp_path):
    file = tmp_path / "file"
    with file.open("wb") as made:
        made.truncate(300 << 20)
    source = f"""
import mmap
reserved = mmap.mmap(-1, 1 << 31, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
with open({str(file)!r}, "rb") as opened:
    pages = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    sum(pages[::4096])
time.sleep(0.1)
"""
    assert ending(source) is None


def test_worker_that_is_refused_memory_reports_it(ending):
    assert ending("b'x' * (1 << 62)")[:2] == ("memory", "MemoryError: ")


def test_worker_that_ends_without_a_message_is_reported(ending):
    assert ending("os._exit(3)")[:2] == ("crash", "the worker ended without a message")


def test_very_long_message_does_not_stop_the_worker(ending):
    kind, message, _ = ending("raise ValueError('ü' * 10**6)")
    assert kind == "error"
    assert message.startswith("ValueError: üüü")


def test_process_that_the_work_leaves_behind_does_not_hold_the_job_up(ending, tmp_path):
    stay = tmp_path / "stay"
    stay.touch()
    left_behind = f"""
if os.fork() == 0:
    while os.path.exists({str(stay)!r}):
        time.sleep(0.01)
    os._exit(0)
"""
    assert ending(left_behind) is None
    stay.unlink()


def test_log_of_an_earlier_attempt_is_replaced(ending, log):
    log.write_text("of the attempt before\n")
    ending("print('again')")
    assert log.read_text() == "again\n"


def wait_for(job, log, text):
    while not (log.exists() and log.read_text() == text):
        assert job.poll() is None


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_to_the_job_ends_its_worker_too(log, number):
    receiver, sender = os.pipe()
    program = in_child(
        "print('working', flush=True); time.sleep(60)", f"signal.signal({int(number)}, signal.SIG_DFL)"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", program, log], cwd=SCRIPTS, pass_fds=[sender], stderr=subprocess.DEVNULL
    )
    os.close(sender)
    wait_for(job, log, "working\n")
    job.send_signal(number)
    assert job.wait(timeout=30) == -number
    # Can be read, to its end, once the last process that holds the other side has ended.
    with os.fdopen(receiver) as pipe:
        assert select.select([pipe], [], [], 30)[0] == [pipe]


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_that_the_job_is_to_ignore_ends_neither(log, tmp_path, number):
    go_on = tmp_path / "go_on"
    work = f"print('working', flush=True)\nwhile not os.path.exists({str(go_on)!r}):\n    time.sleep(0.01)\n"
    program = in_child(work, f"signal.signal({int(number)}, signal.SIG_IGN)")
    job = subprocess.Popen(
        [sys.executable, "-c", program, log], cwd=SCRIPTS, stdout=subprocess.PIPE, text=True
    )
    wait_for(job, log, "working\n")
    job.send_signal(number)
    go_on.touch()
    assert job.communicate(timeout=30)[0] == "None\n"


# the record of an image


@pytest.fixture
def record(make_task, write_tiff, write_model, log):
    """Return a function that predicts an image by a user's code in a worker."""
    image = write_tiff("a.tif")

    def run(source, attempt="last"):
        model = {"kind": "python", "path": write_model(source), "name": "predict_patch"}
        task = make_task(image.path, predictor=model)
        return image, task, python(RECORDED, repr(task), log, attempt)

    return run


def test_image_is_predicted_in_the_worker(record, log):
    image, task, done = record("import numpy as np\ndef predict_patch(patch):\n    return np.mean(patch)\n")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(task.output)
    first = table.iloc[0]
    assert first.prediction == np.mean(image.pixels[: first.height, : first.width])
    assert len(table) == 12
    assert "quadrat" in log.read_text()


def test_failure_is_not_recorded_while_the_job_will_be_tried_again(record, log):
    _, task, done = record("def predict_patch(patch):\n    return 1 / 0\n", attempt="first")
    assert (done.returncode, done.stderr) == (1, "")  # the terminal of the run shows the end of the log
    assert log.read_text().endswith(
        "\nquadrat: patch row 0, col 0: ZeroDivisionError: division by zero (my_model.py, line 2)\n"
    )
    assert not os.path.exists(task.output)


def test_failure_of_the_last_attempt_is_recorded_in_place_of_a_result(record, log):
    _, task, done = record("def predict_patch(patch):\n    return 1 / 0\n")
    assert done.returncode == 0, done.stderr
    footer, _ = read_footer(task.output)
    assert footer["failure"] == {
        "kind": "predictor",
        "message": "patch row 0, col 0: ZeroDivisionError: division by zero (my_model.py, line 2)",
        "hint": f"see {log}",
    }
    assert (footer["filename"], footer["version"], footer["rows"]) == ("a.tif", task.version, 0)
    text = log.read_text()
    assert "my_model.py" in text
    assert "ZeroDivisionError: division by zero" in text


def test_worker_that_is_killed_on_the_last_attempt_is_recorded(record):
    _, task, done = record("import os\ndef predict_patch(patch):\n    os.kill(os.getpid(), 9)\n")
    assert done.returncode == 0, done.stderr
    failure = read_footer(task.output)[0]["failure"]
    assert failure["kind"] == "crash"
    assert failure["message"] == "the worker was ended by SIGKILL; perhaps it ran out of memory"


VRT_OF_MEANS = """<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource resampling="average"><SourceFilename relativeToVRT="1">large.tif</SourceFilename>
<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="40000" ySize="40000"/>
<DstRect xOff="0" yOff="0" xSize="64" ySize="64"/></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_image_that_takes_more_memory_than_its_job_may_is_recorded_with_what_to_change(
    make_task, images, log
):
    layout = {"driver": "GTiff", "tiled": True, "sparse_ok": True, "dtype": "uint8", "count": 1}
    with rasterio.open(images / "large.tif", "w", height=40_000, width=40_000, **layout):
        pass  # no tile is stored: all are nodata, and GDAL still holds them at once to average them
    (images / "a.vrt").write_text(VRT_OF_MEANS)
    task = make_task(images / "a.vrt", memory_mb=500)
    assert python(RECORDED, repr(task), log, "last").returncode == 0
    failure = read_footer(task.output)[0]["failure"]
    assert failure["kind"] == "memory"
    assert failure["message"].endswith(" MB of memory, but may use 600 MB (mem_mb)")
    assert failure["hint"] == "give the job more memory: --set-resources predict_image:mem_mb=1200"


def test_model_that_takes_more_memory_than_a_cluster_was_asked_for_predicts_where_nobody_ends_it(
    make_task, write_tiff, write_model, log
):
    takes = "held = b'x' * (900 << 20)\ntime.sleep(0.1)\n"
    model = write_model(f"import time\n{takes}def predict_patch(patch):\n    return 1\n")
    predictor = {"kind": "python", "path": model, "name": "predict_patch"}
    task = make_task(write_tiff("a.tif").path, predictor=predictor, memory_mb=600)
    assert python(RECORDED, repr(task), log, "last").returncode == 0
    assert "failure" not in read_footer(task.output)[0]


def test_shard_that_fails_on_the_last_attempt_is_recorded_in_its_place_and_then_in_that_of_the_result(
    make_task, write_tiff, write_model, log, tmp_path
):
    image = write_tiff("a.tif")
    model = {"kind": "python", "path": write_model("def predict_patch(patch):\n    return 1 / 0\n")}
    predictor = model | {"name": "predict_patch"}
    output = str(tmp_path / "results/shards/a.0-1.parquet")
    shard = make_task(image.path, predictor=predictor, rows=[0, 1], output=output)
    assert python(RECORDED, repr(shard), log, "last").returncode == 0
    whole = make_task(image.path, predictor=predictor, shards=[output])
    assert python(RECORDED, repr(whole), tmp_path / "join.log", "last").returncode == 0
    footer, _ = read_footer(whole.output)
    assert footer["failure"] == {
        "kind": "predictor",
        "message": "patch row 0, col 0: ZeroDivisionError: division by zero (my_model.py, line 2)",
        "hint": f"see {log}",
    }


def test_shard_that_does_not_fit_the_memory_shows_which_job_to_give_more(
    make_task, write_one_strip, log, tmp_path
):
    path = write_one_strip("a.tif")
    output = str(tmp_path / "results/shards/a.0-1.parquet")
    shard = make_task(path, rows=[0, 1], output=output, memory_mb=1)
    assert python(RECORDED, repr(shard), log, "last").returncode == 0
    assert "--set-resources predict_shard:mem_mb=" in read_footer(output)[0]["failure"]["hint"]


ON_A_FULL_DISK = """
import errno
import pyarrow.parquet

def write_table(*_, **options):
    raise OSError(errno.ENOSPC, "as pyarrow puts it")

def predict_patch(patch):
    pyarrow.parquet.ParquetWriter.write_table = write_table
    return 1
"""


def test_disk_that_is_full_is_not_recorded_as_the_failure_of_an_image(record, log):
    _, task, done = record(ON_A_FULL_DISK)
    assert (done.returncode, done.stderr) == (1, "")
    assert read_failure(log) == f"{task.output}: cannot be written: No space left on device"
    assert not os.path.exists(task.output)


def test_failure_that_cannot_be_recorded_is_reported_in_one_line(record, log, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/versions").write_text("a file")
    _, task, done = record("def predict_patch(patch):\n    return 1\n")
    assert (done.returncode, done.stderr) == (1, "")
    assert read_failure(log) == f"{task.output}: cannot be written: Not a directory"


def test_log_that_cannot_be_written_is_reported_in_one_line(make_task, write_tiff, tmp_path):
    task = make_task(write_tiff("a.tif").path)
    done = python(RECORDED, repr(task), tmp_path / "nowhere/a.log", "last")
    assert done.returncode == 1
    assert done.stderr.startswith(f"quadrat: {tmp_path}/nowhere/a.log: cannot be written: No such file")
    assert done.stderr.count("\n") == 1


# the trial of what all images share


@pytest.fixture
def trial(make_task, write_tiff, write_model, results):
    """Return a function that tries code on two images, and returns its mark, refusal, log and process."""
    paths = [write_tiff(name).path for name in ("a.tif", "b.tif")]

    def run(source, attempt="last"):
        model = {"kind": "python", "path": write_model(source), "name": "predict_patch"}
        tasks = [make_task(path, predictor=model) for path in paths]
        log = results.log("try_predictor")
        os.makedirs(results.logs, exist_ok=True)
        done = python(TRIED, repr(tasks), results.path, log, attempt)
        written = [Path(path) for path in (f"{results.path}/mark", results.refusal)]
        return *(path.read_text() if path.exists() else None for path in written), log, done

    return run


def test_trial_that_succeeds_leaves_a_mark(trial):
    mark, refusal, _, done = trial("def predict_patch(patch):\n    return 1\n")
    assert (mark, refusal, done.returncode, done.stderr) == ("a.tif", None, 0, "")


@pytest.mark.parametrize("attempt", ["first", "last"])
def test_trial_of_a_wrong_predictor_leaves_a_refusal_and_no_mark(trial, attempt):
    mark, refusal, log, done = trial("def predict_patch(patch):\n    return 1 / 0\n", attempt)
    assert (mark, done.returncode, done.stderr) == (None, 1, "")
    assert refusal == ""
    assert read_failure(log) == (
        "predictor: ZeroDivisionError: division by zero (my_model.py, line 2); "
        "tried on a.tif, patch row 0, col 0; no image was predicted"
    )
    assert "return 1 / 0" in Path(log).read_text()


def test_trial_that_is_killed_is_made_again_and_then_keeps_no_image_waiting(trial):
    source = "import os\ndef predict_patch(patch):\n    os.kill(os.getpid(), 9)\n"
    mark, refusal, log, done = trial(source, "first")
    reason = "the worker was ended by SIGKILL; perhaps it ran out of memory"
    assert (mark, refusal, done.returncode, read_failure(log)) == (None, None, 1, reason)
    mark, refusal, log, done = trial(source, "last")
    assert (mark, refusal, done.returncode, read_failure(log)) == ("", None, 0, reason)
