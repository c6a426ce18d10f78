"""The log of a job: its lines are shown on the terminal and kept in a file."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from quadrat.errors import QuadratError, WriteError, masked
from quadrat.files.atomic import writing
from quadrat.files.inside import open_file
from quadrat.files.text import show, visible, visible_lines


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
    """Yield the log of a job; an error of quadrat's ends the job with its own line.

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
        In place of a QuadratError, after its line is shown; or if the log cannot be written.
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
        except QuadratError as error:
            log(f"quadrat: {error}")
            raise SystemExit(1) from error
        except Exception:
            log.keep(traceback.format_exc())
            raise
