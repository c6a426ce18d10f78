"""Predict each image in a job of its own, or a large one in several whose shards are joined.

Before the first of several images, a trial finds out whether the predictor and the regions, which all images
share, are usable.

Required: an image of the plan.
Makes: results/versions/{key}.{version}.parquet, one row per patch, with its inputs in the footer. An image that is
larger than `shard_pixels` also gets results/shards/{key}.{version}.{first row}-{last row}.parquet, until it is in
the dictionary.
"""


rule predict_image:
    input:
        # Asking for inputs of each image takes a twentieth of planning.
        trial=ancient(awaited_trial) if settings.needs_trial else [],
        # The image is no input: executors put the paths of inputs into commands that shells read.
        shards=ancient(shards_to_join) if settings.shard_pixels else [],
    output:
        results.version_path("{key}", "{version}"),
    log:
        results.log("predict_image", "{key}.{version}"),
    wildcard_constraints:
        key=".+",
        version="[0-9a-f]{12}",
    retries: settings.retries
    conda:
        "../../envs/quadrat.yaml"
    threads: job_threads
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=job_minutes,
        attempt=lambda wildcards, attempt: attempt,
        gpu=job_gpus,
    params:
        task=image_task,
        reading=settings.reading.as_dict(),
        retries=settings.retries,
    script:
        "../../scripts/predict_image.py"


use rule predict_image as predict_shard with:
    input:
        trial=ancient(awaited_trial) if settings.needs_trial else [],
    output:
        results.shard_path("{key}", "{version}", "{rows}"),
    log:
        results.log("predict_shard", "{key}.{version}.{rows}"),
    wildcard_constraints:
        key=".+",
        version="[0-9a-f]{12}",
        rows="[0-9]+-[0-9]+",


rule try_predictor:
    output:
        results.trial_mark("{recipe}"),
    log:
        results.log("try_predictor", "{recipe}"),
    wildcard_constraints:
        recipe="[0-9a-f]{12}",
    retries: settings.retries
    conda:
        "../../envs/quadrat.yaml"
    threads: this_run.cores if this_run.shares_cores else 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
        attempt=lambda wildcards, attempt: attempt,
        gpu=gpus(settings.predictor),
    params:
        settings=settings.as_dict(),
        retries=settings.retries,
    script:
        "../../scripts/try_predictor.py"
