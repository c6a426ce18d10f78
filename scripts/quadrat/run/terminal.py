"""The terminal: what a person sees of a run, from the events that Snakemake logs.

Snakemake's own lines go to its log file alone. A record that this module does not know is shown.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import Any, TextIO

from quadrat.files.log import read_failure
from quadrat.files.text import counted, show
from quadrat.plan.plan import Plan

# Without a bar, a line for each of many short jobs would be of no use.
SECONDS_BETWEEN_LINES = 5.0
WIDEST_BAR = 40
CLEAR_LINE = "\r\x1b[K"

# Ends the exception of a run whose images failed; the summary lists them.
FAILED = "failed (config.yaml: on_failure)"

# Starts of what Snakemake reports once more after quadrat, or of what is no news where quadrat runs.
REPEATED = (
    "RuleException:\nCalledProcessError in file ",
    "Exiting because a job execution failed.",
    "WorkflowError:\nAt least one job did not complete successfully.",
    "--keep-incomplete mode is set",
)
# Starts of lines before it executes anything that are no news either.
BEFORE = ("Assuming unrestricted shared filesystem usage.", "Config file ")
STOPPED = "Terminating processes on user request"
NOTHING_TO_DO = "Nothing to be done"


class Terminal(logging.Handler):
    """Shows how many images and shards are done, and each failure once; for Snakemake's logger.

    Parameters
    ----------
    stream : file
        Takes the lines.
    shown : callable
        From a path to the path as it is shown.
    has_progress : bool
        Whether progress is shown.
    """

    def __init__(self, stream: TextIO, shown: Callable[[str], str] = str, has_progress: bool = True):
        super().__init__()
        self._stream = stream
        self.shown = shown
        self._has_progress = has_progress
        self._hushed: logging.Handler | None = None
        self._filenames: dict[str, str] = {}
        self._totals: dict[str, int] = {}
        self._done = {"image": 0, "shard": 0}
        self._running: dict[int, tuple[str, list[str]]] = {}
        self._failure: tuple[int, str, str] | None = None
        self._failed: set[str] = set()
        self._bar = ""
        self._started = 0.0
        self._last_line = 0.0
        self._is_stopped = False
        self.is_executing = False
        self.has_begun = False
        self._jobs: dict[str, int] = {}

    def hush(self, handler: logging.Handler) -> None:
        """Keep the lines of Snakemake's own handler from the terminal, except errors and warnings."""
        self._hushed = handler
        handler.addFilter(self._lets_through)

    def expect(self, plan: Plan) -> None:
        """Take the images and shards of a run that are to be counted."""
        planned = (image.filename for image in plan.images if image.version)
        of_results = dict(zip(plan.results, planned, strict=True))
        of_shards = {path: of_results[result] for result, one in plan.shards.items() for path in one.paths}
        self._filenames = of_results | of_shards
        self._shards = of_shards.keys()
        self._totals = {"image": len(plan.missing), "shard": len(plan.missing_shards)}

    def show_rehearsal(self) -> None:
        """Show how many jobs of each rule would run."""
        jobs = [f"{number:,} {rule}" for rule, number in self._jobs.items() if rule not in ("all", "total")]
        if jobs and self._hushed is not None:
            show(f"would run {', '.join(jobs)}; nothing was done (-p lists them)", self._stream)

    def close(self) -> None:
        """Show the last failure, and leave no bar behind."""
        self._show_failure()
        self._erase_bar()
        self._bar = ""
        super().close()

    # Any: Snakemake gives its records attributes that the records of logging lack.
    def emit(self, record: Any) -> None:
        """Count the start and end of jobs, and show why jobs failed."""
        try:
            self._take(record)
        except AttributeError:  # of another Snakemake, whose lines are better than none
            if self._hushed is not None:
                self._hushed.removeFilter(self._lets_through)
        except OSError:  # the terminal was closed; the run goes on
            self._has_progress = False

    def _take(self, record: Any) -> None:
        event = getattr(record, "event", None)
        message = str(record.msg)
        self._is_stopped |= message.startswith(STOPPED)
        if self._failure and (self._is_stopped or message == f"Trying to restart job {self._failure[0]}."):
            self._failure = None
        self._show_failure()
        if event == "run_info":
            self._jobs = record.stats
        elif event == "job_info":
            self.has_begun = True
            if record.output and record.output[0] in self._filenames:
                self._started = self._started or time.monotonic()
                self._last_line = self._last_line or self._started  # a short run needs no line on the way
                self._running[record.jobid] = (record.output[0], record.log)
                self._show_progress()
        elif event == "job_finished" and record.job_id in self._running:
            path, logs = self._running.pop(record.job_id)
            if reason := read_failure(logs[0]):
                self._show_once(path, self._line(path, reason, logs))
            self._done["shard" if path in self._shards else "image"] += 1
            self._show_progress(is_new=True)
        elif event == "job_error" and not record.indent and not self._is_stopped:
            self._running.pop(record.jobid, None)
            # The first sentence of a cluster's report is the reason.
            reason = (
                read_failure(record.log[0] if record.log else "")
                or (record.rule_msg or "").split(". ")[0]
                or f"its job of {record.rule_name} ended without a message"
            )
            path = (record.output or [""])[0]
            self._failure = (record.jobid, path, self._line(path, reason, record.log))
        elif event == "group_error":
            reason = f"a job of {counted(len(record.job_error_info), 'image')} failed"
            self._show(self._line("", reason, record.aux_logs))

    def _line(self, path: str, reason: str, logs: list[str]) -> str:
        """Return the line of a failed job; that of an image begins with its filename."""
        where = f" (log: {', '.join(map(self.shown, logs))})" if logs else ""
        return f"{self._filenames.get(path, 'quadrat')}: {reason}{where}"

    def _show_failure(self) -> None:
        """Show the failure of a job, once it is known that the job is not tried again."""
        if self._failure:
            (_, path, line), self._failure = self._failure, None
            self._show_once(path, line)

    def _show_once(self, path: str, line: str) -> None:
        """Show a failure, unless it is the second of an image in shards."""
        filename = self._filenames.get(path, line)
        if filename not in self._failed:
            self._failed.add(filename)
            self._show(line)

    def _show(self, line: str) -> None:
        self._erase_bar()
        show(line, self._stream)
        if self._bar:
            self._draw()

    def _show_progress(self, is_new: bool = False) -> None:
        if not self._has_progress:
            return
        now = time.monotonic()
        done, total = sum(self._done.values()), sum(self._totals.values())
        line = self._counts(now, done, total)
        if done == total:
            self._erase_bar()
            self._bar = ""
            show(line, self._stream)
        elif self._hushed is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = line
            self._draw()
        elif is_new and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            show(line, self._stream)

    def _counts(self, now: float, done: int, total: int) -> str:
        counts = [
            f"{self._done[noun]:,} of {counted(number, noun)}"
            for noun, number in self._totals.items()
            if number
        ]
        line = f"{' and '.join(counts)} done"
        seconds = now - self._started
        if not done or not seconds or done == total:
            return line
        return f"{line}, {_rate(done / seconds)}, about {_duration(seconds / done * (total - done))} left"

    def _draw(self) -> None:
        """Draw the bar in its line, as wide as the terminal is by now."""
        width = (os.get_terminal_size(self._stream.fileno()).columns or 80) - 1
        cells = min(WIDEST_BAR, width - len(self._bar) - 3)
        filled = cells * sum(self._done.values()) // sum(self._totals.values())
        bar = f"[{'#' * filled}{'.' * (cells - filled)}] " if cells > 1 else ""
        self._stream.write(f"{CLEAR_LINE}{(bar + self._bar)[:width]}")
        self._stream.flush()

    def _erase_bar(self) -> None:
        if self._bar:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()

    def _lets_through(self, record: logging.LogRecord) -> bool:
        """Return whether Snakemake shows a record itself."""
        message = str(record.msg)
        if not self.is_executing:  # it may answer --list, --unlock and the like
            return not message.startswith(BEFORE)
        if record.levelno < logging.WARNING:
            lets_through = message.startswith(NOTHING_TO_DO)
        else:
            is_shown = getattr(record, "event", None) in ("job_error", "group_error")
            lets_through = not (is_shown or message.startswith(REPEATED) or FAILED in message)
        if lets_through:
            self._erase_bar()
        return lets_through


def _rate(per_second: float) -> str:
    """Return a rate in the unit in which it is at least one, if there is one."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:,.1f}/{unit}"
    return f"{per_second * 3600:,.1f}/h"


def _duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
