"""Draw the maps and the pages of some images."""

from typing import TYPE_CHECKING

from quadrat.files.atomic import replace_file
from quadrat.files.log import job_log
from quadrat.views.draw import draw_images
from quadrat.views.drawings import DrawingsFolder

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job):
    """Hand the job of rule draw_maps to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    folder, memory_mb = DrawingsFolder(**job.params.drawings), job.resources.get("mem_mb")
    with job_log(job.log[0], folder.results) as log:
        images = dict(zip(job.input.results, job.params.images, strict=True))
        draw_images(images, folder, job.threads, memory_mb, log)
        replace_file(job.output[0], b"", folder.results)


main(snakemake)
