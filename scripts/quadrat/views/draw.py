"""The drawing of images: the map and the page of each, and what shows all of them."""

import os
import traceback
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from quadrat.errors import ImageError, ResultsError, WriteError
from quadrat.files.atomic import discard
from quadrat.files.log import JobLog
from quadrat.processes.child import run_in_child
from quadrat.results.folder import ResultsFolder
from quadrat.results.tables import PlannedImage
from quadrat.views.drawings import DrawingsFolder

if TYPE_CHECKING:
    from quadrat.images.thumbnail import Thumbnail
    from quadrat.views.patch_map import PatchMap

# Memory of a job for Python, the libraries and what is drawn.
REST_MB = 250


def draw_images(
    images: list[PlannedImage],
    folder: DrawingsFolder,
    is_all: bool,
    threads: int,
    memory_mb: int | None,
    log: JobLog,
    with_overview: bool = False,
) -> None:
    """Draw those images that are to be drawn in a child process; on grey where their pixels end it twice.

    A first ending may come from elsewhere, such as a signal of the kernel when memory runs out.

    Parameters
    ----------
    images : list of PlannedImage
    folder : DrawingsFolder
    is_all : bool
        See `DrawingsFolder.undrawn`.
    threads, memory_mb, log
        See `draw_image`.
    with_overview : bool, optional
        Whether all drawings are linked under the names of their images then, and the overview is written.

    Raises
    ------
    ResultsError
        If an image cannot be drawn on grey either, or the overview cannot be written.
    """
    endings: Counter[str] = Counter()
    problems: dict[str, str] = {}

    def undrawn() -> list[PlannedImage]:
        return folder.undrawn(images, is_all)

    def work() -> None:
        try:
            for image in undrawn():
                draw_image(image, folder, threads, memory_mb, log, problems.get(image.filename, ""))
            if with_overview:
                _show_all(images, folder)
        except Exception:
            log.keep(traceback.format_exc())
            raise

    while ending := run_in_child(work, memory_mb=memory_mb):
        left = undrawn()
        if not left or left[0].filename in problems or ending.kind == WriteError.kind:
            what = f"{left[0].path}: cannot be drawn" if left else "the overview cannot be written"
            raise ResultsError(f"{what}: {ending.message}")
        filename = left[0].filename
        endings[filename] += 1
        if endings[filename] == 2:
            problems[filename] = ending.message


def draw_image(
    image: PlannedImage,
    folder: DrawingsFolder,
    threads: int,
    memory_mb: int | None,
    log: JobLog,
    problem: str = "",
) -> None:
    """Draw the map and the page of an image; on grey where its pixels cannot be read.

    Parameters
    ----------
    image : PlannedImage
        It has predictions.
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
    from quadrat.images.thumbnail import blank_thumbnail
    from quadrat.views.map import draw_map
    from quadrat.views.page import write_page
    from quadrat.views.patch_map import read_patch_map

    patch_map = read_patch_map(ResultsFolder(folder.results).version_path(image.key, image.version))
    assert patch_map is not None, "only images that have predictions are drawn"
    drawing, saved = folder.at(image.key, image.version), folder.thumbnail(image.key, image.version)
    if problem:
        thumbnail = blank_thumbnail(patch_map.height, patch_map.width, problem)
    else:
        reader_mb = None if memory_mb is None else memory_mb - REST_MB
        thumbnail = _thumbnail(saved, patch_map, image.path, folder, threads, reader_mb)
    if thumbnail.problem:
        log(f"{patch_map.name}: drawn without its picture: {thumbnail.problem}")
    draw_map(patch_map, thumbnail, drawing.map, folder.results)
    write_page(patch_map, thumbnail, drawing.page, folder.results)
    discard(saved, folder.results)


def _thumbnail(
    saved: str,
    patch_map: "PatchMap",
    image: str,
    folder: DrawingsFolder,
    threads: int,
    memory_mb: float | None,
) -> "Thumbnail":
    """Return the thumbnail that the prediction saved, or read the image."""
    from quadrat.images.thumbnail import blank_thumbnail, load_thumbnail, read_thumbnail

    if os.path.exists(saved) and os.path.getsize(saved):
        with suppress(ResultsError):
            return load_thumbnail(saved)
    try:
        return read_thumbnail(image, folder.shown, patch_map.plane, threads, memory_mb, folder.nodata)
    except ImageError as error:
        return blank_thumbnail(patch_map.height, patch_map.width, str(error))


def _show_all(images: list[PlannedImage], folder: DrawingsFolder) -> None:
    """Link what is drawn under the names of the images, and write the overview."""
    from quadrat.results.links import link_results
    from quadrat.views.overview import write_overview

    results, drawn = ResultsFolder(folder.results), folder.current(images)
    for view, links, ending in (("map", results.maps, ".png"), ("page", results.pages, ".html")):
        targets = {drawing.filename: getattr(drawing, view) for drawing in drawn}
        link_results(targets, links, folder.results, ending)
    write_overview(results)
