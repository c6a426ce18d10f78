"""List properties and needs of each image, from its header alone."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from quadrat.files.log import job_log
from quadrat.processes.limits import answers
from quadrat.run import inspection
from quadrat.settings import Settings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def ask(questions, threads):
    """Return the answers to questions, shared among as many processes as threads."""
    answered = [None] * len(questions)

    def ask_some(first):
        answered[first::threads] = answers(inspection.__name__, questions[first::threads])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask_some, range(threads)))
    return answered


def main(job):
    """Hand the job of rule inspect to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    settings = Settings(**job.params.settings)
    with job_log(job.log[0], settings.results) as log:
        inspection.inspect_images(settings, partial(ask, threads=job.threads), log)


main(snakemake)
