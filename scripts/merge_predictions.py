"""Merge the results of all images into the dictionary."""

from quadrat.job_log import telling
from quadrat.manifest import read_manifest
from quadrat.merge import merge_predictions
from quadrat.run_record import write_run_record


def main(job):
    """Hand the job of rule merge_predictions to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    settings, recipe = job.params.settings, job.params.recipe
    with telling(job.log[0]) as tell:
        write_run_record(job.output.run, settings, recipe, job.params.project)
        images = read_manifest(job.input.manifest)
        merge_predictions(list(job.input.results), images, settings, recipe, tell)


main(snakemake)
