"""List, or remove, results that do not belong to the current images and configuration."""

from typing import TYPE_CHECKING

from quadrat.files.atomic import writing
from quadrat.files.inside import remove
from quadrat.files.log import job_log
from quadrat.files.text import counted

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """List the paths that rule superseded or prune was given; prune removes them.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    with job_log(job.log[0], job.params.results) as log:
        for path in job.params.paths:
            if job.params.unlink:
                with writing(path):
                    remove(path, job.params.results)
            log(path)
        removed = " removed" if job.params.unlink else ""
        log(f"{counted(len(job.params.paths), 'superseded result')}{removed}")


main(snakemake)
