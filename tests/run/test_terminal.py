import io
import logging
import os
import pty
import re
import select
import threading
from types import SimpleNamespace

import pytest

from quadrat.files.log import keep_failure
from quadrat.plan.sharding import Shards
from quadrat.run import terminal as module
from quadrat.run.terminal import Terminal


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def plan_of(images, shards=0):
    """Return what a terminal takes of a plan: images 0.tif, 1.tif and so on, the first of them in shards."""
    filenames = [f"{index}.tif" for index in range(images)]
    results = [f"{name}.parquet" for name in filenames]
    paths = [f"{results[0]}.{index}" for index in range(shards)]
    return SimpleNamespace(
        images=[SimpleNamespace(filename=name, version="1") for name in filenames],
        results=results,
        shards={results[0]: Shards(paths, {})} if shards else {},
    )


class Played:
    """A terminal to which events of Snakemake are played, with a log for each job."""

    def __init__(self, stream, clock, folder):
        self.stream, self.clock, self.folder = stream, clock, folder
        self.terminal = Terminal(stream)
        self.logger = logging.Logger("of Snakemake")
        self.own = logging.StreamHandler(stream)
        self.logger.addHandler(self.own)
        self.logger.addHandler(self.terminal)

    def log(self, path):
        return str(self.folder / f"{path}.log")

    def expect(self, images, shards=0):
        self.terminal.expect(plan_of(images, shards))
        jobs = {"predict_image": images, "predict_shard": shards, "all": 1}
        self.emit(0, "Job stats", event="run_info", stats=jobs)

    def emit(self, second, message, level=logging.INFO, **attributes):
        self.clock[0] = second
        self.logger.log(level, message, extra=attributes)

    def start(self, second, number, path, rule="predict_image"):
        job = {"jobid": number, "rule_name": rule, "output": [path], "log": [self.log(path)]}
        self.emit(second, "begins", event="job_info", **job)

    def end(self, second, number):
        self.emit(second, "ends", event="job_finished", job_id=number)

    def fail(self, second, number, path, rule="predict_image", **attributes):
        job = {"jobid": number, "rule_name": rule, "output": [path], "log": [self.log(path)]}
        job |= {"rule_msg": None, "indent": False} | attributes
        self.emit(second, "fails", logging.ERROR, event="job_error", **job)

    def predict(self, start, end, number, path):
        self.start(start, number, path)
        self.end(end, number)

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


@pytest.fixture
def played(clock, tmp_path):
    return Played(io.StringIO(), clock, tmp_path)


@pytest.fixture
def hushed(played):
    played.terminal.hush(played.own)
    played.terminal.is_executing = True
    return played


def test_line_shows_images_done_of_all_their_rate_and_the_time_left(hushed):
    hushed.expect(10)
    hushed.predict(0, 30, 1, "0.tif.parquet")
    assert hushed.lines == ["1 of 10 images done, 2.0/min, about 4 min 30 s left"]


def test_last_line_shows_no_time_left(hushed):
    hushed.expect(1)
    hushed.predict(0, 30, 1, "0.tif.parquet")
    assert hushed.lines == ["1 of 1 image done"]


def test_time_is_counted_from_the_first_image_and_not_from_planning(hushed):
    hushed.expect(2)
    hushed.predict(1000, 1010, 1, "0.tif.parquet")
    assert hushed.lines == ["1 of 2 images done, 6.0/min, about 10 s left"]


def test_shards_are_counted_beside_images(hushed):
    hushed.expect(1, shards=2)
    hushed.predict(1, 31, 1, "0.tif.parquet.0")
    hushed.predict(31, 41, 2, "0.tif.parquet.1")
    hushed.predict(41, 41, 3, "0.tif.parquet")
    assert hushed.lines == [
        "0 of 1 image and 1 of 2 shards done, 2.0/min, about 1 min 0 s left",
        "0 of 1 image and 2 of 2 shards done, 3.0/min, about 20 s left",
        "1 of 1 image and 2 of 2 shards done",
    ]


def test_many_short_jobs_share_a_line(hushed):
    hushed.expect(1000)
    for number in range(1000):
        hushed.predict(number / 100, number / 100, number, f"{number}.tif.parquet")
    assert len(hushed.lines) == 2
    assert hushed.lines[-1] == "1,000 of 1,000 images done"


def test_jobs_of_other_rules_and_other_events_are_not_counted(hushed):
    hushed.expect(2)
    hushed.start(0, 1, "predictions.done", "merge_predictions")
    hushed.end(1, 1)
    hushed.emit(2, "1 of 3 steps", event="progress", done=1, total=3)
    hushed.predict(3, 9, 2, "0.tif.parquet")
    assert hushed.lines == ["1 of 2 images done, 10.0/min, about 6 s left"]


@pytest.mark.parametrize(
    ("seconds", "rate", "time_left"),
    [
        (59, "1.0/min", "59 s"),
        (60, "1.0/min", "1 min 0 s"),
        (3599, "1.0/h", "59 min 59 s"),
        (7260, "0.5/h", "2 h 1 min"),
    ],
)
def test_time_left_is_shown_in_two_units(hushed, seconds, rate, time_left):
    hushed.expect(2)
    hushed.predict(0, seconds, 1, "0.tif.parquet")
    assert hushed.lines == [f"1 of 2 images done, {rate}, about {time_left} left"]


def test_image_that_is_tried_again_is_counted_once_and_is_no_failure(hushed):
    hushed.expect(1)
    hushed.start(0, 1, "0.tif.parquet")
    keep_failure(hushed.log("0.tif.parquet"), "KeyError: 3")
    hushed.fail(5, 1, "0.tif.parquet")
    hushed.emit(5, "Trying to restart job 1.")
    os.remove(hushed.log("0.tif.parquet"))
    hushed.predict(6, 10, 1, "0.tif.parquet")
    assert hushed.lines == ["1 of 1 image done"]


def test_image_that_fails_for_good_is_shown_with_its_reason_and_log(hushed):
    hushed.expect(2)
    hushed.start(0, 1, "0.tif.parquet")
    log = hushed.log("0.tif.parquet")
    keep_failure(log, "KeyError: 3")
    hushed.fail(5, 1, "0.tif.parquet")
    hushed.emit(5, "Select jobs to execute...")
    hushed.terminal.close()
    assert hushed.lines == [f"0.tif: KeyError: 3 (log: {log})"]


def test_failure_is_shown_though_snakemake_has_nothing_more_to_report_for_long(hushed, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_TO_RESTART", 0)
    hushed.expect(2)
    hushed.fail(5, 1, "0.tif.parquet", log=[])
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()
    assert hushed.lines == ["0.tif: its job of predict_image ended without a message"]


def test_image_whose_failure_is_recorded_in_place_of_a_result_is_shown_when_its_job_ends(hushed):
    hushed.expect(1, shards=2)
    for index in range(2):
        path = f"0.tif.parquet.{index}"
        hushed.start(0, index, path)
        keep_failure(hushed.log(path), "truncated")
        hushed.end(1, index)
    hushed.predict(2, 3, 2, "0.tif.parquet")
    log = hushed.log("0.tif.parquet.0")
    assert [line for line in hushed.lines if "done" not in line] == [f"0.tif: truncated (log: {log})"]


def test_failures_of_very_many_images_are_not_all_shown_but_those_of_other_jobs_are(hushed):
    hushed.expect(50)
    for index in range(40):
        hushed.start(0, index, f"{index}.tif.parquet")
        keep_failure(hushed.log(f"{index}.tif.parquet"), "truncated")
        hushed.end(0, index)
    hushed.fail(1, 99, "predictions.done", "merge_predictions")
    hushed.terminal.close()
    lines = [line for line in hushed.lines if "done, " not in line]
    assert [line.partition(":")[0] for line in lines[:20]] == [f"{index}.tif" for index in range(20)]
    assert lines[20] == "more images fail; the end of the run lists them by reason"
    assert len(lines) == 22
    assert lines[21].startswith("quadrat: its job of merge_predictions")


def test_job_that_is_no_image_s_fails_with_a_line_of_its_own_log(hushed):
    hushed.expect(1)
    hushed.start(0, 1, "predictions.done", "merge_predictions")
    log = hushed.log("predictions.done")
    keep_failure(log, "the labels do not fit")
    hushed.emit(1, "RuleException:\nCalledProcessError in file merge.smk, line 3", logging.ERROR)
    hushed.fail(1, 1, "predictions.done", "merge_predictions")
    hushed.terminal.close()
    assert hushed.lines == [f"quadrat: the labels do not fit (log: {log})"]


def test_job_that_its_cluster_ended_is_shown_with_the_reason_of_the_cluster_and_its_logs(hushed):
    hushed.expect(3)
    reason = "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable."
    hushed.fail(1, 1, "0.tif.parquet", rule_msg=reason, log=["missing.log", "7.log"])
    hushed.fail(2, 2, "1.tif.parquet", log=[])
    unknown = "For further error details see the cluster/cloud log and the log files of the involved rule(s)."
    hushed.fail(3, 3, "2.tif.parquet", rule_msg=unknown, log=[])
    hushed.terminal.close()
    assert hushed.lines == [
        "0.tif: SLURM-job '7' failed, SLURM status is: 'TIMEOUT' (log: missing.log, 7.log)",
        "1.tif: its job of predict_image ended without a message",
        "2.tif: its job of predict_image ended without a message",
    ]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_images_of_a_group_that_was_ended_are_shown_without_those_that_were_done(
    hushed, is_restarted, tmp_path
):
    plan = plan_of(3)
    done = plan.results[1] = str(tmp_path / "1.tif.parquet")
    hushed.terminal.expect(plan)
    (tmp_path / "1.tif.parquet").touch()
    keep_failure(hushed.log("2.tif.parquet"), "KeyError: 3")
    members = [
        {"output": [path], "log": [hushed.log(name)], "rule_msg": None}
        for name, path in [("0.tif", "0.tif.parquet"), ("1.tif", done), ("2.tif.parquet", "2.tif.parquet")]
    ]
    hushed.emit(3, "fails", logging.ERROR, event="group_error", job_error_info=members, aux_logs=["8.log"])
    hushed.fail(3, 3, "2.tif.parquet", indent=True)  # each member follows, whether it was done or not
    if is_restarted:
        hushed.emit(3, "Trying to restart job 7e3f2f04-2b34-5a35-9d0f-3b1f7f1c2a61.")
    hushed.terminal.close()
    shown = [
        f"0.tif: its job of 3 images ended without a message (log: {hushed.log('0.tif')}, 8.log)",
        f"2.tif: KeyError: 3 (log: {hushed.log('2.tif.parquet')}, 8.log)",
    ]
    assert hushed.lines == ([] if is_restarted else shown)


def test_jobs_that_a_person_stops_are_no_failures(hushed):
    hushed.expect(2)
    hushed.fail(1, 1, "0.tif.parquet")
    hushed.emit(1, "Terminating processes on user request, this might take some time.")
    hushed.fail(2, 2, "1.tif.parquet")
    hushed.terminal.close()
    assert hushed.lines == []


def test_errors_and_warnings_of_snakemake_are_shown_and_its_other_lines_are_not(hushed):
    hushed.emit(0, "Execute 2 jobs...")
    hushed.emit(0, "Nothing to be done (all requested files are present and up to date).")
    hushed.emit(0, "a warning of an executor", logging.WARNING)
    hushed.emit(0, "LockException:\nDirectory cannot be locked.", logging.ERROR, event="error")
    hushed.emit(0, "RuleException:\nKeyError in file own.smk, line 3", logging.ERROR, event="error")
    hushed.emit(0, "WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)
    assert hushed.lines == [
        "Nothing to be done (all requested files are present and up to date).",
        "a warning of an executor",
        "LockException:",
        "Directory cannot be locked.",
        "RuleException:",
        "KeyError in file own.smk, line 3",
    ]


def test_answers_of_snakemake_that_execute_nothing_are_shown(hushed):
    hushed.terminal.is_executing = False
    hushed.emit(0, "Assuming unrestricted shared filesystem usage.")
    hushed.emit(0, "Unlocked working directory.")
    assert hushed.lines == ["Unlocked working directory."]


def test_snakemake_whose_events_are_others_shows_its_own_lines(hushed):
    hushed.expect(1)
    hushed.emit(0, "hidden")
    hushed.emit(0, "Job 1 failed.", logging.ERROR, event="job_error", job="of another kind")
    hushed.emit(1, "Finished job 2.")
    assert hushed.lines == ["Job 1 failed.", "Finished job 2."]


def test_rehearsal_shows_how_many_jobs_would_run(hushed):
    jobs = {"predict_image": 1200, "merge_predictions": 1, "all": 1, "total": 1202}
    hushed.emit(0, "Job stats: ...", event="run_info", stats=jobs)
    hushed.terminal.show_rehearsal()
    (line,) = hushed.lines
    assert line.startswith("would run 1,200 predict_image, 1 merge_predictions; nothing was done")


@pytest.fixture
def tty(monkeypatch, clock, tmp_path):
    """Return what is played to a terminal of 60 columns, and a function that reads what it was sent."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((60, 24)))
    reader, writer = pty.openpty()
    sent = ""

    def read():
        nonlocal sent
        while select.select([reader], [], [], 0)[0]:
            sent += os.read(reader, 1 << 16).decode()
        return sent

    with open(reader, "rb", buffering=0), open(writer, "w") as stream:
        hushed = Played(stream, clock, tmp_path)
        hushed.terminal.hush(hushed.own)
        hushed.terminal.is_executing = True
        yield hushed, read


def seen(sent):
    """Return the lines that a terminal shows, where a line is cleared before it is written again."""
    lines = sent.replace("\r\n", "\n").split("\n")
    return [re.split(r"\r\x1b\[K", line)[-1] for line in lines]


def test_bar_fills_its_line_and_leaves_none_behind(tty):
    played, read = tty
    played.expect(2)
    played.predict(0, 30, 1, "0.tif.parquet")
    bar = "[######......] 1 of 2 images done, 2.0/min, about 30 s left"
    assert seen(read()) == [bar]
    keep_failure(played.log("1.tif.parquet"), "truncated")
    played.start(30, 2, "1.tif.parquet")
    played.emit(30, "a warning", logging.WARNING)
    played.end(40, 2)
    played.terminal.close()
    failure = f"1.tif: truncated (log: {played.log('1.tif.parquet')})"
    assert seen(read()) == ["a warning", failure, "2 of 2 images done", ""]


def test_bar_of_a_run_that_is_stopped_is_removed(tty):
    played, read = tty
    played.expect(2)
    played.start(0, 1, "0.tif.parquet")
    played.terminal.close()
    assert seen(read()) == [""]


def test_bar_fits_into_a_narrow_terminal(tty, monkeypatch):
    played, read = tty
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((20, 24)))
    played.expect(2)
    played.predict(0, 30, 1, "0.tif.parquet")
    assert seen(read()) == ["1 of 2 images done, "[:19]]


def test_progress_is_not_shown_where_it_is_not_wanted(clock, tmp_path):
    played = Played(io.StringIO(), clock, tmp_path)
    played.logger.removeHandler(played.own)
    played.logger.removeHandler(played.terminal)
    played.terminal = Terminal(played.stream, has_progress=False)
    played.logger.addHandler(played.terminal)
    played.expect(1)
    played.predict(0, 1, 1, "0.tif.parquet")
    assert played.lines == []
