"""What all rules share: the settings, the names of results, and the plan.

Required: `config`. Gives `settings`, `results`, `plan()`, the input and params functions of the rules, and
`tell_summary()`.
"""

import gc
import inspect
import sys
import time
from functools import cache
from pathlib import Path

from snakemake.common import overwrite_function_params
from snakemake.logging import logger

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from quadrat.config import load_settings
from quadrat.errors import QuadratError
from quadrat.model_settings import gpus
from quadrat.search_path import lend_to_jobs
from quadrat.plan import make_plan, read_plan
from quadrat.progress import ProgressHandler
from quadrat.results import ResultsFolder, RunLock
from quadrat.summary import summarise

lend_to_jobs()

# Snakemake makes millions of objects for thousands of images and drops few: looking for garbage as often as
# Python does by default takes a sixth of planning.
gc.set_threshold(200_000, 50, 100)

STARTED = time.monotonic()
LOCKS = []  # held until the process ends
SCHEMA = Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"


def announce(line):
    """Show a line to the person who waits."""
    print(line, file=sys.stderr, flush=True)


try:
    settings = load_settings(config, SCHEMA)
except QuadratError as error:
    raise SystemExit(f"quadrat: {error}")

results = ResultsFolder(settings.results)


def is_run():
    """Tell whether jobs are to be executed, rather than listed, drawn or rehearsed."""
    return workflow.executor_plugin is not None and not workflow.dryrun


def asked_once(function):
    """Let Snakemake look up the parameters of a function once, and not for each of its calls."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


@cache
def plan():
    """Make the plan, once, in the main process; other processes read it."""
    if not workflow.is_main_process:
        return read_plan(settings)
    try:
        if is_run():
            LOCKS.append(RunLock(results.lock))
        made = make_plan(settings, announce)
    except QuadratError as error:
        raise SystemExit(f"quadrat: {error}")
    if is_run():
        logger.addHandler(ProgressHandler("predict_image", len(made.missing)))
    return made


def planned_image(wildcards):
    """Give the planned image of a job."""
    return plan().image(wildcards.key, wildcards.version)


@asked_once
def image_path(wildcards):
    """Give the path of a job's image."""
    return planned_image(wildcards).path


@asked_once
def image_task(wildcards):
    """Give what the job of an image needs to know."""
    image = planned_image(wildcards)
    return {
        "filename": image.filename,
        "path": image.path,
        "version": image.version,
        "content_id": image.content_id,
        "predictor": settings.predictor,
        "predictor_files": plan().predictor_files,
        "regions": plan().regions_of(image),
    }


@asked_once
def job_threads(wildcards):
    """Give a few images all cores, and many images one each; where they share a GPU, one runs at a time."""
    # A run on a cluster has no number of cores.
    cores = workflow.resource_settings.cores or 1
    at_once = 1 if gpus(settings.predictor) else len(plan().missing)
    return max(1, cores // max(1, at_once))


def planned(wildcards):
    """Give the files of the plan, once it is made."""
    plan()
    return {"manifest": results.manifest, "plan": results.plan}


def versioned_results(wildcards):
    """Give the Parquet of each image in the version that the plan wants."""
    return plan().results


def tell_summary():
    """Show what became of the images, where the run had to do with their predictions."""
    if not plan.cache_info().currsize:
        return
    for line in summarise(plan(), time.monotonic() - STARTED):
        announce(line)
