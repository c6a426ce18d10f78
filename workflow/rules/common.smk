"""The run, which all rules share, and the input and params functions of the rules that predict and merge.

Required: `config` and `terminal`. Defines `this_run`, `settings`, `results` and `plan()`.
"""

import os
from functools import cache

from quadrat.run.snakemake import asked_once, open_run
from quadrat.plan.plan import is_merged
from quadrat.settings import gpus

this_run = open_run(workflow, config, terminal)
settings, results, plan = this_run.settings, this_run.results, this_run.plan


def planned_image(wildcards):
    """Return the planned image of a job."""
    return plan().image(wildcards.key, wildcards.version)


def planned_shards(wildcards):
    """Return the shards of a job's image, or None."""
    return plan().shards.get(results.version_path(wildcards.key, wildcards.version))


def is_join(wildcards):
    """Return whether a job joins shards, and predicts nothing itself."""
    return planned_shards(wildcards) is not None and not wildcards.get("rows")


@asked_once
def shards_to_join(wildcards):
    """Return the paths of the shards that make up the result of a job; empty for a job without shards."""
    return planned_shards(wildcards).paths if is_join(wildcards) else []


@asked_once
def awaited_trial(wildcards):
    """Return the mark of the trial that a job waits for; empty if it need not wait."""
    return this_run.awaited_trial


@asked_once
def image_task(wildcards):
    """Return the fields of the ImageTask of a job."""
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
        "thumbnail": thumbnail(image, shards, rows),
        "image_files": shards.files if shards else {},
        "rows": [int(row) for row in rows.split("-")] if rows else None,
        "shards": shards_to_join(wildcards),
        "results": settings.results,
    }


def thumbnail(image, shards, rows):
    """Return where a job saves the thumbnail for the map of its image, and what it shows; None without a map."""
    if not plan().is_drawn:
        return None

    def path(*rows):
        return drawings.thumbnail(image.key, image.version, *rows)

    return {
        "path": path(rows or ""),
        "channels": drawings.shown,
        "shards": (
            [path(shard.split(".")[-2]) for shard in shards.paths] if shards else []
        ),
    }


@asked_once
def job_minutes(wildcards, attempt):
    """Return the minutes to request of a cluster: ten, and one for each 10 MB of the job's share of its image."""
    size, shards = planned_image(wildcards).size, planned_shards(wildcards)
    return (10 + size // 10_000_000 // (len(shards.paths) if shards else 1)) * attempt


@asked_once
def job_threads(wildcards):
    """Return the threads of a job: few jobs share all cores, many take one each.

    Jobs that share a GPU run one at a time. A join takes one thread.
    """
    if is_join(wildcards) or not this_run.shares_cores:
        return 1  # on a cluster, and in its jobs, which see the cores of their node and not their own
    at_once = 1 if gpus(settings.predictor) else plan().jobs
    return max(1, this_run.cores // max(1, at_once))


@asked_once
def job_gpus(wildcards):
    """Return the GPUs that a job needs; a join predicts nothing."""
    return 0 if is_join(wildcards) else gpus(settings.predictor)


def plan_of_rehearsal(wildcards):
    """Return the files of the plan for a rehearsal, so that their dates show whether it would merge.

    A run removes the mark of another plan, and no date counts. A rehearsal removes nothing.
    """
    plan()
    return [] if this_run.is_run else [results.manifest, results.plan]


@cache
def is_merging():
    """Return whether this run merges, or would in a rehearsal."""
    made = plan()
    return not (os.path.exists(results.merge_mark) and is_merged(made)) or bool(
        made.missing
    )


def merged_mark(wildcards):
    """Return the mark of the merge, whose date counts only if this run merges: clocks and copies change it."""
    return results.merge_mark if is_merging() else ancient(results.merge_mark)


def awaited_results(wildcards):
    """Return the Parquets that a run has yet to compute.

    Snakemake would check all others too, which takes longer than planning: the cost of a rerun is what it computes.
    """
    made = plan()
    if this_run.is_forced or not this_run.is_executed:
        return made.results
    return [path for path in made.results if path in made.missing]
