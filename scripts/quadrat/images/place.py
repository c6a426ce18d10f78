"""Place: where an image lies if its own file does not hold a transform."""

import math
import os
from dataclasses import replace

from quadrat.errors import ImageError
from quadrat.files.scenes import as_scene
from quadrat.files.unread import NO_PLACE
from quadrat.files.world_files import WorldFile, find_world_file, read_world_file
from quadrat.images.image import ImageInfo

# A note on an image with control points in place of a transform.
CONTROL_POINTS = f"{NO_PLACE}: control points are not applied (gdalwarp IN OUT.tif applies them)"


def world_file_of(path: str) -> WorldFile | None:
    """Return what the world file of an image holds, None if it has none.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    found = None if as_scene(path) else find_world_file(path)
    if found is None:
        return None
    try:
        return read_world_file(found)
    except OSError as error:
        raise ImageError(
            f"its world file {os.path.basename(found)} cannot be read: {error.strerror}"
        ) from error


def placed(info: ImageInfo, world_file: WorldFile | None) -> ImageInfo:
    """Return the metadata of an image with the place of its world file, which counts if it has none itself.

    A transform that gives pixels no area is no place.
    """
    transform, problem = info.transform, ""
    if world_file is not None and info.is_first:
        transform, problem = world_file
        problem = problem and f"its world file is not usable ({problem})"
    if transform is not None and not _has_area(transform):
        transform, problem = None, "its pixels would have no area"
    if transform is info.transform and not problem:
        return info
    notes = [note for note in info.notes if not note.startswith(NO_PLACE)]
    notes += [f"{NO_PLACE}: {problem}"] if problem else []
    return replace(info, transform=transform, notes=tuple(notes))


def way_out(info: ImageInfo, otherwise: str) -> str:
    """Return the hint of an error that an image has no place: the reason that is known, and another way."""
    return "; ".join([*(note for note in info.notes if note.startswith(NO_PLACE)), otherwise])


def _has_area(transform: tuple[float, ...]) -> bool:
    a, b, _, d, e, _ = transform
    return math.isfinite(sum(transform)) and a * e != b * d
