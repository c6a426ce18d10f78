"""The locks of a results folder: which run may write to it."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from quadrat.errors import ResultsError
from quadrat.files.atomic import writing
from quadrat.files.inside import open_file


class RunLock:
    """The right to write to a results folder, held until the process ends.

    Parameters
    ----------
    path : path
        The lock file, in a folder of the results folder; created if missing.

    Raises
    ------
    ResultsError
        If another run has the lock, or the folder cannot be written to.
    """

    def __init__(self, path: str | os.PathLike):
        results = Path(path).parents[1]
        with writing(path):
            # Held until the process ends.
            self._file = open(open_file(path, results, os.O_WRONLY, make=True), "w")  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResultsError(
                f"{results}: another run is writing there; "
                "wait for it, or choose another folder (config.yaml: results)"
            ) from None


@contextmanager
def merging_alone(path: str, log: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other merge is running: the merge of a killed run may still be running.

    Parameters
    ----------
    path : str
        The lock file, in a folder of the results folder; created if missing.
    log : callable
        Takes the line that a person should read while another merge is running.
    """
    with writing(path):
        file = open(open_file(path, Path(path).parents[1], os.O_WRONLY), "w")  # noqa: SIM115  closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("waiting until the merge of a killed run ends")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
