"""Export the tissue of each slide, as `skip: background: tissue_below` finds it, before any prediction.

Required: to be asked for by name.
Makes: results/tissue/<filename>.geojson. The job itself finds the files that it has to write again.
"""


rule tissue:
    log:
        results.log("tissue"),
    conda:
        "../../envs/quadrat.yaml"
    resources:
        mem_mb=2000,
    params:
        settings=settings.as_dict(),
    script:
        "../../scripts/export_tissue.py"
