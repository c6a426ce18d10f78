"""Export the tissue of each slide as an annotation for QuPath."""

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from quadrat.exports import tissue
from quadrat.files.hashing import stat_token
from quadrat.files.log import job_log
from quadrat.plan.inventory import find_images
from quadrat.processes.limits import answers
from quadrat.settings import Settings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule tissue to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    settings = Settings(**job.params.settings)
    slides = [
        tissue.Slide(image.filename, image.path, list(stat_token(*image.files.values())[:2]))
        for image in find_images(settings, Counter())
        if not image.problem
    ]
    with job_log(job.log[0], settings.results) as log:
        tissue.export_tissue(
            slides, settings.reading, settings.results, partial(answers, tissue.__name__), log
        )


main(snakemake)
