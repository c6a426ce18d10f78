"""Known skips: the patches of an image that are skipped for where they are, before it is read."""

from functools import partial

from quadrat.grid import PatchGrid
from quadrat.readers import open_image
from quadrat.readers.reader import ImageInfo
from quadrat.reading import Reading
from quadrat.skipping import Skips


def known_skips(
    path: str, reading: Reading, grid: PatchGrid, info: ImageInfo, memory_mb: float | None
) -> Skips:
    """Find the patches that are skipped, as far as that can be told without reading them.

    Parameters
    ----------
    path : str
        The image.
    reading : Reading
    grid : PatchGrid
    info : ImageInfo
        Of the image, as the grid was laid over it.
    memory_mb : float or None
        Memory in megabytes that may be taken; None for no limit.

    Returns
    -------
    Skips

    Raises
    ------
    ImageError
        If the image does not hold what a rule needs.
    """
    skips = Skips(grid)
    tissue_below = ((reading.skip or {}).get("background") or {}).get("tissue_below")
    if tissue_below is not None:
        from quadrat.tissue import tissue_shares

        open_level = partial(open_image, path, None, plane=reading.plane, memory_mb=memory_mb)
        skips.add("background", tissue_shares(open_level, grid, info, memory_mb) < tissue_below)
    return skips
