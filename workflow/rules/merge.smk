"""Merge the results of all images, then fail if any image failed.

Required: the Parquet of each image, and the plan, which is newer than the merged files whenever they do
not hold what they should.
Gives: results/predictions.parquet, .json, images.tsv, run.yaml and the links in results/predictions/.
"""


# A checkpoint, since only the merge knows which images have predictions to draw.
checkpoint merge_predictions:
    input:
        unpack(planned),
        results=ancient(versioned_results),
    output:
        predictions=results.predictions,
        json=results.json,
        images=results.images,
        run=results.run,
        merged=results.merged,
    log:
        results.log("merge_predictions"),
    conda:
        "../../envs/quadrat.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings.as_dict(),
        recipe=lambda wildcards: plan().recipe,
        project=workflow.basedir,
    script:
        "../../scripts/merge_predictions.py"


rule check_failures:
    input:
        results.images,
    output:
        results.checked,
    log:
        results.log("check_failures"),
    retries: 0
    localrule: True
    conda:
        "../../envs/quadrat.yaml"
    script:
        "../../scripts/check_failures.py"
