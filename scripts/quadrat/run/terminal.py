"""The terminal: what a person sees of a run, from the events that Snakemake logs.

Snakemake's own lines go to its log file alone. A record that this module does not know is shown.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TextIO

from quadrat.files.log import read_failure
from quadrat.files.text import counted, show
from quadrat.plan.plan import Plan
from quadrat.results.tables import MOST_FAILURES

# Without a bar, a line for each of many short jobs would be of no use.
SECONDS_BETWEEN_LINES = 5.0
# Snakemake reports at once whether it tries a job again.
SECONDS_TO_RESTART = 1.0
WIDEST_BAR = 40
# Names of the rules whose jobs are counted.
COUNTED = {"image": "predict_image", "shard": "predict_shard"}
# Stands for the number of a job that several images share.
GROUP = "group"
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
RESTARTED = "Trying to restart job "
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
    named : callable
        From the name of a rule to its name in the workflow that quadrat is a module of.
    has_progress : bool
        Whether progress is shown.
    """

    def __init__(
        self,
        stream: TextIO,
        shown: Callable[[str], str] = str,
        named: Callable[[str], str] = str,
        has_progress: bool = True,
    ):
        super().__init__()
        self._stream = stream
        self.shown = shown
        self.named = named
        self._has_progress = has_progress
        self._hushed: logging.Handler | None = None
        self._filenames: dict[str, str] = {}
        self._shards: Collection[str] = ()
        self._totals: dict[str, int] = {}
        self._done = dict.fromkeys(COUNTED, 0)
        self._running: dict[int, tuple[str, list[str]]] = {}
        self._held: list[tuple[str, str, str]] = []
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
        """Take the filenames of images and shards."""
        planned = (image.filename for image in plan.images if image.version)
        of_results = dict(zip(plan.results, planned, strict=True))
        of_shards = {path: of_results[result] for result, one in plan.shards.items() for path in one.paths}
        self._filenames = of_results | of_shards
        self._shards = of_shards.keys()

    def show_rehearsal(self) -> None:
        """Show how many jobs of each rule would run."""
        jobs = [f"{number:,} {rule}" for rule, number in self._jobs.items() if rule not in ("all", "total")]
        if jobs and self._hushed is not None:
            show(f"would run {', '.join(jobs)}; nothing was done (-p lists them)", self._stream)

    def close(self) -> None:
        """Show the last failure, and leave no bar behind."""
        self._show_held()
        self._erase_bar()
        self._bar = ""
        super().close()

    # Any: Snakemake gives its records attributes that the records of logging lack.
    def emit(self, record: Any) -> None:
        """Count the start and end of jobs, and show why jobs failed."""
        try:
            self._take(record)
        except (AttributeError, KeyError, TypeError):  # of another Snakemake: its lines are better than none
            if self._hushed is not None:
                self._hushed.removeFilter(self._lets_through)
                self._hushed.handle(record)
        except OSError:  # the terminal was closed; the run goes on
            self._has_progress = False

    def _take(self, record: Any) -> None:
        event = getattr(record, "event", None)
        message = str(record.msg)
        self._is_stopped |= message.startswith(STOPPED)
        if message.startswith(RESTARTED):
            job = message.removeprefix(RESTARTED).rstrip(".")
            job = job if job.isdigit() else GROUP
            self._held = [held for held in self._held if held[0] != job]
        if event == "run_info":
            self._jobs = record.stats
            self._totals = {noun: self._jobs.get(self.named(rule), 0) for noun, rule in COUNTED.items()}
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
        elif event == "job_error" and not record.indent:
            self._running.pop(record.jobid, None)
            self._hold(str(record.jobid), vars(record), record.log, f"its job of {record.rule_name}")
        elif event == "group_error":
            images = f"its job of {counted(len(record.job_error_info), 'image')}"
            for job in record.job_error_info:
                if not all(map(os.path.exists, job["output"])):
                    self._hold(GROUP, job, job["log"] + record.aux_logs, images)

    def _hold(self, key: str, job: Mapping[str, Any], logs: list[str], name: str) -> None:
        """Show the failure of a job soon, unless Snakemake reports until then that it tries it again."""
        # The first sentence of a cluster's report is the reason, and a report without one begins thus.
        reported = (job["rule_msg"] or "").split(". ")[0].partition("For further error details")[0]
        reason = (logs and read_failure(logs[0])) or reported or f"{name} ended without a message"
        path = (job["output"] or [""])[0]
        self._held.append((key, path, self._line(path, reason, logs)))
        timer = threading.Timer(SECONDS_TO_RESTART, self._show_held)
        timer.daemon = True
        timer.start()

    def _line(self, path: str, reason: str, logs: list[str]) -> str:
        """Return the line of a failed job; that of an image begins with its filename."""
        where = f" (log: {', '.join(map(self.shown, logs))})" if logs else ""
        return f"{self._filenames.get(path, 'quadrat')}: {reason}{where}"

    def _show_held(self) -> None:
        """Show the failures of jobs that are not tried again, unless a person ended them."""
        self.acquire()
        try:
            for _, path, line in self._held if not self._is_stopped else []:
                self._show_once(path, line)
            self._held = []
        finally:
            self.release()

    def _show_once(self, path: str, line: str) -> None:
        """Show a failure, unless it is the second of an image in shards, or one of very many."""
        filename = self._filenames.get(path, line)
        if filename in self._failed:
            return
        self._failed.add(filename)
        if path not in self._filenames or len(self._failed) <= MOST_FAILURES:
            self._show(line)
        elif len(self._failed) == MOST_FAILURES + 1:
            self._show("more images fail; the end of the run lists them by reason")

    def _show(self, line: str) -> None:
        self._erase_bar()
        show(line, self._stream)
        if self._bar:
            self._draw()

    def _show_progress(self, is_new: bool = False) -> None:
        now = time.monotonic()
        done, total = sum(self._done.values()), sum(self._totals.values())
        if not self._has_progress or not total:
            return
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
