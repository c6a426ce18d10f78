"""The predictor `mean`: numpy.mean of each patch."""

from typing import Any

import numpy as np

from quadrat.readers.reader import ImageInfo

# Integers up to here are exact as float64, so that a sum of them does not depend on its order.
EXACT = 2**53

# Rows of bytes whose sum fits in 16 bits, which halves the memory that summing moves.
BYTE_ROWS = (2**16 - 1) // 255


class MeanPredictor:
    """Predicts the mean over all pixels and channels, as float64.

    The result is exactly ``numpy.mean(patch)``. Integers are summed as integers, down the columns of
    all patches at once, which is several times as fast and gives the same bits, since no sum is rounded.
    """

    def check(self, info: ImageInfo) -> None:
        """Take every image."""

    def batch_size(self, patch_bytes: int) -> None:
        """Take any number of patches: each mean is of one patch alone."""

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Give the mean of each patch.

        Parameters
        ----------
        patches : (n, height, width, channel) array

        Returns
        -------
        (n,) float64 array
        """
        size = patches[0].size
        largest = _largest(patches.dtype)
        if largest is None or largest * size > EXACT:
            means = [np.mean(np.ascontiguousarray(patch)) for patch in patches]
            return np.array(means, np.float64)
        columns = _column_sums(patches, largest)
        return columns.reshape(len(patches), -1).sum(axis=1, dtype=np.int64) / size

    def describe(self) -> dict[str, Any]:
        """Give the name of the statistic."""
        return {"kind": "mean"}


def _column_sums(patches: np.ndarray, largest: int) -> np.ndarray:
    """Sum the columns of integer patches, as (n, width, channel) array."""
    if patches.dtype != np.uint8:
        narrow = largest * patches.shape[1] < 2**31
        return patches.sum(axis=1, dtype=np.int32 if narrow else np.int64)
    sums = np.zeros(patches.shape[:1] + patches.shape[2:], np.int64)
    for top in range(0, patches.shape[1], BYTE_ROWS):
        sums += patches[:, top : top + BYTE_ROWS].sum(axis=1, dtype=np.uint16)
    return sums


def _largest(dtype: np.dtype) -> int | None:
    """Give the largest magnitude of an integer type; None for other types."""
    if dtype.kind == "b":
        return 1
    if dtype.kind not in "iu":
        return None
    return max(-int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
