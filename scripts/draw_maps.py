"""Draw the maps and the pages of some images."""

from quadrat.draw import draw_image
from quadrat.drawings import DrawingsFolder
from quadrat.job_log import telling
from quadrat.store import replace_file


def main(job):
    """Hand the job of rule draw_maps to the library.

    Parameters
    ----------
    job : snakemake.script.Snakemake
    """
    folder, memory_mb = DrawingsFolder(**job.params.drawings), job.resources.get("mem_mb")
    with telling(job.log[0], folder.results) as tell:
        for image, result in zip(job.params.images, job.input.results, strict=True):
            drawing = folder.of_result(result)
            if not drawing.is_there:  # by an earlier attempt
                draw_image(result, image, drawing, folder, job.threads, memory_mb, tell)
        replace_file(job.output[0], b"", folder.results)


main(snakemake)
