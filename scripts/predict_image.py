"""Predict every patch of one image."""

from typing import TYPE_CHECKING

from quadrat.jobs.task import ImageTask
from quadrat.jobs.worker import run_recorded
from quadrat.settings import ReadSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule predict_image to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    task = ImageTask(
        **job.params.task,
        reading=ReadSettings(**job.params.reading),
        output=job.output[0],
        threads=job.threads,
        memory_mb=job.resources.get("mem_mb"),
    )
    # A workflow that quadrat is a module of may have replaced the resources: then each attempt is the last.
    attempt = job.resources.get("attempt", job.params.retries + 1)
    run_recorded(task, log=job.log[0], is_last_attempt=attempt > job.params.retries)


main(snakemake)
