"""The scale of the colours of numbers, and the round values that mark it or an axis."""

import math

import numpy as np

# Each fifth colour of viridis (van der Walt and Smith, 2015), which the colour-blind can read, too.
FIFTHS = bytes.fromhex(
    "44015445085b470f62471669481d6f482374472a7946307d453681433c844142863e48883c4d8a3a538b37588c"
    "355d8c32628d30678d2e6c8e2c718e2a768e287a8e267f8e24848d23898d218d8c1f928c1e978a1e9b891ea087"
    "20a58523a98228ae7f2eb27c35b7783dbb7445bf6f4fc36959c76464cb5d70ce567cd24f88d54795d73fa2da37"
    "afdc2ebdde26cae01ed7e219e4e318f1e51cfde724"
)
# All of them, as (256, 3) uint8.
VIRIDIS = (
    np.stack(
        [np.interp(np.arange(256), np.arange(0, 256, 5), list(FIFTHS[one::3])) for one in range(3)], axis=1
    )
    .round()
    .astype(np.uint8)
)


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
