"""The worker: a job's work in a process of its own, whose end is recorded however it comes."""

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

from quadrat.cells import show, visible, visible_lines
from quadrat.errors import MemoryBudgetError, QuadratError, WriteError
from quadrat.inside import open_file
from quadrat.model_settings import gpus
from quadrat.store import write_failure, writing
from quadrat.task import ImageTask
from quadrat.urls import masked

# What a pipe holds on Linux, pipe(7), and characters that fit in it however they are escaped: the child must
# not wait for its parent to read.
PIPE_BYTES = 1 << 16
MOST_TOLD = 2000

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Between two looks a decoder on four threads was seen to take 42 MB more; a look takes 40 us.
SECONDS_BETWEEN_LOOKS = 0.02
# What a process holds alone, proc(5), as a cluster counts it: pages of files can be dropped, and what is only
# reserved is no memory. Linux alone says it.
HELD = re.compile(r"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)
# Predictors that come with quadrat, and take no memory of their own.
OWN_KINDS = ("mean", "statistics")
# Before it takes more, the kernel would look for a process to end, which may be another one.
MOST_OF_A_MACHINE = 0.75
# What a small image takes, however little its job was given; as `quadrat.predict` hands it to the reader.
LEAST_MB = 600


class Ending(NamedTuple):
    """How the work ended without success."""

    kind: str
    message: str
    hint: str = ""


def run_recorded(task: ImageTask, log: str, is_last_attempt: bool) -> None:
    """Do a task in a child process; when the last attempt fails, record why in place of a result.

    Parameters
    ----------
    task : ImageTask
    log : str
        Takes all that the work prints, and the traceback of an error.
    is_last_attempt : bool
        Whether the job will not be tried again.

    Raises
    ------
    SystemExit
        If the work failed and the job will be tried again, or what failed is not the image's to bear.
    """

    def work() -> None:
        # Imported by the child: the parent stays small, and safe to fork.
        if task.shards:
            from quadrat.join import join_shards

            join_shards(task)
        else:
            from quadrat.predict import predict_image

            predict_image(task)

    memory_mb = _most_memory_mb(task)
    ending = run_in_child(work, log, task.results, memory_mb)
    if ending is None:
        return
    line = visible(f"{task.filename}: {ending.message} (log: {log})")
    if not is_last_attempt or ending.kind == WriteError.kind:
        raise SystemExit(line)
    show(line)
    if not os.path.exists(task.path):  # a disk that is not mounted any more is no failure of the image
        raise SystemExit(line)
    hint = ending.hint or f"see {log}"
    if ending.kind == MemoryBudgetError.kind and memory_mb and not ending.hint:
        hint = f"give the job more memory: --set-resources {task.rule}:mem_mb={2 * memory_mb}"
    failure = {"kind": ending.kind, "message": ending.message, "hint": hint}
    try:
        write_failure(task.writer(), task.identity() | {"content_hash": None}, failure)
    except WriteError as error:
        raise SystemExit(f"{task.filename}: {error}") from error


def _most_memory_mb(task: ImageTask) -> int | None:
    """Return the memory at which the work on a task is ended, in MB; None for no bound.

    What an image takes is known beforehand, and is held to the memory of its job. What the user's own model
    takes is not known. It may have what the machine has; a cluster ends what takes more than was asked for.
    """
    if task.memory_mb is None or gpus(task.predictor):  # the driver of a GPU takes what nobody can foresee
        return None
    if task.predictor["kind"] in OWN_KINDS:
        return max(LEAST_MB, task.memory_mb)
    machine_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return max(task.memory_mb, int(MOST_OF_A_MACHINE * machine_mb))


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
        Takes all that the work prints, and the traceback of an error. Default: the streams of this process,
        and no traceback.
    results : str, optional
        The results folder that the log is in; see `quadrat.job_log.telling`.
    memory_mb : int, optional
        Memory at which the child is ended, in MB as Slurm counts them (2**20 bytes). A limit by the system
        would have a codec fail for want of memory, which none of them reports as what it is.

    Returns
    -------
    Ending or None
        None where the work was done.
    """
    receiver, sender = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # Held back until the child is known: one that came in between would end the job and leave the child.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    # A second start of Python would make small jobs a tenth slower. This process has no threads yet.
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        os.close(receiver)
        _work(work, log, results, sender)
    os.close(sender)
    with _passing_on_signals(child), _watching(child, memory_mb) as too_much:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        _, status = os.waitpid(child, 0)
    told = _read_what_is_there(receiver)
    if too_much and os.WIFSIGNALED(status):
        message = f"took {too_much[0] >> 20:,} MB of memory, its job may use {memory_mb:,} MB (mem_mb)"
        return Ending(MemoryBudgetError.kind, message)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        hint = "; perhaps it ran out of memory" if name == "SIGKILL" else ""
        return Ending("crash", f"the worker was ended by {name}{hint}")
    if os.waitstatus_to_exitcode(status) != 0:
        return Ending(*json.loads(told)) if told else Ending("crash", "the worker ended without a word")
    return None


def _read_what_is_there(receiver: int) -> bytes:
    """Read a pipe, but not to its end: processes that the work left behind may hold it open."""
    os.set_blocking(receiver, False)
    try:
        return os.read(receiver, PIPE_BYTES)
    except BlockingIOError:
        return b""
    finally:
        os.close(receiver)


def _work(work: Callable[[], None], log: str | None, results: str | None, sender: int) -> None:
    """Work, tell how it ended, and leave the process."""
    status = 1
    try:
        if log is not None:
            with writing(log):
                file = open_file(log, results, os.O_WRONLY | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001  the child ends here whatever comes: all of it is told
        message = masked(
            str(error) if isinstance(error, QuadratError) else f"{type(error).__name__}: {error}"
        )
        kind = MemoryBudgetError.kind if isinstance(error, MemoryError) else getattr(error, "kind", "error")
        ending = Ending(kind, message[:MOST_TOLD], getattr(error, "hint", ""))
        os.write(sender, json.dumps(ending).encode())
        # A WriteError says all, and without a log would say it here.
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
    """End the child as soon as it holds more memory, and yield a list that then has the bytes it held."""
    too_much: list[int] = []
    if memory_mb is None:
        yield too_much
        return
    most = memory_mb << 20

    def look(*_: object) -> None:
        with suppress(OSError):  # it has just ended, or this system does not say
            held = 1024 * sum(map(int, HELD.findall(Path(f"/proc/{child}/status").read_text())))
            if held > most:
                os.kill(child, signal.SIGKILL)
                too_much.append(held)

    # A timer, since a thread would not let this process fork again; a child does not inherit it.
    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_LOOKS)
    yield too_much
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
