"""The log of a job: what it says is shown on the terminal and kept in a file."""

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from quadrat.cells import show, visible, visible_lines
from quadrat.errors import QuadratError, WriteError
from quadrat.inside import open_file
from quadrat.store import writing
from quadrat.urls import masked


@contextmanager
def telling(path: str, results: str | None = None) -> Iterator[Callable[[str], None]]:
    """Give a function that tells a line; an error of quadrat's ends the job with its own line.

    Parameters
    ----------
    path : str
        The job's log; takes every line, and the traceback of an unexpected error.
    results : str, optional
        The results folder that it is in: no link below that is followed. Default: the folder of the log.

    Yields
    ------
    callable
        Takes a line.

    Raises
    ------
    SystemExit
        In place of a QuadratError, once its line is told; and where the log cannot be written.
    """
    try:
        with writing(path):
            log = open(open_file(path, results, os.O_WRONLY | os.O_TRUNC), "wb", buffering=0)  # noqa: SIM115  closed below
    except WriteError as error:
        raise SystemExit(visible(f"quadrat: {error}")) from error

    def keep(text: str) -> None:
        with suppress(OSError):  # a full disk must not hide what is told of it
            log.write(text.encode())

    def tell(line: str) -> None:
        show(line)
        keep(f"{visible(line)}\n")

    with log:
        try:
            yield tell
        except QuadratError as error:
            tell(f"quadrat: {error}")
            raise SystemExit(1) from error
        except Exception:
            keep(visible_lines(masked(traceback.format_exc())))
            raise
