"""The distribution of all predictions of a run, counted image by image."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment

from quadrat.results.predictions import Predictions
from quadrat.views.scale import round_ticks

BINS = 40
MOST_NUMBERS = 8  # numbers of a prediction, each with a histogram of its own
MOST_LABELS = 20

TEMPLATES = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
HISTOGRAMS = TEMPLATES.from_string("""\
{% for panel in panels %}
<svg role="img" aria-label="How often predictions have which values" class="distribution"
  width="{{ width + 80 }}" height="{{ height + 60 }}" viewBox="-60 -22 {{ width + 80 }} {{ height + 60 }}">
<text y="-8">{{ panel.title or "patches" }}</text>
<path d="{{ panel.outline }}"/>
<path class="axis" d="M0 0V{{ height }}H{{ width }}"/>
{% for x, text in panel.x_ticks %}
<path class="axis" d="M{{ x }} {{ height }}v4"/>
<text x="{{ x }}" y="{{ height + 17 }}" class="middle">{{ text }}</text>
{% endfor %}
{% for y, text in panel.y_ticks %}
<path class="axis" d="M0 {{ y }}h-4"/>
<text x="-8" y="{{ y + 4 }}" class="end">{{ text }}</text>
{% endfor %}
{% if not panel.title %}
<text x="{{ width }}" y="{{ height + 34 }}" class="end">prediction</text>
{% endif %}
</svg>
{% endfor %}
""")
LABELS = TEMPLATES.from_string("""\
<svg role="img" aria-label="How often predictions have which labels" class="distribution"
  width="760" height="{{ labels | length * 24 }}" viewBox="0 0 760 {{ labels | length * 24 }}">
{% for name, count in labels %}
<text x="290" y="{{ loop.index * 24 - 8 }}" class="end">{{ name[:40] }}</text>
<path d="M300 {{ loop.index * 24 - 20 }}h{{ 360 * count / most }}v16H300Z"/>
<text x="{{ 308 + 360 * count / most }}" y="{{ loop.index * 24 - 8 }}">{{ "{:,}".format(count) }}</text>
{% endfor %}
</svg>
""")


@dataclass(frozen=True)
class Distribution:
    """The frequencies of the values of predictions.

    Attributes
    ----------
    edges : (BINS + 1,) float array
        Of the bins of all histograms; empty if predictions are labels.
    counts : (k, BINS) int array
        Finite values in each bin, for each of the first numbers of a prediction.
    labels : tuple of (str, int)
        The most frequent labels with their counts; empty if predictions are numbers.
    """

    edges: np.ndarray
    counts: np.ndarray
    labels: tuple[tuple[str, int], ...]


def count_predictions(predictions: Predictions) -> Distribution:
    """Count the predictions in a dictionary, a row group of it in memory at a time.

    Parameters
    ----------
    predictions : Predictions

    Returns
    -------
    Distribution
    """
    tally: Counter[str] = Counter()
    low, high = np.inf, -np.inf
    for values in predictions.arrays():
        if values.dtype == object or (values.dtype == bool and values.ndim == 1):
            tally.update(map(str, values.ravel().tolist()))
        else:
            numbers = _numbers(values)
            finite = numbers[np.isfinite(numbers)]
            low, high = min(low, finite.min(initial=low)), max(high, finite.max(initial=high))
    if tally:
        return Distribution(np.empty(0), np.empty((0, BINS), int), tuple(tally.most_common(MOST_LABELS)))
    edges = np.histogram_bin_edges([], BINS, (low, high) if low <= high else (0, 1))
    counts = np.zeros((MOST_NUMBERS, BINS), int)
    most = 0
    for values in predictions.arrays():
        for place, numbers in enumerate(_numbers(values).T):
            counts[place] += np.histogram(numbers[np.isfinite(numbers)], edges)[0]
            most = max(most, place + 1)
    return Distribution(edges, counts[:most], ())


def draw_distribution(distribution: Distribution) -> str:
    """Draw a distribution as SVG in HTML: a histogram of each number, or a bar for each label."""
    if distribution.labels:
        return LABELS.render(labels=distribution.labels, most=distribution.labels[0][1])
    several = len(distribution.counts) > 1
    width, height = (250, 130) if several else (560, 190)
    panels = [
        _histogram(counts, distribution.edges, f"prediction[{place}]" if several else "", width, height)
        for place, counts in enumerate(distribution.counts)
    ]
    return HISTOGRAMS.render(panels=panels, width=width, height=height)


def _histogram(counts: np.ndarray, edges: np.ndarray, title: str, width: int, height: int) -> dict[str, Any]:
    """Return the outline of a histogram, and its ticks with their texts, in pixels."""
    low, high, most = float(edges[0]), float(edges[-1]), max(1, int(counts.max()))
    across = np.interp(edges, (low, high), (0, width)).tolist()
    down = np.interp(counts, (0, most), (height, 0)).tolist()
    steps = (f"V{y:.1f}H{x:.1f}" for x, y in zip(across[1:], down, strict=True))
    return {
        "title": title,
        "outline": f"M0 {height}{''.join(steps)}V{height}Z",
        "x_ticks": [
            (np.interp(x, (low, high), (0, width)), text) for x, text in round_ticks(low, high, 5).items()
        ],
        "y_ticks": [
            (np.interp(y, (0, most), (height, 0)), text)
            for y, text in round_ticks(0, most, 4).items()
            if y.is_integer()
        ],
    }


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return the first numbers of each prediction, as (n, k)."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))[:, :MOST_NUMBERS].astype(np.float64)
