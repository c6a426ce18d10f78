"""Merge the results of all images into the dictionary."""

from functools import partial
from typing import TYPE_CHECKING

from quadrat.errors import ResultsError
from quadrat.exports.summary import cell_areas, patches_of_regions
from quadrat.files.atomic import replace_file
from quadrat.files.locks import merging_alone
from quadrat.files.log import job_log
from quadrat.plan.region_files import RegionFiles
from quadrat.results.folder import ResultsFolder
from quadrat.results.merge import merge_predictions
from quadrat.results.tables import read_manifest
from quadrat.run.record import write_run_record

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def locator(settings, images):
    """Return the function that finds the regions of an image; None if the configuration has none."""
    if settings["regions"] is None:
        return None
    files, hashes = RegionFiles(settings["regions"]), {image.filename: image.regions for image in images}
    edge = settings["edge"]
    return partial(patches_of_regions, task_of=lambda name: files.task(name, hashes[name]), edge=edge)


def main(job):
    """Hand the job of rule merge_predictions to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    settings, recipe = job.params.settings, job.params.recipe
    folder = ResultsFolder(settings["results"])
    with job_log(job.log[0], folder.path) as log:
        with merging_alone(folder.merging, log):
            write_run_record(folder.run, settings, recipe, job.params.project, folder.path)
            images = read_manifest(folder.manifest)
            unread = job.params.sidecars, list(job.params.not_taken)
            places = partial(cell_areas, default_mpp=settings["default_mpp"]), locator(settings, images)
            state = merge_predictions(list(job.params.paths), images, settings, recipe, log, *unread, *places)
        if state != job.params.state:
            raise ResultsError(f"{folder.predictions} is not the dictionary that this run planned; run again")
        replace_file(job.output[0], state.encode(), folder.path)


main(snakemake)
