"""Tell what each image is and will need, from its header alone."""

from quadrat.config import Settings
from quadrat.inspection import inspect_images
from quadrat.job_log import telling


def main(job):
    """Hand the job of rule inspect to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    with telling(job.log[0]) as tell:
        inspect_images(Settings(**job.params.settings), job.threads, tell)


main(snakemake)
