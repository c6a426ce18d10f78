"""The distribution of all predictions of a run, counted image by image."""

import io
from collections import Counter
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from quadrat.results.predictions import Predictions

BINS = 40
MOST_NUMBERS = 8  # numbers of a prediction, each with a histogram of its own
MOST_LABELS = 20
COLOUR, INK, PALE = "#33638d", "#222222", "#8a8a8a"


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


def draw_distribution(distribution: Distribution) -> bytes:
    """Draw a distribution as a PNG; several numbers as small histograms side by side."""
    bars = bool(distribution.labels)
    count = 1 if bars else max(1, len(distribution.counts))
    cols = min(4, count)
    rows = -(-count // cols)
    size = (6.4, 0.6 + 0.27 * len(distribution.labels)) if bars else (max(6.4, 2.9 * cols), 2.3 * rows)
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8, "text.parse_math": False}):
        axes = figure.subplots(rows, cols, squeeze=False, sharex=True).flat
        for place, panel in enumerate(axes):
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(colors=PALE, labelcolor=INK, length=2)
            if bars:
                _draw_labels(panel, distribution)
            elif place < len(distribution.counts):
                _draw_histogram(panel, distribution, place)
            else:
                panel.set_axis_off()
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _draw_histogram(axes: Axes, distribution: Distribution, place: int) -> None:
    axes.stairs(distribution.counts[place], distribution.edges, fill=True, color=COLOUR)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelbottom=True)
    if len(distribution.counts) > 1:
        axes.set_title(f"prediction[{place}]", fontsize=8, color=INK)
    else:
        axes.set(xlabel="prediction", ylabel="patches")


def _draw_labels(axes: Axes, distribution: Distribution) -> None:
    names, counts = zip(*reversed(distribution.labels), strict=True)
    drawn = axes.barh([name[:40] for name in names], counts, color=COLOUR)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3, color=INK)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.set(xticks=[])
    axes.margins(x=0.15)


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return the first numbers of each prediction, as (n, k)."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))[:, :MOST_NUMBERS].astype(np.float64)
