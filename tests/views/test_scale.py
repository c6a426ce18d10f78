import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.views.scale import VIRIDIS, round_ticks


@pytest.mark.parametrize(
    ("low", "high", "most", "texts"),
    [
        (0, 1, 5, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (-3, 7, 5, ["-2", "0", "2", "4", "6"]),
        (0, 12_000, 4, ["0", "5,000", "10,000"]),
        (0, 10, 4, ["0", "2.5", "5", "7.5", "10"]),
        (-1e-6, 2e-5, 3, ["0", "1e-05", "2e-05"]),
        (1e16, 1e16, 4, []),
    ],
)
def test_ticks_are_round(low, high, most, texts):
    assert [*round_ticks(low, high, most).values()] == texts


@given(st.floats(-1e300, 1e300, allow_subnormal=False), st.floats(1e-6, 1e300), st.integers(1, 8))
def test_ticks_lie_between_the_ends_evenly_and_are_few(low, span, most):
    high = low + span
    ticks = np.array([*round_ticks(low, high, most)])
    slack = 1e-5 * (high - low)
    assert len(ticks) <= most + 1
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    if len(ticks) > 2 and span > 1e-6 * abs(low):
        steps = np.diff(ticks)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-3)


def test_scale_of_colours_is_that_of_matplotlib():
    colours = np.array(mpl.colormaps["viridis"].colors) * 255
    assert np.abs(VIRIDIS - colours).max() < 1.6
