"""The drawing of images: the map and the page of each, from its result and one look at its pixels."""

import traceback
from collections import Counter
from typing import TYPE_CHECKING

from quadrat.errors import ImageError, ResultsError, WriteError
from quadrat.files.log import JobLog
from quadrat.processes.child import run_in_child
from quadrat.views.drawings import Drawing, DrawingsFolder

if TYPE_CHECKING:
    from quadrat.views.patch_map import PatchMap
    from quadrat.views.thumbnail import Thumbnail

# Memory of a job for Python, matplotlib, bokeh and the figure.
REST_MB = 250


def draw_images(
    images: dict[str, str], folder: DrawingsFolder, threads: int, memory_mb: int | None, log: JobLog
) -> None:
    """Draw those images that are not drawn in a child process; on grey where their pixels end it twice.

    A first ending may come from elsewhere, such as a signal of the kernel when memory runs out.

    Parameters
    ----------
    images : dict of str to str
        Image file by the versioned Parquet of its predictions.
    folder, threads, memory_mb, log
        See `draw_image`.

    Raises
    ------
    ResultsError
        If one cannot be drawn on grey either.
    """
    endings: Counter[str] = Counter()
    problems: dict[str, str] = {}

    def missing() -> list[str]:
        return [result for result in images if not folder.of_result(result).is_there]

    def work() -> None:
        try:
            for result in missing():
                image, problem = images[result], problems.get(result, "")
                draw_image(result, image, folder.of_result(result), folder, threads, memory_mb, log, problem)
        except Exception:
            log.keep(traceback.format_exc())
            raise

    while missing() and (ending := run_in_child(work, memory_mb=memory_mb)):
        for at_work in missing()[:1]:  # none if it ended after the last
            if at_work in problems or ending.kind == WriteError.kind:
                raise ResultsError(f"{images[at_work]}: cannot be drawn: {ending.message}")
            endings[at_work] += 1
            if endings[at_work] == 2:
                problems[at_work] = ending.message


def draw_image(
    result: str,
    image: str,
    drawing: Drawing,
    folder: DrawingsFolder,
    threads: int,
    memory_mb: int | None,
    log: JobLog,
    problem: str = "",
) -> None:
    """Draw the map and the page of an image; on grey where its pixels cannot be read.

    Parameters
    ----------
    result : str
        The versioned Parquet of an image that has predictions.
    image : str
        The image file.
    drawing : Drawing
        The map and the page to write.
    folder : DrawingsFolder
        Where they are, and which channels the picture shows.
    threads : int
        Threads that decode.
    memory_mb : int or None
        Memory of the job in MB; None if it has no bound.
    log : JobLog
        Takes the lines that a person should read.
    problem : str, optional
        Why its pixels are not to be read.

    Raises
    ------
    ResultsError
        If the result is not whole.
    """
    # Imported by the child: the parent has no threads, and is safe to fork.
    from quadrat.views.map import draw_map
    from quadrat.views.page import write_page
    from quadrat.views.patch_map import read_patch_map
    from quadrat.views.thumbnail import blank_thumbnail

    patch_map = read_patch_map(result)
    assert patch_map is not None, "only images that have predictions are drawn"
    reader_mb = None if memory_mb is None else memory_mb - REST_MB
    if problem:
        thumbnail = blank_thumbnail(patch_map.height, patch_map.width, problem)
    else:
        thumbnail = _thumbnail(patch_map, image, folder.channels, threads, reader_mb)
    if thumbnail.problem:
        log(f"{patch_map.name}: drawn without its picture: {thumbnail.problem}")
    draw_map(patch_map, thumbnail, drawing.map, folder.results)
    write_page(patch_map, thumbnail, drawing.page, folder.results)


def _thumbnail(
    patch_map: "PatchMap", image: str, channels: list[int] | None, threads: int, memory_mb: float | None
) -> "Thumbnail":
    from quadrat.views.thumbnail import blank_thumbnail, read_thumbnail

    try:
        return read_thumbnail(image, channels, patch_map.plane, threads, memory_mb)
    except ImageError as error:
        return blank_thumbnail(patch_map.height, patch_map.width, str(error))
