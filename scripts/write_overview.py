"""Write the overview of a run, and link maps and pages under their images' names."""

from typing import TYPE_CHECKING

from quadrat.files.log import job_log
from quadrat.results.folder import ResultsFolder
from quadrat.results.links import link_results
from quadrat.results.tables import read_manifest
from quadrat.views.drawings import DrawingsFolder
from quadrat.views.overview import write_overview

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule write_overview to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    folder = ResultsFolder(job.params.drawings["results"])
    with job_log(job.log[0], folder.path):
        drawings = DrawingsFolder(**job.params.drawings).current(read_manifest(folder.manifest))
        link_results(
            {drawing.filename: drawing.map for drawing in drawings}, folder.maps, folder.path, ".png"
        )
        link_results(
            {drawing.filename: drawing.page for drawing in drawings}, folder.pages, folder.path, ".html"
        )
        write_overview(folder)


main(snakemake)
