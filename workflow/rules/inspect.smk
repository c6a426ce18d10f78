"""List properties and needs of each image, before any of them is predicted.

Required: to be asked for by name. It has no output for Snakemake, so that it always runs.
Makes: results/inspect.tsv, and a table on the terminal.
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
