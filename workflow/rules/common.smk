"""What all rules share: the settings, the names of results, and the plan.

Required: `config`. Gives `settings`, `results`, `plan()`, the input and params functions of the rules,
`tell_summary()` and `tell_failure()`.
"""

import atexit
import errno
import gc
import inspect
import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from snakemake.common import overwrite_function_params
from snakemake.common.configfile import load_configfile
from snakemake.logging import logger

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from quadrat.files.text import show, visible
from quadrat.config import load_settings
from quadrat.errors import QuadratError, WriteError
from quadrat.files.locks import RunLock
from quadrat.settings import gpus
from quadrat.run.snakemake import lend_to_jobs
from quadrat.run.diagnosis import find_obstacles
from quadrat.plan.plan import make_plan, read_plan, remove_other_mark
from quadrat.run.progress import ProgressHandler
from quadrat.results.folder import ResultsFolder
from quadrat.run.snakemake import handle_in_thread
from quadrat.run.summary import is_merged, summarise

lend_to_jobs()

# Snakemake makes millions of objects for thousands of images and drops few: looking for garbage as often as
# Python does by default takes a sixth of planning.
gc.set_threshold(200_000, 50, 100)

STARTED = time.monotonic()
LOCKS = []  # held until the process ends
SCHEMA = Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"


def layered_config():
    """Return the configuration, in which a top-level key of a later file, or of --config, replaces an earlier one.

    Snakemake merges mappings key by key: what `skip` or `predictor` of one file say would be added to the other's.
    """
    if workflow.modifier.skip_configfile:
        return config  # as a module, quadrat gets the configuration that its host made
    asked = workflow.config_settings
    if asked.replace_workflow_config:
        raise SystemExit(
            "quadrat: --replace-workflow-config: Snakemake does not hand it to jobs; move config.yaml away instead"
        )
    own = workflow.configfiles[len(asked.configfiles) :]
    layers = map(load_configfile, [*own, *asked.configfiles])
    return {key: layer[key] for layer in [*layers, asked.config] for key in layer}


@contextmanager
def in_one_line():
    """End the process with the line of an error; the system's names the file."""
    try:
        yield
    except (QuadratError, OSError) as error:
        raise SystemExit(visible(f"quadrat: {error}"))


with in_one_line():
    settings = load_settings(layered_config(), SCHEMA)
    results = ResultsFolder(settings.results)
    if workflow.is_main_process:
        if not os.access(
            ".snakemake" if os.path.exists(".snakemake") else ".", os.W_OK
        ):
            raise WriteError(
                f"{os.getcwd()}/.snakemake", PermissionError(errno.EACCES, "")
            )
        results.check()


def is_run():
    """Tell whether jobs are to be executed, rather than listed, drawn or rehearsed."""
    return workflow.executor_plugin is not None and not workflow.dryrun


def is_executed():
    """Tell whether jobs are executed or rehearsed; else a report, a graph or a list is made of all of them."""
    return workflow.executor_plugin is not None


def asked_once(function):
    """Let Snakemake look up the parameters of a function once, and not for each of its calls."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


@cache
def plan():
    """Make the plan, once, in the main process; other processes read it."""
    with in_one_line():
        if not workflow.is_main_process:
            return read_plan(settings)
        if is_run():
            LOCKS.append(RunLock(results.lock))
            for line in results.sharing():
                show(line)
            results.remove_leftovers()
            results.rename_results()
        made = make_plan(settings, show)
        if is_run():
            remove_other_mark(made)
    if is_run():
        totals = {
            "predict_image": len(made.missing),
            "predict_shard": len(made.missing_shards),
        }
        logger.addHandler(ProgressHandler(totals))
        atexit.register(tell_stop, os.getcwd())
    return made


def planned_image(wildcards):
    """Return the planned image of a job."""
    return plan().image(wildcards.key, wildcards.version)


def planned_shards(wildcards):
    """Return the shards that the image of a job is cut into; None where it is not."""
    return plan().shards.get(results.version_path(wildcards.key, wildcards.version))


def is_join(wildcards):
    """Tell whether a job joins shards, and predicts nothing itself."""
    return planned_shards(wildcards) is not None and not wildcards.get("rows")


@asked_once
def shards_to_join(wildcards):
    """Return the paths of the shards that make up the result of a job; none where it predicts all by itself."""
    return planned_shards(wildcards).paths if is_join(wildcards) else []


@asked_once
def image_task(wildcards):
    """Return what the job of an image, or of a shard of it, needs to know."""
    image, shards = planned_image(wildcards), planned_shards(wildcards)
    rows = wildcards.get("rows")
    return {
        "filename": image.filename,
        "path": image.path,
        "version": image.version,
        "content_id": image.content_id,
        "predictor": settings.predictor,
        "predictor_files": plan().predictor_files,
        "regions": plan().regions_of(image),
        "image_files": shards.files if shards else {},
        "rows": [int(row) for row in rows.split("-")] if rows else None,
        "shards": shards_to_join(wildcards),
        "results": settings.results,
    }


@asked_once
def job_minutes(wildcards, attempt):
    """Return the minutes that a cluster is asked for: ten, and one for each 10 MB of the job's share of its image."""
    size, shards = planned_image(wildcards).size, planned_shards(wildcards)
    return (10 + size // 10_000_000 // (len(shards.paths) if shards else 1)) * attempt


@asked_once
def job_threads(wildcards):
    """Return the threads of a job: few jobs share all cores, many take one each; where they share a GPU, one runs at a time; a join takes one."""
    if is_join(wildcards) or not (workflow.is_main_process and workflow.local_exec):
        return 1  # on a cluster, and in its jobs, which are told the cores of their node and not their own
    cores = workflow.resource_settings.cores or 1
    jobs = len(plan().missing) - len(plan().shards) + len(plan().missing_shards)
    at_once = 1 if gpus(settings.predictor) else jobs
    return max(1, cores // max(1, at_once))


@asked_once
def job_gpus(wildcards):
    """Return the GPUs that a job needs; a join predicts nothing."""
    return 0 if is_join(wildcards) else gpus(settings.predictor)


def plan_of_rehearsal(wildcards):
    """Return the files of the plan, whose dates show what a rehearsal would merge; none for a run.

    A run removes a mark that is not of its plan, and no date counts. A rehearsal removes nothing.
    """
    plan()
    return [] if is_run() else [results.manifest, results.plan]


def is_forced():
    """Tell whether jobs are to be executed although what they make is there."""
    return workflow.dag_settings.forceall or workflow.dag_settings.forcerun


def awaited_results(wildcards):
    """Return the Parquets that a run has yet to compute.

    Snakemake would look at every other one too, and longer than it takes to plan: a rerun costs what it computes.
    """
    made = plan()
    if is_forced() or not is_executed():
        return made.results
    return [path for path in made.results if path in made.missing]


@cache
def tell_summary():
    """Show, once, what became of the images, where the run had to do with their predictions."""
    if plan.cache_info().currsize:
        for line in summarise(plan(), time.monotonic() - STARTED):
            show(line)


def tell_failure():
    """Show what became of the images, and what keeps the run from going on."""
    tell_summary()
    if plan.cache_info().currsize:
        for line in obstacles():
            show(line)


def obstacles():
    """Return what is wrong with the places that the run reads and writes."""
    return find_obstacles(plan(), [results.path, ".snakemake"])


def tell_stop(folder):
    """Show how a run ended that came to no hook, since Snakemake itself could not go on."""
    os.chdir(folder)  # Snakemake has gone back to where it was started
    if not tell_summary.cache_info().currsize and (
        not is_merged(plan()) or obstacles()
    ):
        tell_failure()
