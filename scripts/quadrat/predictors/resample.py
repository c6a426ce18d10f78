"""Resampling: patches in another size, each pixel a weighted sum along y, then along x."""

from functools import cache
from typing import NamedTuple

import numpy as np


class Taps(NamedTuple):
    """The sources of the pixels of one axis: `taps` neighbours for each.

    Attributes
    ----------
    indices : (taps, length) int array
        Pixels of the axis as it was.
    weights : (taps, length) float32 array
        Their shares, which add up to 1 for each pixel.
    """

    indices: np.ndarray
    weights: np.ndarray


class Resampling(NamedTuple):
    """A change of size.

    Attributes
    ----------
    y, x : Taps
    """

    y: Taps
    x: Taps

    @classmethod
    def of(cls, kind: str, old: tuple[int, int], new: tuple[int, int]) -> "Resampling":
        """Plan a change of size.

        Parameters
        ----------
        kind : {'area', 'bilinear'}
            `area` weighs old pixels by the share that a new pixel covers. `bilinear` weighs them by their
            distance from its centre, up to the width of a pixel (the wider of new and old), as Pillow does.
        old, new : (height, width)
            In pixels.
        """
        return cls(*(_taps(kind, *lengths) for lengths in zip(old, new, strict=True)))

    def apply(self, patches: np.ndarray) -> np.ndarray:
        """Resample patches.

        Parameters
        ----------
        patches : (n, height, width, channel) array

        Returns
        -------
        (n, new height, new width, channel) float32 array
        """
        rows = _weighted(patches, self.y, axis=1)
        return _weighted(rows, self.x, axis=2)


def _weighted(pixels: np.ndarray, taps: Taps, axis: int) -> np.ndarray:
    shape = [1] * pixels.ndim
    shape[axis] = -1
    shares = (
        pixels.take(indices, axis=axis) * weights.reshape(shape)
        for indices, weights in zip(*taps, strict=True)
    )
    total = next(shares).astype(np.float32, copy=False)
    for share in shares:
        np.add(total, share, out=total)
    return total


@cache
def _taps(kind: str, old: int, new: int) -> Taps:
    ratio = old / new
    left = np.arange(new) * ratio
    if kind == "area":
        first, last = left, left + ratio
    else:
        centre, reach = left + ratio / 2, max(1.0, ratio)
        first, last = centre - reach, centre + reach
    taps = int(np.ceil(last - first).max()) + 1
    indices = np.floor(first).astype(int) + np.arange(taps)[:, np.newaxis]
    if kind == "area":
        weights = np.minimum(indices + 1, last) - np.maximum(indices, first)
    else:
        weights = 1 - np.abs(indices + 0.5 - centre) / reach
    weights = np.where((indices >= 0) & (indices < old), np.maximum(weights, 0), 0)
    weights /= weights.sum(axis=0)
    return Taps(indices.clip(0, old - 1), weights.astype(np.float32))
