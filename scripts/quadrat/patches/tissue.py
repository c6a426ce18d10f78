"""Tissue: the parts of a slide that show more than glass, found on its coarsest level."""

import numpy as np

from quadrat.errors import ImageError
from quadrat.grid import PatchGrid, Window
from quadrat.images.budget import require_memory
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.open import Image

STRIP_PIXELS = 1 << 20
LEVELS = 256
# A patch with fewer pixels along an axis shows too little, so that a finer level is read.
LEAST_PIXELS = 8
# 8-bit pixels without a larger sample are padding: JPEG turns black into up to 8, and folded tissue has 30.
DARKEST_PADDING = 15


def tissue_shares(image: Image, grid: PatchGrid, downsample: tuple[float, float]) -> np.ndarray:
    """Return the share of each patch that is tissue.

    Parameters
    ----------
    image : Image
    grid : PatchGrid
    downsample : tuple of 2 float
        Level-0 pixels per pixel of the grid along y and x.

    Returns
    -------
    (rows, cols) float64 array
        From 0 to 1; 0 for patches outside the image.

    Raises
    ------
    ImageError
        As `tissue_mask`.
    """
    is_tissue, coarse = tissue_mask(image, grid.patch_size * min(downsample))
    scales = [here / there for here, there in zip(downsample, coarse.downsample, strict=True)]
    return _patch_shares(is_tissue, grid, scales)


def tissue_mask(image: Image, patch: float) -> tuple[np.ndarray, ImageInfo]:
    """Return the pixels of a coarse level that are tissue: more saturated than Otsu's threshold of the slide.

    Parameters
    ----------
    image : Image
    patch : float
        Size of a patch in level-0 pixels, which chooses the level.

    Returns
    -------
    is_tissue : (height, width) bool array
    info : ImageInfo
        Of the level.

    Raises
    ------
    ImageError
        If the image has no pyramid, or less than three channels.
    """
    if len(image.levels) == 1:
        raise ImageError(
            "it has no pyramid levels, and tissue is found on the coarsest one",
            "leave tissue_below out, or use std_below or mean_above (config.yaml: skip: background)",
        )
    coarsest = (level for level in image.levels[:1:-1] if patch / max(level.downsample) >= LEAST_PIXELS)
    reader = image.reader(next(coarsest, image.levels[1]))
    coarse = reader.info
    if coarse.channels < 3:
        raise ImageError(f"it has {coarse.channels} channels, but the saturation of tissue needs three")
    require_memory(
        3 * coarse.height * coarse.width, image.memory_mb, f"level {coarse.level}, on which tissue is found,"
    )
    saturations = _read_saturations(reader)
    is_scanned = _scanned_pixels(coarse)
    return is_scanned & (saturations > otsu_threshold(saturations[is_scanned])), coarse


def _read_saturations(reader: Reader) -> np.ndarray:
    height, width = reader.info.height, reader.info.width
    step = max(1, STRIP_PIXELS // width)
    windows = [Window(y, 0, min(step, height - y), width) for y in range(0, height, step)]
    blocks = reader.read_blocks(windows, 1)
    return np.concatenate([saturation(block[..., :3]) for block in blocks])


def _scanned_pixels(info: ImageInfo) -> np.ndarray:
    """Return the scanned pixels of a level, as (height, width) bool array."""
    is_scanned = np.full((info.height, info.width), not info.scanned)
    down, across = (1 / size for size in info.downsample)
    for part in info.scanned:
        is_scanned[_span(part.y, part.height, down), _span(part.x, part.width, across)] = True
    return is_scanned


def saturation(pixels: np.ndarray) -> np.ndarray:
    """Return the saturation of colours, as in HSV: the range of a pixel's samples divided by the largest.

    Parameters
    ----------
    pixels : (height, width, 3) array

    Returns
    -------
    (height, width) uint8 array
        0 for grey, white and black, 255 for pure colours. 8-bit pixels that are nearly black count as black.
    """
    low, high = (function(pixels, axis=2).astype(np.float32) for function in (np.min, np.max))
    darkest = DARKEST_PADDING if pixels.dtype == np.uint8 else 0
    return (255 * np.divide(high - low, high, out=np.zeros_like(high), where=high > darkest)).astype(np.uint8)


def otsu_threshold(values: np.ndarray) -> int:
    """Return the value that best separates values into two classes: the values up to it, and the others.

    Parameters
    ----------
    values : uint8 array

    Returns
    -------
    int
        From 0 to 255; the largest of the values if all are equal, 0 if no values are given.

    References
    ----------
    N. Otsu, "A threshold selection method from gray-level histograms", 1979: the variance between the
    classes is largest.
    """
    counts = np.bincount(values.reshape(-1), minlength=LEVELS).astype(np.float64)
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(LEVELS))
    above = below[-1] - below
    both = (below > 0) & (above > 0)
    if not both.any():
        return int(values.max(initial=0))
    between = np.zeros(LEVELS)
    between[both] = (sums[-1] * below[both] - sums[both] * below[-1]) ** 2 / (below[both] * above[both])
    return int(np.argmax(between))


def _patch_shares(is_tissue: np.ndarray, grid: PatchGrid, scales: list[float]) -> np.ndarray:
    """Return the share of each patch; `scales` are the sizes of the grid's pixels in pixels of the level."""
    down, across = scales
    shares = [
        is_tissue[_span(y, height, down), _span(x, width, across)] for y, x, height, width in grid.windows()
    ]
    return np.array([share.mean() if share.size else 0.0 for share in shares]).reshape(grid.rows, grid.cols)


def _span(start: int, length: int, scale: float) -> slice:
    return slice(int(start * scale), int(np.ceil((start + length) * scale)))
