"""The drawings that a run has to make, and the drawings in a report.

Required: `settings` and `plan()`. Defines `drawings`, and the input and params functions of the rules that draw or remove.
"""

import re
import time

from quadrat.views.drawings import DrawingsFolder

# A report of more images could not be sent to anyone: each takes some 3 MB. It holds the first of them.
REPORTED = 50

# Names the marks of this run, so that Snakemake does not take marks of a killed run for them.
RUN = f"{time.time_ns():x}"

CAPTIONS = workflow.current_basedir.join("../report")

drawings = DrawingsFolder(settings.results, settings.maps)


def wanted_drawings(wildcards):
    """Return the marks of the drawings that a run has yet to make; for a report, the drawings in it."""
    checkpoints.merge_predictions.get()
    if this_run.is_executed:
        return drawings.missing_batches(plan().images, RUN)
    there = [one for one in drawings.current(plan().images) if one.is_there]
    return [
        reported(path, one, view)
        for one in there[:REPORTED]
        for path, view in one.views
    ]


def superseded_paths(wildcards):
    """Return the paths of results, shards and drawings that do not belong to the current plan."""
    return plan().superseded + drawings.superseded(plan().images)


def merged_tables(wildcards):
    """Return the tables of the last merge, as a report shows them."""
    checkpoints.merge_predictions.get()
    return [reported_table(path) for path in (results.images, results.run)]


def reported_table(path):
    """Mark a table for the report."""
    return report(
        path,
        category="Tables",
        labels={"table": Path(path).name},
        caption=CAPTIONS.join(f"{Path(path).stem}.rst"),
    )


def reported(path, drawing, view):
    """Mark a drawing for the report, under its image's folder."""
    # "<" would end the scripts of the report, which contains names as they are; Snakemake fills in braces.
    filename = Path(
        re.sub("[<{}]", lambda match: f"%{ord(match[0]):X}", drawing.filename)
    )
    top = filename.parent == Path()
    return report(
        path,
        category="Images",
        subcategory="top folder" if top else filename.parent.as_posix(),
        labels={"image": filename.name, "view": view},
    )


def images_of_batch(wildcards):
    """Return the images of a batch that are not drawn."""
    return drawings.missing(
        plan().images[int(wildcards.first) : int(wildcards.last) + 1]
    )


def drawing_threads(wildcards):
    """Return the threads of a job that draws: an image of a small run takes several cores."""
    return max(1, this_run.cores // len(plan().images))
