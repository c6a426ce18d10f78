"""Exact statistics: means that do not depend on the order of sums, and counts of values."""

from typing import NamedTuple

import numpy as np

# Integers up to this one are exact as float64, so that a sum of them does not depend on its order.
EXACT = 2**53

# Rows of bytes whose sum fits in 16 bits, which halves the memory that summing moves.
BYTE_ROWS = (2**16 - 1) // 255


def means(patches: np.ndarray, per_channel: bool) -> np.ndarray:
    """Return the mean of each patch, or of each channel of each patch.

    The result is exactly ``numpy.mean(..., dtype=float64)`` of the contiguous patch or channel, since finite
    floats may add up to infinity in their own type. Integers are summed as integers, down the columns of all
    patches at once, which gives the same bits, since no sum is rounded.

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
    """Return the values of a patch as rows: a single one, or one per channel.

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
    """Return the largest magnitude of an integer type; None for other types."""
    if dtype.kind == "b":
        return 1
    if dtype.kind not in "iu":
        return None
    return max(-int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


# Integers are counted if their smallest and largest value are closer than this.
MOST_VALUES = 2**16


class ValueCounts(NamedTuple):
    """The number of occurrences of each integer.

    Attributes
    ----------
    lowest : int
        The integer of the first count; the others follow it.
    counts : (k,) int64 array
    """

    lowest: int
    counts: np.ndarray


def count_values(sample: np.ndarray) -> ValueCounts | None:
    """Count the values of a sample.

    Parameters
    ----------
    sample : (n,) array

    Returns
    -------
    ValueCounts or None
        None if the values are not integers, or too far apart.
    """
    if sample.dtype.kind not in "biu" or sample.dtype.itemsize > 4:
        return None
    lowest, highest = int(sample.min()), int(sample.max())
    if highest - lowest >= MOST_VALUES:
        return None
    values = sample.astype(np.intp)
    if lowest:
        values -= lowest
    return ValueCounts(lowest, np.bincount(values))


def percentiles(sample: np.ndarray, counted: ValueCounts | None, percents: list[float]) -> np.ndarray:
    """Return percentiles, exactly as numpy.percentile of the values as float64.

    Parameters
    ----------
    sample : (n,) array
    counted : ValueCounts or None
        Of this sample.
    percents : list of float
        From 0 to 100.

    Returns
    -------
    (len(percents),) float array
    """
    if counted is None:
        return np.percentile(sample.astype(np.float64), percents)
    ranks = (len(sample) - 1) * (np.array(percents) / 100)
    below = np.floor(ranks)
    ends = np.cumsum(counted.counts)
    lower = counted.lowest + np.searchsorted(ends, below, side="right")
    upper = counted.lowest + np.searchsorted(ends, np.minimum(below + 1, len(sample) - 1), side="right")
    # Seen from the nearer neighbour, as numpy does: the last bit depends on it.
    share, step = ranks - below, upper - lower
    return np.where(share < 0.5, lower + step * share, upper - step * (1 - share))


def histogram(
    sample: np.ndarray, counted: ValueCounts | None, bins: int, ends: tuple[float, float]
) -> np.ndarray:
    """Return the counts of numpy.histogram of the values as float64.

    Parameters
    ----------
    sample : (n,) array
    counted : ValueCounts or None
        Of this sample.
    bins : int
    ends : tuple of 2 float
        Lower end of the first bin and upper end of the last; values outside are not counted.

    Returns
    -------
    (bins,) array
    """
    if counted is None:
        return np.histogram(sample.astype(np.float64), bins, ends)[0]
    values = np.arange(counted.lowest, counted.lowest + len(counted.counts), dtype=np.float64)
    return np.histogram(values, bins, ends, weights=counted.counts)[0]
