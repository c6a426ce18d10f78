"""The drawing of one image: its map and its page, from its result and one look at its pixels."""

from collections.abc import Callable
from tempfile import TemporaryFile

import numpy as np

import quadrat.readers.tiff  # noqa: F401  once, and not by the child process of each image
from quadrat.drawings import Drawing, DrawingsFolder
from quadrat.errors import ImageError
from quadrat.image_page import write_page
from quadrat.map_picture import draw_map
from quadrat.patch_map import PatchMap, read_patch_map
from quadrat.thumbnail import Thumbnail, blank_thumbnail, read_thumbnail
from quadrat.worker import run_in_child

# What Python, matplotlib, bokeh and the figure take of a job's memory.
REST_MB = 250


def draw_image(
    result: str,
    image: str,
    drawing: Drawing,
    folder: DrawingsFolder,
    threads: int,
    memory_mb: int | None,
    tell: Callable[[str], None],
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
        Memory of the job in MB; None where it has no bound.
    tell : callable
        Takes the lines that a person should read.

    Raises
    ------
    ResultsError
        If the result is not whole.
    """
    patch_map = read_patch_map(result)
    thumbnail = _thumbnail(patch_map, image, folder.channels, threads, memory_mb)
    if thumbnail.problem:
        tell(f"{patch_map.name}: drawn without its picture: {thumbnail.problem}")
    draw_map(patch_map, thumbnail, drawing.map, folder.results)
    write_page(patch_map, thumbnail, drawing.page, folder.results)


def _thumbnail(
    patch_map: PatchMap, image: str, channels: list[int] | None, threads: int, memory_mb: int | None
) -> Thumbnail:
    """Read the picture in a child process, which a decoder may crash, and lay its pixels into a file."""
    reader_mb = None if memory_mb is None else memory_mb - REST_MB

    def read() -> None:
        try:
            thumbnail = read_thumbnail(image, channels, patch_map.plane, threads, reader_mb)
        except ImageError as error:
            thumbnail = blank_thumbnail(patch_map.height, patch_map.width, str(error))
        np.savez(file, pixels=thumbnail.pixels, step=thumbnail.step, problem=thumbnail.problem)
        file.flush()

    with TemporaryFile() as file:
        ending = run_in_child(read, memory_mb=memory_mb)
        if ending:
            return blank_thumbnail(patch_map.height, patch_map.width, ending.message)
        file.seek(0)
        there = np.load(file)
        return Thumbnail(there["pixels"], there["step"].item(), there["problem"].item())
