"""Draw a map and a page of images, and the overview of the run; nothing with `maps: false`.

Required: the merged table, which lists the images with predictions.
Makes: results/maps/{filename}.png, results/pages/{filename}.html, results/overview.html, and the
drawings that `snakemake --report` shows. Few images are drawn by the job that writes the overview.
"""


rule write_overview:
    input:
        merged_mark,
        drawn_parts,
        reported_tables,
        reported_drawings,
    output:
        report(
            results.overview,
            category="Overview",
            labels={"page": "overview"},
            caption="../report/overview.rst",
        ),
    log:
        results.log("write_overview"),
    retries: settings.retries
    conda:
        "../../envs/quadrat.yaml"
    threads: drawing_threads
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
    params:
        drawings=DRAWINGS,
        is_all=drawings.draws_all,
        part="",
    script:
        "../../scripts/draw_maps.py"


# Without an output, so that it draws whenever it is asked for.
use rule write_overview as maps with:
    input:
        merged_mark,
        all_drawn_parts,
    output:
        [],
    log:
        results.log("maps"),
    params:
        drawings=DRAWINGS,
        is_all=True,
        part="",


use rule write_overview as draw_maps with:
    input:
        merged_mark,
    output:
        drawings.part_path("{part}.{scope}", "{run}"),
    log:
        results.log("draw_maps", "{part}.{scope}.{run}"),
    wildcard_constraints:
        part="[0-9]+-[0-9]+",
        scope="all|new",
        run="[0-9a-f]+",
    params:
        drawings=DRAWINGS,
        is_all=lambda wildcards: wildcards.scope == "all",
        part=lambda wildcards: wildcards.part,
