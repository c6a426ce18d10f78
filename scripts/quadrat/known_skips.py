"""Known skips: the patches of an image that are skipped for where they are, before it is read."""

from functools import partial
from typing import Any

import numpy as np

from quadrat.grid import PatchGrid
from quadrat.readers import open_image
from quadrat.readers.reader import ImageInfo
from quadrat.reading import Reading
from quadrat.skipping import Skips


def known_skips(
    path: str,
    reading: Reading,
    grid: PatchGrid,
    info: ImageInfo,
    *,
    regions: dict[str, Any] | None = None,
    grid_rows: range | None = None,
    memory_mb: float | None = None,
) -> Skips:
    """Find the patches that are skipped, as far as that can be told without reading them.

    Parameters
    ----------
    path : str
        The image file.
    reading : Reading
    grid : PatchGrid
    info : ImageInfo
        Of the image, as the grid was laid over it.
    regions : dict, optional
        Where patches are predicted; see `quadrat.task.ImageTask`. Default: everywhere.
    grid_rows : range, optional
        The grid rows to look at. Default: all.
    memory_mb : float, optional
        Memory in megabytes that may be taken. Default: no limit.

    Returns
    -------
    Skips

    Raises
    ------
    ImageError
        If the image does not hold what a rule needs.
    """
    skips = Skips(grid, grid_rows)
    if info.scanned:
        skips.add("unscanned", ~_is_scanned(grid, info))
    if regions is not None:
        from quadrat.regions import lies_inside

        skips.add("outside", ~lies_inside(regions, grid, info))
    tissue_below = ((reading.skip or {}).get("background") or {}).get("tissue_below")
    if tissue_below is not None:
        from quadrat.tissue import tissue_shares

        open_level = partial(open_image, path, None, plane=reading.plane, memory_mb=memory_mb)
        skips.add("background", tissue_shares(open_level, grid, info, memory_mb) < tissue_below)
    return skips


def _is_scanned(grid: PatchGrid, info: ImageInfo) -> np.ndarray:
    """Return whether any pixel of each patch was scanned, as (rows, cols) bool array."""
    down, across = info.downsample
    found = np.zeros((grid.rows, grid.cols), bool)
    for part in info.scanned:
        rows = _overlaps(grid, grid.ys, grid.height, down, part.y, part.height)
        cols = _overlaps(grid, grid.xs, grid.width, across, part.x, part.width)
        found |= rows[:, np.newaxis] & cols
    return found


def _overlaps(
    grid: PatchGrid, origins: list[int], length: int, scale: float, start: int, size: int
) -> np.ndarray:
    """Return along one axis which patches overlap a span of level-0 pixels."""
    starts = scale * np.array(origins)
    ends = starts + scale * np.array([grid.extent(origin, length) for origin in origins])
    return (starts < start + size) & (ends > start)
