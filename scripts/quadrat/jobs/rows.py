"""Rows of a result: the windows of patches, in pixels of level 0."""

from collections.abc import Callable

from quadrat.grid import PatchGrid, Window
from quadrat.images.image import ImageInfo
from quadrat.patches.stream import Position


def to_level_0(grid: PatchGrid, info: ImageInfo) -> Callable[[list[Position]], list[Position]]:
    """Return the function that maps positions of a grid to the same ones in pixels of level 0.

    Parameters
    ----------
    grid : PatchGrid
    info : ImageInfo
        Of the image, as the grid was laid over it.
    """
    (down, across), (height, width) = info.downsample, info.full_size
    ys = _spans(grid, grid.ys, grid.height, down, height)
    xs = _spans(grid, grid.xs, grid.width, across, width)

    def at_level_0(positions: list[Position]) -> list[Position]:
        return [
            (row, col, Window(ys[row][0], xs[col][0], ys[row][1], xs[col][1])) for row, col, _ in positions
        ]

    return at_level_0


def _spans(
    grid: PatchGrid, origins: list[int], length: int, scale: float, full_length: int
) -> list[tuple[int, int]]:
    """Return where each patch begins along an axis, and its size, in level-0 pixels.

    A level whose size was rounded up covers more than the image; a padded patch alone may reach past it.
    """
    spans = []
    for origin in origins:
        extent, start = grid.extent(origin, length), round(origin * scale)
        size = round(extent * scale)
        spans.append((start, min(size, full_length - start) if origin + extent <= length else size))
    return spans
