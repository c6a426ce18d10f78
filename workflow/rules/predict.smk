"""Predict each image in a job of its own, or a large one in several whose shards are joined.

Required: an image of the plan.
Makes: results/versions/{key}.{version}.parquet, one row per patch, with its inputs in the footer. An image that is
larger than `shard_pixels` also gets results/shards/{key}.{version}.{first row}-{last row}.parquet, until it is in
the dictionary.
"""


rule predict_image:
    input:
        # The image is no input: executors put the paths of inputs into commands that shells read.
        # Asking for the shards of each image would take a twentieth of planning.
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
        [],
    output:
        results.shard_path("{key}", "{version}", "{rows}"),
    log:
        results.log("predict_shard", "{key}.{version}.{rows}"),
    wildcard_constraints:
        key=".+",
        version="[0-9a-f]{12}",
        rows="[0-9]+-[0-9]+",
