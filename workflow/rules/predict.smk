"""Predict each image in a job of its own.

Required: an image of the plan.
Gives: results/versions/{key}.{version}.parquet, a row a patch; its footer tells what it was made from.
"""


rule predict_image:
    input:
        image=ancient(image_path),
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
        attempt=lambda wildcards, attempt: attempt,
        gpu=gpus(settings.predictor),
    params:
        task=image_task,
        reading=settings.reading.as_dict(),
        retries=settings.retries,
    script:
        "../../scripts/predict_image.py"
