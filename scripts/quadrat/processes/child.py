"""A forked child that may crash, or is ended if it takes too much memory, without ending its parent."""

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from quadrat.errors import MemoryBudgetError, QuadratError, WriteError, masked
from quadrat.files.atomic import writing
from quadrat.files.inside import open_file
from quadrat.files.text import visible_lines

# Capacity of a pipe on Linux, pipe(7), and characters that fit in it however they are escaped, so that the
# child need not wait for its parent to read.
PIPE_BYTES = 1 << 16
MOST_MESSAGE_CHARACTERS = 2000

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Measured: a decoder on four threads takes up to 42 MB more between two checks; a check takes 40 us.
SECONDS_BETWEEN_LOOKS = 0.02

# Memory of a process alone, proc(5), as a cluster counts it: pages of files can be dropped, and reserved
# pages are no memory. Linux alone reports it.
HELD = re.compile(r"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)


class Ending(NamedTuple):
    """The way in which the work failed."""

    kind: str
    message: str
    hint: str = ""


def run_in_child(
    work: Callable[[], None],
    log: str | None = None,
    results: str | None = None,
    memory_mb: int | None = None,
) -> Ending | None:
    """Do the work in a child process that may write to a log.

    A codec that crashes, or takes more memory than it may, ends the child and not the job.

    Parameters
    ----------
    work : callable
        Takes and returns nothing.
    log : path, optional
        Takes everything that the work prints, and the traceback of an error. Default: the streams of this
        process, and no traceback.
    results : str, optional
        The results folder that the log is in; see `quadrat.files.log.job_log`.
    memory_mb : int, optional
        Memory at which the child is ended, in MB as Slurm counts them (2**20 bytes). With a limit by the
        system, a codec would fail, and no codec reports lack of memory as the reason.

    Returns
    -------
    Ending or None
        None if the work was done.
    """
    receiver, sender = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked until the child is known: a signal before that would end the job and leave the child running.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    # Another start of Python would make small jobs a tenth slower. This process has no threads yet.
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        os.close(receiver)
        _work(work, log, results, sender)
    os.close(sender)
    with _passing_on_signals(child), _watching(child, memory_mb) as too_much:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        _, status = os.waitpid(child, 0)
    ending = _read_what_is_there(receiver)
    if too_much and os.WIFSIGNALED(status):
        message = f"its job took {too_much[0] >> 20:,} MB of memory, but may use {memory_mb:,} MB (mem_mb)"
        return Ending(MemoryBudgetError.kind, message)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        hint = "; perhaps it ran out of memory" if name == "SIGKILL" else ""
        return Ending("crash", f"the worker was ended by {name}{hint}")
    if os.waitstatus_to_exitcode(status) != 0:
        return Ending(*(json.loads(ending) if ending else ("crash", "the worker ended without a message")))
    return None


def _read_what_is_there(receiver: int) -> bytes:
    """Read a pipe, but not to its end: processes that the work left behind may keep it open."""
    os.set_blocking(receiver, False)
    try:
        return os.read(receiver, PIPE_BYTES)
    except BlockingIOError:
        return b""
    finally:
        os.close(receiver)


def _work(work: Callable[[], None], log: str | None, results: str | None, sender: int) -> None:
    """Work, send the ending to the parent, and leave the process."""
    status = 1
    try:
        if log is not None:
            with writing(log):
                file = open_file(log, results, os.O_WRONLY | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001  the child always ends here, and the parent gets the message
        message = masked(
            str(error) if isinstance(error, QuadratError) else f"{type(error).__name__}: {error}"
        )
        kind = MemoryBudgetError.kind if isinstance(error, MemoryError) else getattr(error, "kind", "error")
        ending = Ending(kind, message[:MOST_MESSAGE_CHARACTERS], getattr(error, "hint", ""))
        os.write(sender, json.dumps(ending).encode())
        # The line of a WriteError is complete. Without a log, its traceback would be shown here.
        if log is not None and not isinstance(error, WriteError):
            sys.stderr.write(visible_lines(masked(traceback.format_exc())))
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


@contextmanager
def _passing_on_signals(child: int) -> Iterator[None]:
    def pass_on(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(child, number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) for number in PASSED_ON}
    for number in PASSED_ON:
        if before[number] != signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(number, pass_on)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def _watching(child: int, memory_mb: int | None) -> Iterator[list[int]]:
    """End the child as soon as it has more memory, and yield a list that then contains the bytes it had."""
    too_much: list[int] = []
    if memory_mb is None:
        yield too_much
        return
    most = memory_mb << 20

    def look(*_: object) -> None:
        with suppress(OSError):  # it has just ended, or this system does not report it
            held = 1024 * sum(map(int, HELD.findall(Path(f"/proc/{child}/status").read_text())))
            if held > most:
                os.kill(child, signal.SIGKILL)
                too_much.append(held)

    # A timer, since this process could not fork again with a thread; a child does not inherit it.
    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_LOOKS)
    yield too_much
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
