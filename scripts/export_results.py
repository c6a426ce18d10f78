"""Export the results of all images in the format that the rule is named after."""

from typing import TYPE_CHECKING

from quadrat.exports import export_results
from quadrat.files.log import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of an export rule to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    results, labels = job.params.settings["results"], job.params.settings["predictor"].get("labels")
    with job_log(job.log[0], results) as log:
        export_results(job.rule, list(job.params.paths), results, labels, log)


main(snakemake)
