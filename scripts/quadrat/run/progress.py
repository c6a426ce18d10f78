"""Progress: images and shards done of all, and the time left, from the events that Snakemake logs."""

import logging
import time
from typing import Any, TextIO

from quadrat.files.text import show

# A line for each of many short jobs would be of no use.
SECONDS_BETWEEN_LINES = 5.0

# Rules whose jobs are counted, and what each makes one of.
COUNTED = {"predict_image": "images", "predict_shard": "shards"}


class ProgressHandler(logging.Handler):
    """Prints how many images and shards are done, and which jobs a cluster ended; for Snakemake's logger.

    Parameters
    ----------
    totals : dict of str to int
        Number of jobs in this run of each rule whose jobs are counted, which must be in `COUNTED`.
    stream : file, optional
        Takes the lines; default stderr.
    """

    def __init__(self, totals: dict[str, int], stream: TextIO | None = None):
        super().__init__()
        self._totals = {rule: total for rule, total in totals.items() if total}
        self._stream = stream
        self._running: dict[int, str] = {}
        self._done = dict.fromkeys(self._totals, 0)
        self._started = 0.0
        self._last_line = float("-inf")

    # Any: Snakemake gives its records attributes that the records of logging lack.
    def emit(self, record: Any) -> None:
        """Count the start and end of jobs, and show the jobs that their cluster reports as failed."""
        event = getattr(record, "event", None)
        if event == "job_info" and record.rule_name in self._totals:
            self._started = self._started or time.monotonic()
            self._running[record.jobid] = record.rule_name
        elif event == "job_finished" and record.job_id in self._running:
            self._done[self._running.pop(record.job_id)] += 1
            self._show_counts()
        elif event == "job_error" and record.rule_msg:
            # The first sentence is the reason; a job on this machine has shown it itself.
            reason = record.rule_msg.split(". ")[0]
            show(f"{', '.join(record.output)}: {reason} (logs: {', '.join(record.log)})", self._stream)
        elif event == "group_error":
            images = len(record.job_error_info)
            show(f"a job of {images:,} images failed (logs: {', '.join(record.aux_logs)})", self._stream)

    def _show_counts(self) -> None:
        now = time.monotonic()
        done, total = sum(self._done.values()), sum(self._totals.values())
        if done < total and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        left = (now - self._started) / done * (total - done)
        counts = [f"{self._done[rule]:,} of {self._totals[rule]:,} {COUNTED[rule]}" for rule in self._totals]
        time_left = f", about {_readable(left)} left" if done < total else ""
        show(f"{' and '.join(counts)} done{time_left}", self._stream)


def _readable(seconds: float) -> str:
    """Return a duration in its two largest units."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
