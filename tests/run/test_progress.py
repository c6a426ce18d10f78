import io
import logging

import pytest

from quadrat.run import progress
from quadrat.run.progress import ProgressHandler


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def run(clock):
    """Return a function that plays (second, event, job, rule) to a handler, and returns its lines."""

    def play(total, events, shards=0):
        stream = io.StringIO()
        handler = ProgressHandler({"predict_image": total, "predict_shard": shards}, stream)
        for second, event, job, rule in events:
            clock[0] = second
            details = {
                "job_info": {"jobid": job, "rule_name": rule},
                "job_finished": {"job_id": job},
                "job_error": {"rule_msg": None},
            }
            attributes = {"event": event, **details.get(event, {})}
            handler.emit(logging.makeLogRecord(attributes))
        return stream.getvalue().splitlines()

    return play


def job(number, start, end, rule="predict_image"):
    return [(start, "job_info", number, rule), (end, "job_finished", number, rule)]


def test_line_shows_images_done_of_all_and_the_time_left(run):
    assert run(10, job(1, 0, 30)) == ["1 of 10 images done, about 4 min 30 s left"]


def test_last_line_shows_no_time_left(run):
    assert run(1, job(1, 0, 30)) == ["1 of 1 images done"]


def test_time_is_counted_from_the_first_image_and_not_from_planning(run):
    assert run(2, job(1, 1000, 1010)) == ["1 of 2 images done, about 10 s left"]


def test_shards_are_counted_beside_images(run):
    events = [*job(1, 1, 31, "predict_shard"), *job(2, 31, 41, "predict_shard"), *job(3, 41, 41)]
    assert run(1, events, shards=2) == [
        "0 of 1 images and 1 of 2 shards done, about 1 min 0 s left",
        "0 of 1 images and 2 of 2 shards done, about 20 s left",
        "1 of 1 images and 2 of 2 shards done",
    ]


def test_many_short_jobs_share_a_line(run):
    events = [event for number in range(1000) for event in job(number, number / 100, number / 100)]
    lines = run(1000, events)
    assert len(lines) == 3
    assert lines[-1] == "1,000 of 1,000 images done"


def test_jobs_of_other_rules_and_other_events_are_not_counted(run):
    events = [*job(1, 0, 1, "merge_predictions"), (1, "progress", 0, ""), (2, None, 0, ""), *job(2, 3, 4)]
    assert run(2, events) == ["1 of 2 images done, about 1 s left"]


def test_image_that_is_tried_again_is_counted_once(run):
    events = [(0, "job_info", 1, "predict_image"), (5, "job_error", 1, ""), *job(1, 6, 10)]
    assert run(1, events) == ["1 of 1 images done"]


@pytest.mark.parametrize(
    ("seconds", "time_left"), [(59, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")]
)
def test_time_left_is_reported_in_two_units(run, seconds, time_left):
    assert run(2, job(1, 0, seconds)) == [f"1 of 2 images done, about {time_left} left"]


def test_job_that_its_cluster_ended_is_reported_with_its_reason_and_logs():
    stream = io.StringIO()
    handler = ProgressHandler({"predict_image": 3}, stream)
    reason = "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable."
    ended = {"rule_msg": reason, "output": ["a.parquet"], "log": ["a.log", "7.log"]}
    group = {"job_error_info": [{}, {}], "aux_logs": ["8.log"]}
    failed_here = {"rule_msg": None, "output": ["b.parquet"], "log": ["b.log"]}
    handler.emit(logging.makeLogRecord({"event": "job_error", **ended}))
    handler.emit(logging.makeLogRecord({"event": "job_error", **failed_here}))
    handler.emit(logging.makeLogRecord({"event": "group_error", **group}))
    assert stream.getvalue().splitlines() == [
        "a.parquet: SLURM-job '7' failed, SLURM status is: 'TIMEOUT' (logs: a.log, 7.log)",
        "a job of 2 images failed (logs: 8.log)",
    ]
