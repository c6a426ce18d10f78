"""Export the results of all images in the format that the rule is named after."""

from quadrat.exports import export_results
from quadrat.job_log import telling


def main(job):
    """Hand the job of an export rule to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    with telling(job.log[0]) as tell:
        export_results(job.rule, list(job.params.paths), job.params.results, job.params.labels, tell)


main(snakemake)
