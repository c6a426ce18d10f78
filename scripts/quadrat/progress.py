"""Progress: images done of all, and the time left, from the events that Snakemake logs."""

import logging
import sys
import time
from typing import TextIO

# A line for each of many short jobs would tell nobody anything.
SECONDS_BETWEEN_LINES = 5.0


class ProgressHandler(logging.Handler):
    """Prints how many images are done; to be added to Snakemake's logger.

    Parameters
    ----------
    rule : str
        The rule whose jobs are counted.
    total : int
        Number of its jobs in this run.
    stream : file, optional
        Takes the lines; default stderr.
    """

    def __init__(self, rule: str, total: int, stream: TextIO | None = None):
        super().__init__()
        self._rule = rule
        self._total = total
        self._stream = stream or sys.stderr
        self._running: set[int] = set()
        self._done = 0
        self._started: float | None = None
        self._last_line = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Count the start and end of jobs."""
        event = getattr(record, "event", None)
        if event == "job_info" and record.rule_name == self._rule:
            self._started = self._started or time.monotonic()
            self._running.add(record.jobid)
        elif event == "job_finished" and record.job_id in self._running:
            self._running.remove(record.job_id)
            self._done += 1
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if self._done < self._total and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        left = (now - self._started) / self._done * (self._total - self._done)
        told = f", about {_readable(left)} left" if self._done < self._total else ""
        print(f"{self._done:,} of {self._total:,} images done{told}", file=self._stream, flush=True)


def _readable(seconds: float) -> str:
    """Give a duration in its two largest units."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
