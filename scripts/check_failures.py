"""Fail when an image failed, after all others are in the dictionary."""

from typing import TYPE_CHECKING

from quadrat.files.atomic import replace_file
from quadrat.run.summary import failure_lines

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule check_failures to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake

    Raises
    ------
    SystemExit
        If images failed; the summary, which comes last, lists them.
    """
    lines = failure_lines(job.params.table)
    replace_file(job.log[0], "".join(f"{line}\n" for line in lines).encode(), job.params.results)
    if lines:
        raise SystemExit(lines[0].rstrip(":"))
    replace_file(job.output[0], b"", job.params.results)


main(snakemake)
