"""The log of a job: what it says is shown on the terminal and kept in a file."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quadrat.errors import QuadratError
from quadrat.urls import masked


@contextmanager
def telling(path: str) -> Iterator[Callable[[str], None]]:
    """Give a function that tells a line; an error of quadrat's ends the job with its own line.

    Parameters
    ----------
    path : str
        The job's log; takes every line, and the traceback of an unexpected error.

    Yields
    ------
    callable
        Takes a line.

    Raises
    ------
    SystemExit
        In place of a QuadratError, once its line is told.
    """
    with open(path, "w", encoding="utf-8") as log:

        def tell(line: str) -> None:
            print(line, file=sys.stderr, flush=True)
            print(line, file=log, flush=True)

        try:
            yield tell
        except QuadratError as error:
            tell(f"quadrat: {error}")
            raise SystemExit(1) from error
        except Exception:
            log.write(masked(traceback.format_exc()))
            raise
