"""The worker: a job's work in a process of its own, whose end is recorded however it comes."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple

from quadrat.cells import show, visible, visible_lines
from quadrat.errors import QuadratError, WriteError
from quadrat.inside import open_file
from quadrat.store import write_failure, writing
from quadrat.task import ImageTask
from quadrat.urls import masked

# What a pipe holds on Linux, pipe(7), and characters that fit in it however they are escaped: the child must
# not wait for its parent to read.
PIPE_BYTES = 1 << 16
MOST_TOLD = 2000

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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

    ending = run_in_child(work, log, task.results)
    if ending is None:
        return
    line = visible(f"{task.filename}: {ending.message} (log: {log})")
    if not is_last_attempt or ending.kind == WriteError.kind:
        raise SystemExit(line)
    show(line)
    if not os.path.exists(task.path):  # a disk that is not mounted any more is no failure of the image
        raise SystemExit(line)
    failure = {"kind": ending.kind, "message": ending.message, "hint": ending.hint or f"see {log}"}
    try:
        write_failure(task.writer(), task.identity() | {"content_hash": None}, failure)
    except WriteError as error:
        raise SystemExit(f"{task.filename}: {error}") from error


def run_in_child(work: Callable[[], None], log: str, results: str | None = None) -> Ending | None:
    """Do the work in a child process that writes to a log.

    A codec that crashes, or the kernel when memory runs out, ends the child and not the job.

    Parameters
    ----------
    work : callable
        Takes and returns nothing.
    log : path
        Takes all that the work prints, and the traceback of an error.
    results : str, optional
        The results folder that the log is in; see `quadrat.job_log.telling`.

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
    _pass_on_signals(child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    _, status = os.waitpid(child, 0)
    told = _read_what_is_there(receiver)
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


def _work(work: Callable[[], None], log: str, results: str | None, sender: int) -> None:
    """Work, tell how it ended, and leave the process."""
    status = 1
    try:
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
        ending = Ending(getattr(error, "kind", "error"), message[:MOST_TOLD], getattr(error, "hint", ""))
        os.write(sender, json.dumps(ending).encode())
        if not isinstance(error, WriteError):  # which says all, and without a log would say it here
            sys.stderr.write(visible_lines(masked(traceback.format_exc())))
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _pass_on_signals(child: int) -> None:
    def pass_on(number: int, _frame: object) -> None:
        os.kill(child, number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in PASSED_ON:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(number, pass_on)
