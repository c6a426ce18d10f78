"""Draw maps and pages of some images; the last job also links all that exist, and writes the overview."""

from typing import TYPE_CHECKING

from quadrat.files.atomic import replace_file
from quadrat.files.log import job_log
from quadrat.results.folder import ResultsFolder
from quadrat.results.tables import read_manifest
from quadrat.views.draw import draw_images
from quadrat.views.drawings import DrawingsFolder

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule draw_maps, write_overview or maps to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    folder, part = DrawingsFolder(**job.params.drawings), job.params.part
    images = read_manifest(ResultsFolder(folder.results).manifest)
    if part:
        first, last = map(int, part.split("-"))
        images = images[first : last + 1]
    with job_log(job.log[0], folder.results) as log:
        memory_mb = job.resources.get("mem_mb")
        draw_images(images, folder, job.params.is_all, job.threads, memory_mb, log, with_overview=not part)
        if part:
            replace_file(job.output[0], b"", folder.results)


main(snakemake)
