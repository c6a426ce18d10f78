"""List, or remove, results that do not belong to the current images and configuration."""

from pathlib import Path

from quadrat.job_log import telling


def main(job):
    """List the paths that rule superseded or prune was given; prune removes them.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    with telling(job.log[0]) as tell:
        for path in job.params.paths:
            if job.params.unlink:
                Path(path).unlink()
            tell(path)
        tell(f"{len(job.params.paths):,} superseded results{' removed' if job.params.unlink else ''}")


main(snakemake)
