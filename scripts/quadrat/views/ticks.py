"""The round values that an axis or a scale of colours is marked with."""

import math


def round_ticks(low: float, high: float, most: int) -> dict[float, str]:
    """Return the multiples of a round step from `low` to `high`, with their texts.

    Parameters
    ----------
    low, high : float
        Finite, in this order.
    most : int
        Number of steps that are not exceeded.

    Returns
    -------
    dict of float to str
        Empty if the ends are too close for floating point.

    Examples
    --------
    >>> round_ticks(0, 4000, 4)
    {0.0: '0', 1000.0: '1,000', 2000.0: '2,000', 3000.0: '3,000', 4000.0: '4,000'}
    """
    shortest = high / most - low / most  # high - low may exceed the largest float
    if shortest < 1e-300:
        return {}
    power = 10.0 ** math.floor(math.log10(shortest))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power > 0.999 * shortest)
    steps = range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)
    return {place * step: f"{place * step:,.12g}" for place in steps}
