"""Try on one image what all images share."""

import os
from typing import TYPE_CHECKING

from quadrat.jobs.task import ImageTask
from quadrat.jobs.worker import run_trial
from quadrat.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule try_predictor to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    settings, memory_mb = Settings(**job.params.settings), job.resources.get("mem_mb")

    def tasks() -> "Iterator[ImageTask]":
        # Read in the child of the job, like all that takes memory and threads.
        from quadrat.plan.plan import read_plan

        plan = read_plan(settings)
        planned = [image for image in plan.images if image.version]
        for image, result in zip(planned, plan.results, strict=True):
            if not os.path.exists(result):
                yield ImageTask(
                    filename=image.filename,
                    path=image.path,
                    version=image.version,
                    content_id=image.content_id,
                    reading=settings.reading,
                    predictor=settings.predictor,
                    output="",
                    regions=plan.regions_of(image),
                    threads=job.threads,
                    memory_mb=memory_mb,
                )

    # As in predict_image.py.
    is_last_attempt = job.resources.get("attempt", job.params.retries + 1) > job.params.retries
    run_trial(tasks, settings, job.output[0], job.log[0], memory_mb, is_last_attempt)


main(snakemake)
