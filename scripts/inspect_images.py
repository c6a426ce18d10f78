"""Tell what each image is and will need, from its header alone."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from quadrat.config import Settings
from quadrat.inspection import inspect_images
from quadrat.job_log import telling

# Images that a process gets at once.
CHUNK = 16


def main(job):
    """Hand the job of rule inspect to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    # Forked before the decoders are imported, which start threads. Processes that are not forked would run
    # this script again; threads would share one interpreter, which is what reading headers keeps busy.
    settings = Settings(**job.params.settings)
    with (
        telling(job.log[0], settings.results) as tell,
        ProcessPoolExecutor(job.threads, get_context("fork")) as pool,
    ):
        inspect_images(settings, partial(pool.map, chunksize=CHUNK), tell)


main(snakemake)
