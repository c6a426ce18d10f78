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
    run_recorded(task, log=job.log[0], is_last_attempt=job.resources.attempt > job.params.retries)


main(snakemake)
