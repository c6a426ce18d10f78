"""Limits: what planning asks of the files of strangers, a process answers that may take only so much."""

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
from typing import Any, NamedTuple

MOST_BYTES, MOST_SECONDS = 4 << 30, 120


class Ended(NamedTuple):
    """In place of an answer: the process ended over the question.

    Attributes
    ----------
    why : str
        The signal that ended it, or the last line that it wrote.
    """

    why: str


def answers(module: str, questions: list[Any]) -> Iterator[Any]:
    """Yield what the function `answer` of a module returns for each question, in order.

    The process that planning runs in has threads, so that it cannot be forked; another is started, and one
    more for each question over which one ended.

    Parameters
    ----------
    module : str
        Name of a module of quadrat. Its function takes and returns what JSON can say.
    questions : list

    Yields
    ------
    Any
        `Ended` where a process ended by an error, a crash, or its limits: so much memory, and so many
        seconds of a core for each question.
    """
    library = str(Path(__file__).parents[1])
    paths = os.pathsep.join([library, *filter(None, [os.environ.get("PYTHONPATH")])])
    left = list(questions)
    while left:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, module],
            env=os.environ | {"PYTHONPATH": paths},
            input=json.dumps(left),
            capture_output=True,
            text=True,
        )
        told = done.stdout.splitlines()
        yield from map(json.loads, told)
        left = left[len(told) :]
        if left:
            crashed = done.returncode < 0
            ended_by = f"ended by {signal.Signals(-done.returncode).name}" if crashed else done.stderr
            yield Ended((ended_by.splitlines() or [f"status {done.returncode}"])[-1])
            left = left[1:]


def _main(module: str) -> None:
    for limited in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE):
        resource.setrlimit(limited, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = os.dup(1)
    os.dup2(2, 1)  # what decoders print is no answer
    answer = import_module(module).answer
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    for question in json.load(sys.stdin):
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + MOST_SECONDS, hard))
        os.write(told, f"{json.dumps(answer(question))}\n".encode())


if __name__ == "__main__":
    _main(sys.argv[1])
