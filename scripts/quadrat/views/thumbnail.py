"""The thumbnail: a small picture of an image, read from its coarsest fitting level, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quadrat.errors import ImageError
from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.nodata import nodata_mask
from quadrat.images.open import Image, open_image
from quadrat.patches.stream import BLOCK_BYTES, plan_blocks

# Length of a thumbnail's longer side in pixels, at most; a level this large or larger is read.
SIDE = 1000

# Blocks of about so many rows decode fast; segments taller than the second are streamed in parts.
BLOCK_ROWS, TALLEST_SEGMENT = 512, 4096

# Samples that are not 8-bit colours are spread from black to white between these percentiles.
PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an image.

    Attributes
    ----------
    pixels : (height, width, 3) uint8 array
        Red, green and blue. Mid-grey where the image could not be read.
    steps : tuple of 2 float
        Level-0 pixels per pixel of the picture along y and x.
    problem : str
        Why the image could not be read; empty if it could.
    """

    pixels: np.ndarray
    steps: tuple[float, float]
    problem: str = ""


def read_thumbnail(
    path: str,
    shown: list[int] | None,
    plane: dict[str, int] | None,
    threads: int,
    memory_mb: float | None,
) -> Thumbnail:
    """Read a small picture of an image in bounded memory.

    Only the pixels of the image itself are read, never a slide's label or overview.

    Parameters
    ----------
    path : str
    shown : list of int or None
        One channel, or the channels of red, green and blue, counted from 1; None for the first three, or the
        first one where there are fewer.
    plane : dict of str to int, or None
        Which plane of a stack, counted from 1; None for the first.
    threads : int
        Threads that decode.
    memory_mb : float or None
        Memory that the reader may take, in megabytes.

    Returns
    -------
    Thumbnail

    Raises
    ------
    ImageError
        If the image cannot be read.
    """
    with open_image(path, plane, memory_mb) as image:
        info = image.info
        reader = _coarsest_reader(image, shown or ((1, 2, 3) if info.channels >= 3 else (1,)))
        factor = -(-max(reader.info.height, reader.info.width) // SIDE)
        means = box_means(reader, factor, threads)
        is_picture = reader.info.dtype == np.uint8 and info.channels in (1, 3, 4) and not shown
        down, across = reader.info.downsample
    steps = factor * down, factor * across
    picture = np.nan_to_num(means) if is_picture else _stretched(means)
    return Thumbnail(np.broadcast_to(picture, (*picture.shape[:2], 3)).round().astype(np.uint8), steps)


def blank_thumbnail(height: int, width: int, problem: str) -> Thumbnail:
    """Return a grey picture in place of an image of this size that cannot be read."""
    factor = -(-max(height, width) // SIDE)
    pixels = np.full((-(-height // factor), -(-width // factor), 3), 160, np.uint8)
    return Thumbnail(pixels, (factor, factor), problem)


def box_means(reader: Reader, factor: int, threads: int) -> np.ndarray:
    """Return the means of all squares of pixels, each pixel of the level read once.

    Parameters
    ----------
    reader : Reader
    factor : int
        Side of a square in pixels; those at the bottom and right are cut at the image.
    threads : int
        Threads that decode.

    Returns
    -------
    (height, width, channel) float64 array
        NaN where a square holds no finite sample except nodata.
    """
    info = reader.info
    shape = (-(-info.height // factor), -(-info.width // factor), info.channels)
    sums, counts = np.zeros(shape), np.zeros(shape)
    windows = [block.window for block in plan_blocks(_covering(info), info)]
    for window, pixels in zip(windows, reader.read_blocks(windows, threads), strict=True):
        rows = _cuts(window.y, window.height, factor)
        cols = _cuts(window.x, window.width, factor)
        y, x = window.y // factor, window.x // factor
        cells = np.s_[y : y + len(rows), x : x + len(cols)]
        usable = _usable(pixels, info)
        if usable is None:
            sums[cells] += _sums(pixels, rows, cols)
            heights, widths = np.diff([*rows, window.height]), np.diff([*cols, window.width])
            counts[cells] += np.multiply.outer(heights, widths)[..., None]
        else:
            sums[cells] += _sums(np.where(usable, pixels, 0), rows, cols)
            counts[cells] += _sums(usable, rows, cols)
    return np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)


def _coarsest_reader(image: Image, channels: Sequence[int]) -> Reader:
    """Return a reader of the coarsest level that is no smaller than a thumbnail, and can be decoded."""
    enough = min(SIDE, max(image.levels[0].shape))
    for level in image.levels[:0:-1]:
        if max(level.shape) >= enough:
            try:
                return image.reader(level, channels)
            except ImageError:
                continue  # a level may be stored in a way that cannot be decoded
    return image.reader(0, channels)


def _covering(info: ImageInfo) -> PatchGrid:
    """Lay blocks over the whole level so that segments are decoded once and few rows are held."""
    row_bytes = info.width * info.channels * info.dtype.itemsize
    rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))
    if info.segment_height <= TALLEST_SEGMENT:
        rows = info.segment_height * max(1, rows // info.segment_height)
    return PatchGrid(info.height, info.width, rows, rows, "partial")


def _cuts(start: int, length: int, factor: int) -> np.ndarray:
    """Return where squares begin within a block, in pixels of the block."""
    return np.unique(np.maximum(np.arange(start // factor * factor, start + length, factor) - start, 0))


def _usable(pixels: np.ndarray, info: ImageInfo) -> np.ndarray | None:
    """Return which samples are finite and not nodata; None if all are."""
    if info.nodata is None and info.dtype.kind != "f":
        return None
    return np.isfinite(pixels) & ~nodata_mask(pixels, info.nodata or ())


def _sums(pixels: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Sum squares; a loop over their rows is forty times as fast as numpy's reduceat along that axis."""
    wide = np.float64 if pixels.dtype.kind == "f" else np.uint32 if pixels.dtype.itemsize == 1 else np.int64
    stops = [*rows[1:], len(pixels)]
    summed = [pixels[start:stop].sum(axis=0, dtype=wide) for start, stop in zip(rows, stops, strict=True)]
    return np.add.reduceat(np.stack(summed), cols, axis=1, dtype=np.float64)


def _stretched(means: np.ndarray) -> np.ndarray:
    """Spread each channel from 0 to 255; what is not a number is black."""
    finite = np.where(np.isfinite(means), means, np.nan)
    if np.isnan(finite).all():
        return np.zeros_like(means)
    low, high = np.nanpercentile(finite, PERCENTILES, axis=(0, 1))
    spread = np.where(high > low, high - low, 1)
    return np.nan_to_num(np.clip((finite - low) / spread, 0, 1) * 255)
