"""Draw the map and the page of one image."""

from quadrat.draw import draw_image
from quadrat.job_log import telling


def main(job):
    """Hand the job of rule draw_map to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    output = (job.output.map, job.output.page)
    with telling(job.log[0]) as tell:
        draw_image(
            *(job.input.result, job.input.image, output, job.params.channels),
            threads=job.threads,
            memory_mb=job.resources.get("mem_mb"),
            tell=tell,
        )


main(snakemake)
