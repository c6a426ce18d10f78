"""Draw a map and a page of each image, and the overview of the run; nothing with `maps: false`.

Required: the merged table, which tells which images have predictions.
Gives: results/maps/{filename}.png, results/pages/{filename}.html, results/overview.html, and what
`snakemake --report` shows.
"""

from quadrat.drawings import DrawingsFolder

# A report of more images could not be sent to anyone: each takes some 3 MB. It holds the first of them.
REPORTED = 50

drawings = DrawingsFolder(settings.results, settings.maps)


def wanted_drawings(wildcards):
    """Give the drawings that a run has yet to make; for a report, those that it shows."""
    checkpoints.merge_predictions.get()
    current = drawings.current(plan().images)
    if is_executed():
        wanted = [one for one in current if not one.is_there]
    else:
        wanted = [one for one in current if one.is_there][:REPORTED]
    return [path for one in wanted for path in (one.map, one.page)]


@asked_once
def drawing_threads(wildcards):
    """Give the images of a small run several cores each."""
    return max(1, (workflow.resource_settings.cores or 1) // len(plan().images))


def folder_label(wildcards):
    """Give the heading of an image in the report: its folder."""
    folder = Path(wildcards.key).parent.as_posix()
    return "top folder" if folder == "." else folder


def labels(view):
    """Give a function that names one of the drawings of an image in the report."""
    return lambda wildcards: {"image": Path(wildcards.key).name, "view": view}


rule draw_map:
    input:
        image=ancient(image_path),
        result=ancient(results.version_path("{key}", "{version}")),
    output:
        map=report(
            drawings.at("{key}", "{version}").map,
            category="Images",
            subcategory=folder_label,
            labels=labels("map"),
        ),
        page=report(
            drawings.at("{key}", "{version}").page,
            category="Images",
            subcategory=folder_label,
            labels=labels("patch by patch"),
        ),
    log:
        results.log("draw_map", "{key}.{version}"),
    wildcard_constraints:
        key=".+",
        version="[0-9a-f]{12}",
    retries: settings.retries
    conda:
        "../../envs/quadrat.yaml"
    threads: drawing_threads
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
    params:
        channels=settings.maps["channels"] if isinstance(settings.maps, dict) else None,
    script:
        "../../scripts/draw_map.py"


rule write_overview:
    input:
        table=results.images,
        predictions=results.predictions,
        run=results.run,
        drawings=wanted_drawings,
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
        results=settings.results,
        maps=settings.maps,
    script:
        "../../scripts/write_overview.py"
