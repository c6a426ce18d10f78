"""Merge the results of all images.

Required: the Parquet of each image that had none. The mark of the last merge is missing whenever the merged files
have other content than planned: planning removes it.
Makes: results/predictions.parquet, .json, images.tsv, summary.tsv, regions.tsv where regions are set, run.yaml and the
links in results/predictions/. They are no outputs: Snakemake removes outputs before a job begins and when it fails,
but the dictionary stays until the next one replaces it.
"""


rule merge_predictions:
    input:
        plan_of_rehearsal,
        results=ancient(awaited_results),
    output:
        results.merge_mark,
    log:
        results.log("merge_predictions"),
    conda:
        "../../envs/quadrat.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings.as_dict(),
        paths=lambda wildcards: plan().results,
        recipe=lambda wildcards: plan().recipe,
        state=lambda wildcards: plan().state,
        sidecars=lambda wildcards: plan().sidecars,
        not_taken=lambda wildcards: plan().not_taken,
        project=PROJECT,
    script:
        "../../scripts/merge_predictions.py"
