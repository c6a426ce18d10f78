"""Export the results of all images, one file per image, in the format that the rule is named after.

Required: the merged results, and to be asked for by name.
Makes: results/<rule>/<filename>.<ending>. The job itself finds the files that it has to write again.
"""


rule geotiff:
    input:
        results.merge_mark,
    log:
        results.log("geotiff"),
    conda:
        "../../envs/quadrat.yaml"
    resources:
        mem_mb=2000,
    params:
        settings=settings.as_dict(),
        paths=lambda wildcards: plan().results,
    script:
        "../../scripts/export_results.py"


use rule geotiff as geoparquet with:
    log:
        results.log("geoparquet"),


use rule geotiff as geopackage with:
    log:
        results.log("geopackage"),


use rule geotiff as qupath with:
    log:
        results.log("qupath"),


use rule geotiff as wsinfer with:
    log:
        results.log("wsinfer"),
