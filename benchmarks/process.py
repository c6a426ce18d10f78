"""Processes: each measurement has one of its own, started by a parent that holds nothing.

A child's peak of memory counts from the size of its parent, so nothing large is imported here.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
# This checkout is measured, whatever quadrat is installed.
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent / "scripts"), str(HERE)])}
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


class Ending(NamedTuple):
    """How a process ended and what it took from start to end."""

    exit_code: int
    output: str
    errors: str
    wall_s: float
    memory_mb: float


class Measurement(NamedTuple):
    """What a peer took for an image.

    Attributes
    ----------
    wall_s, cpu_s : float
        Of the work alone, without the start of the interpreter and imports. CPU is user and system.
    memory_mb : float
        Peak resident memory of the whole process.
    means : list of float
        Of the patches in row-major order; empty where the peer gives none.
    """

    wall_s: float
    cpu_s: float
    memory_mb: float
    means: list[float]


class PeerError(Exception):
    """A peer gave no measurement; the text says why in a line."""


def run(command: list[str], limit_s: float = 3600) -> Ending:
    """Run a command in a fresh process, and end it when it takes longer than `limit_s` seconds."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=ENVIRONMENT)
        killer = threading.Timer(limit_s, process.kill)
        killer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - start
        finally:
            killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
        return Ending(process.returncode, texts[0], texts[1], wall_s, usage.ru_maxrss * MAXRSS_BYTES / 1e6)


def run_python(arguments: list[str]) -> Ending:
    """Run the interpreter, and stop the benchmark if that fails."""
    ending = run([sys.executable, *arguments])
    if ending.exit_code:
        raise SystemExit(f"python {' '.join(arguments)} failed:\n{ending.errors}")
    return ending


def run_peer(peer: str, threads: int, images: list[Path], limit_s: float = 3600) -> Measurement:
    """Run a peer in a fresh process.

    Parameters
    ----------
    peer : str
        Its name, or that of a part of quadrat.
    threads : int
    images : list of Path
        The last is measured, the others warm the peer up.
    limit_s : float, optional
        Seconds after which the process is ended.

    Raises
    ------
    PeerError
        If it cannot read the image, is not installed, fails, or takes too long.
    """
    ending = run([sys.executable, str(HERE / "work.py"), peer, str(threads), *map(str, images)], limit_s)
    if ending.exit_code:
        if ending.wall_s >= limit_s:
            raise PeerError(f"not done after {limit_s:.0f} s")
        raise PeerError((ending.errors.strip() or f"exit code {ending.exit_code}").splitlines()[-1])
    answer = json.loads(ending.output)
    if "unreadable" in answer:
        raise PeerError(answer["unreadable"])
    return Measurement(answer["wall_s"], answer["cpu_s"], ending.memory_mb, answer["means"])
