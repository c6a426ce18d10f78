"""Shards: the images that are predicted in several jobs, and the grid rows of each job."""

import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson

from quadrat.errors import ImageError
from quadrat.files.atomic import replace_file
from quadrat.files.hashing import stat_token
from quadrat.files.records import SIZE, read_record
from quadrat.files.sources import is_vrt
from quadrat.grid import PatchGrid
from quadrat.processes.limits import Ended, answers
from quadrat.results.folder import ResultsFolder
from quadrat.results.tables import PlannedImage
from quadrat.settings import ReadSettings, Settings

# Most 8-bit samples in a byte of deflate (RFC 1951). An image that is coded more densely is nearly empty, so
# that one job is enough.
PIXELS_PER_BYTE = 1032

_SHAPE = {"looked_at": list, "height": SIZE, "width": SIZE, "seek_height": SIZE}
_SHARDS_FORM = {"shards": {str: {"paths": [str], "files": {str: [int]}}}, "shapes": {str: _SHAPE}}


@dataclass(frozen=True)
class Shape:
    """The part of an image's header that is needed to cut it.

    Attributes
    ----------
    looked_at : list
        Content id, and the settings of reading.
    height, width : int
        Size in pixels.
    seek_height : int
        Height in pixels of the parts that can each be decoded without the parts above.
    """

    looked_at: list
    height: int
    width: int
    seek_height: int


@dataclass(frozen=True)
class Shards:
    """The shards of one image.

    Attributes
    ----------
    paths : list of str
        From the top of the image.
    files : dict of str to list of int
        Path, and size and mtime (ns), of each file of the image when it was cut. They must be the same for
        every shard.
    """

    paths: list[str]
    files: dict[str, list[int]]


@dataclass(frozen=True)
class ShardPlan:
    """The part of a plan with the images that are predicted in several jobs.

    Attributes
    ----------
    shards : dict of str to Shards
        Of each image that is to be computed in several jobs, by the path of its result.
    shapes : dict of str to Shape
        The shapes of large images, by filename, so that no header is read twice.
    """

    shards: dict[str, Shards] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)


def read_shard_plan(path: str) -> ShardPlan:
    """Read the last plan of the main process; empty if no image ever had shards.

    Raises
    ------
    ResultsError
        If quadrat did not write the file.
    """
    try:
        written = read_record(path, _SHARDS_FORM)
    except FileNotFoundError:
        return ShardPlan()
    return ShardPlan(
        {result: Shards(shards["paths"], shards["files"]) for result, shards in written["shards"].items()},
        {filename: Shape(*(shape[name] for name in _SHAPE)) for filename, shape in written["shapes"].items()},
    )


def plan_shards(
    images: list[PlannedImage],
    files: dict[str, dict[str, os.stat_result]],
    missing: set[str],
    settings: Settings,
) -> ShardPlan:
    """Cut the missing images that are larger than `shard_pixels`, and write a record of the shards.

    Parameters
    ----------
    images : list of PlannedImage
    files : dict of str to dict of str to os.stat_result
        Path and status of the files of each image, by filename, as they were before its header is read.
    missing : set of str
        Paths of the results that must still be computed.
    settings : Settings

    Returns
    -------
    ShardPlan
    """
    folder = ResultsFolder(settings.results)
    before = read_shard_plan(folder.shard_plan)
    shapes = {image.filename: before.shapes.get(image.filename) for image in images}
    results = {image.filename: folder.version_path(image.key, image.version) for image in images}
    shard_pixels = settings.shard_pixels
    large = [
        image
        for image in images
        if shard_pixels and results[image.filename] in missing and _may_hold(image, shard_pixels)
    ]
    shapes |= _shapes(large, shapes, settings)
    shards = {}
    for image in large:
        if shard_pixels and (shape := shapes[image.filename]):
            shards[results[image.filename]] = _shards_of(
                image, files[image.filename], shape, settings, shard_pixels
            )
    planned = ShardPlan(
        {result: cut for result, cut in shards.items() if len(cut.paths) > 1},
        {filename: shape for filename, shape in shapes.items() if shape},
    )
    if planned != before:
        replace_file(folder.shard_plan, orjson.dumps(planned), folder.path)
    return planned


def cut_rows(grid: PatchGrid, seek_height: int, shard_pixels: int) -> list[range]:
    """Cut the rows of a grid into shards of about the same number of pixels.

    A shard consists of whole groups of grid rows, so that it has the same batches as the whole image. It is
    taller than the parts that must be decoded at once, so that at most two shards decode a part.

    Parameters
    ----------
    grid : PatchGrid
    seek_height : int
        In pixels; see `Shape`.
    shard_pixels : int
        Pixels of the image for each shard.

    Returns
    -------
    list of range
        Grid rows of each shard, from the top.
    """
    from quadrat.patches.stream import rows_together

    if not len(grid):
        return []
    together = rows_together(grid.cols)
    groups = -(-grid.rows // together)
    least = -(-(seek_height + grid.patch_size) // (grid.stride * together))
    count = max(1, min(-(-grid.height * grid.width // shard_pixels), groups // least))
    starts = [groups * part // count * together for part in range(count)]
    return [range(first, end) for first, end in pairwise([*starts, grid.rows])]


def answer(question: dict[str, Any]) -> dict[str, int] | None:
    """Return the size of an image and the height of its parts, from its header; None if it is broken."""
    # A run without large images need not import the readers.
    from quadrat.images.open import open_image
    from quadrat.images.reading import configured_reader

    try:
        reading = ReadSettings(**question["reading"])
        with open_image(question["path"], reading.plane, nodata=reading.nodata_by_channel) as image:
            info = configured_reader(image, reading).info
            return {name: getattr(info, name) for name in ("height", "width", "seek_height")}
    except (ImageError, OSError):
        return None


def _may_hold(image: PlannedImage, pixels: int) -> bool:
    """Return whether an image is large enough for so many pixels; a VRT may repeat its sources."""
    return is_vrt(image.path) or image.size * PIXELS_PER_BYTE >= pixels


def _shapes(
    images: list[PlannedImage], known: dict[str, Shape | None], settings: Settings
) -> dict[str, Shape | None]:
    """Return the shape of each image; None if a reader fails, since its job then records the error."""
    reading = settings.reading
    chosen = [reading.level, reading.plane, reading.mpp, reading.gsd, reading.default_mpp]
    looked_at = {image.filename: [image.content_id, *chosen] for image in images}
    shapes: dict[str, Shape | None] = {
        name: shape for name in looked_at if (shape := known[name]) and shape.looked_at == looked_at[name]
    }
    new = [image for image in images if image.filename not in shapes]
    questions = [{"path": image.path, "reading": reading.as_dict()} for image in new]
    for image, found in zip(new, answers(__name__, questions), strict=True):
        is_read = found is not None and not isinstance(found, Ended)
        shapes[image.filename] = Shape(looked_at[image.filename], **found) if is_read else None
    return shapes


def _shards_of(
    image: PlannedImage,
    files: dict[str, os.stat_result],
    shape: Shape,
    settings: Settings,
    shard_pixels: int,
) -> Shards:
    """Return the shards of an image; one or none if a job predicts it whole."""
    folder = ResultsFolder(settings.results)
    grid = settings.reading.grid(shape.height, shape.width)
    parts = cut_rows(grid, shape.seek_height, shard_pixels)
    rows = [f"{part[0]}-{part[-1]}" for part in parts]
    paths = [folder.shard_path(image.key, image.version, name) for name in rows]
    return Shards(paths, {path: [*stat_token(status)[:2]] for path, status in files.items()})
