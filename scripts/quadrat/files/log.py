"""The log of a job: its lines are shown on the terminal and kept in a file.

The log of a job that failed ends with the reason. The terminal of the run shows it, wherever the job ran.
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from quadrat.errors import QuadratError, WriteError, masked
from quadrat.files.atomic import writing
from quadrat.files.inside import open_file
from quadrat.files.text import show, visible, visible_lines

# How the line of a log begins that is the reason why its job failed.
FAILURE = "quadrat: "
# Such a line is one of the last: a few more may follow from threads that end.
TAIL_BYTES = 1 << 14


class JobLog:
    """The log of a job, called with each line that a person should read.

    Parameters
    ----------
    file : binary file
    """

    def __init__(self, file: BinaryIO):
        self._file = file

    def __call__(self, line: str) -> None:
        """Show a line, and keep it."""
        show(line)
        self._write(f"{visible(line)}\n")

    def keep(self, text: str) -> None:
        """Keep a text that is not shown, such as a traceback."""
        self._write(visible_lines(masked(text)))

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a full disk must not hide the line about it
            self._file.write(text.encode())


@contextmanager
def job_log(path: str, results: str | None = None) -> Iterator[JobLog]:
    """Yield the log of a job; an error ends the job with a line in its log.

    Parameters
    ----------
    path : str
        The job's log; takes every line, and the traceback of an unexpected error.
    results : str, optional
        The results folder that contains it; links inside that folder are not followed. Default: the folder of
        the log.

    Yields
    ------
    JobLog

    Raises
    ------
    SystemExit
        In place of an error, once its reason is in the log; or if the log cannot be written.
    """
    try:
        with writing(path):
            file = open(open_file(path, results, os.O_WRONLY | os.O_TRUNC), "wb", buffering=0)  # noqa: SIM115  closed below
    except WriteError as error:
        raise SystemExit(visible(f"quadrat: {error}")) from error

    with file:
        log = JobLog(file)
        try:
            yield log
        except Exception as error:
            reason = str(error)
            if not isinstance(error, QuadratError):
                log.keep(traceback.format_exc())
                reason = masked(f"{type(error).__name__}: {error}")
            keep_failure(path, reason, results)
            raise SystemExit(1) from error


def keep_failure(path: str, reason: str, results: str | None = None) -> None:
    """Add the reason why a job failed to the end of its log, or show it if that cannot be written.

    Parameters
    ----------
    path : str
        The job's log.
    reason : str
    results : str, optional
        The results folder that it is in; see `job_log`.
    """
    line = f"{FAILURE}{reason}"
    try:
        with writing(path), open(open_file(path, results, os.O_WRONLY | os.O_APPEND), "ab") as file:
            begin = "\n" if file.tell() else ""  # what was printed before may not have ended its line
            file.write(f"{begin}{visible(line)}\n".encode())
    except WriteError:
        show(line)


def read_failure(path: str) -> str:
    """Return the reason why a job failed from the end of its log; empty if it did not fail or has no log."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    reasons = [line.removeprefix(FAILURE) for line in lines if line.startswith(FAILURE)]
    return reasons[-1] if reasons else ""
