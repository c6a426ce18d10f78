"""Counts of values: percentiles and histograms of integers at a fraction of what sorting them takes."""

from typing import NamedTuple

import numpy as np

# Integers whose smallest and largest value lie closer than this are counted.
MOST_VALUES = 2**16


class ValueCounts(NamedTuple):
    """How often each integer occurs.

    Attributes
    ----------
    lowest : int
        The integer that the first count is of; the others follow it.
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
        None where values are no integers, or lie too far apart.
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
    """Give percentiles, exactly as numpy.percentile does of the values as float64.

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
    """Give the counts of numpy.histogram of the values as float64.

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
