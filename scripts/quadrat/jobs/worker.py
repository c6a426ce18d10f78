"""The worker: a job in a child process, whose end is recorded in any case."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from quadrat.errors import ConfigError, MemoryBudgetError, WriteError
from quadrat.files.atomic import replace_file
from quadrat.files.log import keep_failure
from quadrat.jobs.task import ImageTask
from quadrat.processes.child import run_in_child
from quadrat.results.folder import ResultsFolder
from quadrat.settings import OWN_KINDS, Settings, gpus

# A job that takes more is ended here, before the kernel ends a process, which may be another one.
MOST_OF_A_MACHINE = 0.75

# Memory for a small image, however little its job was given; `quadrat.jobs.predict` hands the reader as much.
LEAST_MB = 600


def run_recorded(task: ImageTask, log: str, is_last_attempt: bool) -> None:
    """Do a task in a child process; when the last attempt fails, record the reason in place of a result.

    Parameters
    ----------
    task : ImageTask
    log : str
        Takes everything that the work prints, and the traceback of an error.
    is_last_attempt : bool
        Whether the job will not be tried again.

    Raises
    ------
    SystemExit
        If the work failed and the job will be tried again, or the failure is not the image's.
    """

    def work() -> None:
        # Imported by the child, so that the parent stays small and safe to fork.
        if task.shards:
            from quadrat.jobs.join import join_shards

            join_shards(task)
        else:
            from quadrat.jobs.predict import predict_image

            predict_image(task)

    memory_mb = _most_memory_mb(task.predictor, task.memory_mb)
    ending = run_in_child(work, log, task.results, memory_mb)
    if ending is None:
        return
    keep_failure(log, ending.message, task.results)
    # A disk that is not mounted any more is no failure of the image.
    if not is_last_attempt or ending.kind == WriteError.kind or not os.path.exists(task.path):
        raise SystemExit(1)
    hint = ending.hint or f"see {log}"
    if ending.kind == MemoryBudgetError.kind and memory_mb and not ending.hint:
        hint = f"give the job more memory: --set-resources {task.rule}:mem_mb={2 * memory_mb}"
    from quadrat.results.writer import write_failure  # few jobs need it

    failure = {"kind": ending.kind, "message": ending.message, "hint": hint}
    try:
        write_failure(task.writer(), task.identity() | {"content_hash": None}, failure)
    except WriteError as error:
        keep_failure(log, str(error), task.results)
        raise SystemExit(1) from error


def run_trial(
    tasks: Callable[[], Iterable[ImageTask]],
    settings: Settings,
    mark: str,
    log: str,
    memory_mb: int | None,
    is_last_attempt: bool,
) -> None:
    """Try what all images share in a child process, and write the mark that their jobs wait for.

    A trial that comes to no end, such as one that is killed with each attempt, keeps no image from being
    predicted.

    Parameters
    ----------
    tasks : callable
        Returns the tasks of the images; called in the child.
    settings : Settings
    mark, log : str
    memory_mb : int or None
        Memory of the job in MB.
    is_last_attempt : bool
        Whether the job will not be tried again.

    Raises
    ------
    SystemExit
        If the configuration is wrong for all images, of which a file is left as a sign; or if the trial
        failed otherwise and will be tried again.
    """
    folder = ResultsFolder(settings.results)

    def work() -> None:
        from quadrat.jobs.trial import try_predictor

        replace_file(mark, os.fsencode(try_predictor(tasks())), folder.path)

    ending = run_in_child(work, log, folder.path, _most_memory_mb(settings.predictor, memory_mb))
    if ending is None:
        return
    try:
        if ending.kind == ConfigError.kind:
            keep_failure(log, f"{ending.message}; no image was predicted", folder.path)
            replace_file(folder.refusal, b"", folder.path)
            raise SystemExit(1)
        keep_failure(log, ending.message, folder.path)
        if not is_last_attempt or ending.kind == WriteError.kind:
            raise SystemExit(1)
        replace_file(mark, b"", folder.path)
    except WriteError as error:
        keep_failure(log, str(error), folder.path)
        raise SystemExit(1) from error


def _most_memory_mb(predictor: dict[str, Any], memory_mb: int | None) -> int | None:
    """Return the memory at which a job that predicts is ended, in MB; None for no bound.

    The memory for an image is known beforehand, and bounded by the memory of its job. The memory for the
    user's own model is unknown. It may use most of a machine, unless a cluster ends it sooner.
    """
    if memory_mb is None or gpus(predictor):  # the memory that the driver of a GPU takes is unknown
        return None
    if predictor["kind"] in OWN_KINDS:
        return max(LEAST_MB, memory_mb)
    machine_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return max(memory_mb, int(MOST_OF_A_MACHINE * machine_mb))
