"""Tell what each image is and will need, before any of them is predicted.

Required: to be asked for by name. It has no output that Snakemake knows, so that it always looks again.
Gives: results/inspect.tsv, and a table on the terminal.
"""


rule inspect:
    log:
        results.log("inspect"),
    localrule: True
    conda:
        "../../envs/quadrat.yaml"
    threads: this_run.cores
    params:
        settings=settings.as_dict(),
    script:
        "../../scripts/inspect_images.py"
