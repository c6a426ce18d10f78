"""Export the results of all images in the format that the rule is named after."""

from typing import TYPE_CHECKING

from quadrat.exports import export_results
from quadrat.files.log import telling

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of an export rule to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    results, labels = job.params.settings["results"], job.params.settings["predictor"].get("labels")
    with telling(job.log[0], results) as tell:
        export_results(job.rule, list(job.params.paths), results, labels, tell)


main(snakemake)
