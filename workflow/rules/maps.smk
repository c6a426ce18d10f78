"""Draw a map and a page of each image, and the overview of the run; nothing with `maps: false`.

Required: the merged table, which tells which images have predictions.
Gives: results/maps/{filename}.png, results/pages/{filename}.html, results/overview.html, and what
`snakemake --report` shows.
"""

from quadrat.drawings import DrawingsFolder

# A report of more images could not be sent to anyone: each takes some 3 MB. It holds the first of them.
REPORTED = 50

# Names the marks of this run: only by name does Snakemake tell them from those of a run that was killed.
RUN = f"{time.time_ns():x}"

drawings = DrawingsFolder(settings.results, settings.maps)


def wanted_drawings(wildcards):
    """Give the marks of the drawings that a run has yet to make; for a report, those that it shows."""
    checkpoints.merge_predictions.get()
    if is_executed():
        return drawings.missing_batches(plan().images, RUN)
    there = [one for one in drawings.current(plan().images) if one.is_there]
    return [
        reported(path, one, view)
        for one in there[:REPORTED]
        for path, view in one.views
    ]


def reported(path, drawing, view):
    """Mark a drawing for the report, under its image's folder."""
    key = Path(drawing.key)
    folder = "top folder" if key.parent == Path() else key.parent.as_posix()
    return report(
        path,
        category="Images",
        subcategory=folder,
        labels={"image": key.name, "view": view},
    )


def images_of_batch(wildcards):
    """Give the images of a batch that are not drawn."""
    return drawings.missing(
        plan().images[int(wildcards.first) : int(wildcards.last) + 1]
    )


def drawing_threads(wildcards):
    """Give the images of a small run several cores each."""
    return max(1, (workflow.resource_settings.cores or 1) // len(plan().images))


rule draw_maps:
    input:
        images=ancient(
            lambda wildcards: [image.path for image in images_of_batch(wildcards)]
        ),
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
        results=settings.results,
        maps=settings.maps,
    script:
        "../../scripts/draw_maps.py"


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
