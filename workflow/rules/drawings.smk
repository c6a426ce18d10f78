"""The drawings that a run has to make, and the drawings in a report.

Required: `this_run`, `settings`, `results`, `plan()` and `is_merging()`. Defines `DRAWINGS`, `drawings`, and the input
and params functions of the rules that draw or remove.
"""

import re
import time

from quadrat.views.drawings import DrawingsFolder, parts

# A report of more images could not be sent to anyone: each takes 1 to 2 MB. It holds the first of them.
REPORTED = 50

# Names the marks of this run, so that Snakemake does not take marks of a killed run for them.
RUN = f"{time.time_ns():x}"

CAPTIONS = workflow.current_basedir.join("../report")

DRAWINGS = {
    "results": settings.results,
    "maps": settings.maps,
    "channels": settings.reading.channels,
    "nodata": settings.reading.nodata_by_channel,
}
drawings = DrawingsFolder(**DRAWINGS)
this_run.at_end.append(drawings.forget_parts)


def parts_to_draw(is_all):
    """Return the marks of the jobs that draw what is to be drawn; none if the last job can draw it all."""
    made = plan()
    predicted = set()
    if made.missing and (is_all or made.is_drawn):
        predicted = {
            image.filename
            for image in made.images
            if results.version_path(image.key, image.version) in made.missing
        }
    undrawn = drawings.undrawn(made.images, is_all, predicted)
    cut = parts(made.images, undrawn, this_run.cores)
    is_last_certain = is_all or is_merging() or not os.path.exists(results.overview)
    if len(cut) == 1 and is_last_certain:
        return []
    scope = "all" if is_all else "new"
    return [drawings.part_path(f"{part}.{scope}", RUN) for part in cut]


def drawn_parts(wildcards):
    """Return the marks of the jobs that draw what this run is to draw."""
    return parts_to_draw(drawings.draws_all) if this_run.is_executed else []


def all_drawn_parts(wildcards):
    """Return the marks of the jobs that draw all images that are not drawn."""
    return parts_to_draw(True)


def reported_drawings(wildcards):
    """Return the drawings that a report shows."""
    if this_run.is_executed:
        return []
    return [
        reported(path, one, view)
        for one in drawings.current(plan().images)[:REPORTED]
        for path, view in one.views
    ]


def reported_tables(wildcards):
    """Return the tables of the last merge, as a report shows them; an earlier version wrote fewer."""
    if this_run.is_executed:
        return []
    tables = [results.images, results.summary, results.regions, results.run]
    return [reported_table(path) for path in tables if os.path.exists(path)]


def superseded_paths(wildcards):
    """Return the paths of results, shards and drawings that do not belong to the current plan."""
    return plan().superseded + drawings.superseded(plan().images)


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


def drawing_threads(wildcards):
    """Return the threads of a job that draws: an image of a small run takes several cores."""
    return max(1, this_run.cores // len(plan().images))
