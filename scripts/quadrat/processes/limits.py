"""Limits: outside of jobs, a process with limited memory and time reads untrusted files."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, TextIO

from quadrat.errors import masked

MOST_BYTES, MOST_SECONDS = 4 << 30, 120
MOST_PRINTED = 20_000


class Ended(NamedTuple):
    """In place of an answer: the process ended while it worked on the question.

    Attributes
    ----------
    why : str
        The signal that ended it, or its last line of output, which names the error.
    printed : str
        The end of its output, such as the traceback of an error.
    """

    why: str
    printed: str


def answers(module: str, questions: list[Any]) -> Iterator[Any]:
    """Yield what the function `answer` of a module returns for each question, in order.

    Snakemake has threads, so that it cannot be forked. Another process is started, and a new one after each
    question that ended a process.

    Parameters
    ----------
    module : str
        Name of a module of quadrat. Its function takes and returns JSON's types.
    questions : list

    Yields
    ------
    Any
        `Ended` if the process ended by an error, a crash, or its limits: memory, and seconds of a core for
        each question.
    """
    library = str(Path(__file__).parents[2])
    paths = os.pathsep.join([library, *filter(None, [os.environ.get("PYTHONPATH")])])
    left = list(questions)
    while left:
        with TemporaryFile("w+", errors="replace") as printed:
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__, module],
                env=os.environ | {"PYTHONPATH": paths},
                input=json.dumps(left),
                stdout=subprocess.PIPE,
                stderr=printed,
                text=True,
            )
            answered = done.stdout.splitlines()
            yield from map(json.loads, answered)
            left = left[len(answered) :]
            if left:
                yield _ended(done.returncode, printed)
                left = left[1:]


def _ended(status: int, printed: TextIO) -> Ended:
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - MOST_PRINTED))
    text = masked(printed.read())
    if status < 0:
        return Ended(f"ended by {signal.Signals(-status).name}", text)
    return Ended((text.splitlines() or [f"status {status}"])[-1], text)


def _main(module: str) -> None:
    for limited in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE):
        resource.setrlimit(limited, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.dup(1)
    os.dup2(2, 1)  # the output of decoders is no answer
    answer = import_module(module).answer
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    for question in json.load(sys.stdin):
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + MOST_SECONDS, hard))
        os.write(output, f"{json.dumps(answer(question))}\n".encode())


if __name__ == "__main__":
    _main(sys.argv[1])
