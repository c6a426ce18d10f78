"""Means of patches, exactly as numpy computes them in float64, and of integers several times as fast."""

import numpy as np

# Integers up to here are exact as float64, so that a sum of them does not depend on its order.
EXACT = 2**53

# Rows of bytes whose sum fits in 16 bits, which halves the memory that summing moves.
BYTE_ROWS = (2**16 - 1) // 255


def means(patches: np.ndarray, per_channel: bool) -> np.ndarray:
    """Give the mean of each patch, or of each channel of each patch.

    The result is exactly ``numpy.mean(..., dtype=float64)`` of the contiguous patch or channel: of floats in
    their own type finite pixels may add up to infinity. Integers are summed as integers, down the columns of
    all patches at once, which gives the same bits, since no sum is rounded.

    Parameters
    ----------
    patches : (n, height, width, channel) array
    per_channel : bool

    Returns
    -------
    (n, channel) float64 array
        (n, 1) unless `per_channel`.
    """
    count, channels = len(patches), patches.shape[3] if per_channel else 1
    size = patches[0].size // channels
    largest = _largest(patches.dtype)
    if largest is None or largest * size > EXACT:
        each = [
            np.mean(values, dtype=np.float64) for patch in patches for values in samples(patch, per_channel)
        ]
        return np.array(each, np.float64).reshape(count, channels)
    columns = _column_sums(patches, largest)
    return columns.reshape(count, -1, channels).sum(axis=1, dtype=np.int64) / size


def samples(patch: np.ndarray, per_channel: bool) -> np.ndarray:
    """Give the values of a patch as rows: one, or one a channel.

    Parameters
    ----------
    patch : (height, width, channel) array
    per_channel : bool

    Returns
    -------
    (channel, height * width) array
        (1, height * width * channel) unless `per_channel`; contiguous.
    """
    rows = patch.transpose(2, 0, 1) if per_channel else patch
    return np.ascontiguousarray(rows).reshape(patch.shape[2] if per_channel else 1, -1)


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
