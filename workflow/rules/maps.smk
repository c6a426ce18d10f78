"""Draw a map and a page of each image, and the overview of the run; nothing with `maps: false`.

Required: the merged table, which lists the images with predictions.
Makes: results/maps/{filename}.png, results/pages/{filename}.html, results/overview.html, and the
drawings that `snakemake --report` shows.
"""


rule draw_maps:
    input:
        results=ancient(
            lambda wildcards: [
                results.version_path(image.key, image.version)
                for image in images_of_batch(wildcards)
            ]
        ),
    output:
        drawings.batch_path("{first}", "{last}", "{run}"),
    log:
        results.log("draw_maps", "{first}-{last}.{run}"),
    wildcard_constraints:
        first="[0-9]+",
        last="[0-9]+",
        run="[0-9a-f]+",
    retries: settings.retries
    conda:
        "../../envs/quadrat.yaml"
    threads: drawing_threads
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
    params:
        drawings={"results": settings.results, "maps": settings.maps},
        images=lambda wildcards: [image.path for image in images_of_batch(wildcards)],
    script:
        "../../scripts/draw_maps.py"


rule write_overview:
    input:
        ancient(results.merge_mark),
        merged_tables,
        wanted_drawings,
    output:
        report(
            results.overview,
            category="Overview",
            labels={"page": "overview"},
            caption="../report/overview.rst",
        ),
    log:
        results.log("write_overview"),
    conda:
        "../../envs/quadrat.yaml"
    params:
        drawings={"results": settings.results, "maps": settings.maps},
    script:
        "../../scripts/write_overview.py"
