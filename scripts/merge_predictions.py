"""Merge the results of all images into the dictionary."""

from typing import TYPE_CHECKING

from quadrat.errors import ResultsError
from quadrat.job_log import telling
from quadrat.locks import merging_alone
from quadrat.manifest import read_manifest
from quadrat.merge import merge_predictions
from quadrat.results import ResultsFolder
from quadrat.run_record import write_run_record
from quadrat.store import replace_file

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule merge_predictions to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    settings, recipe = job.params.settings, job.params.recipe
    folder = ResultsFolder(settings["results"])
    with telling(job.log[0], folder.path) as tell:
        with merging_alone(folder.merging, tell):
            write_run_record(folder.run, settings, recipe, job.params.project, folder.path)
            images = read_manifest(folder.manifest)
            state = merge_predictions(list(job.params.paths), images, settings, recipe, tell)
        if state != job.params.state:
            raise ResultsError(f"{folder.predictions}: is not what this run planned; run again")
        replace_file(job.output[0], state.encode(), folder.path)


main(snakemake)
