"""The distribution of all predictions of a run, counted image by image."""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BINS = 40
MOST_NUMBERS = 8  # numbers of a prediction, each with a histogram of its own
MOST_LABELS = 20
COLOUR, INK, PALE = "#33638d", "#222222", "#8a8a8a"


@dataclass(frozen=True)
class Distribution:
    """How often predictions have which values.

    Attributes
    ----------
    edges : (BINS + 1,) float array
        Of the bins of all histograms; empty where predictions are labels.
    counts : (k, BINS) int array
        Finite values in each bin, for each of the first numbers of a prediction.
    labels : tuple of (str, int)
        The most frequent labels with their counts; empty where predictions are numbers.
    """

    edges: np.ndarray
    counts: np.ndarray
    labels: tuple[tuple[str, int], ...]


def count_predictions(path: str) -> Distribution:
    """Count the predictions in a dictionary, holding those of one image at a time.

    Parameters
    ----------
    path : str
        The merged Parquet.

    Returns
    -------
    Distribution
    """
    with pq.ParquetFile(path) as file:
        kind = file.schema_arrow.field("prediction").type
        if pa.types.is_string(kind) or pa.types.is_boolean(kind):
            tally: Counter[str] = Counter()
            for column in _columns(file):
                tally.update(str(value) for value in column.drop_null().to_pylist())
            return Distribution(np.empty(0), np.empty((0, BINS), int), tuple(tally.most_common(MOST_LABELS)))
        edges = _edges(file)
        counts = [
            [np.histogram(values[np.isfinite(values)], edges)[0] for values in numbers.T]
            for numbers in _numbers(file)
        ]
    return Distribution(edges, np.sum(counts, axis=0, dtype=int) if counts else np.zeros((0, BINS), int), ())


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


def _columns(file: pq.ParquetFile) -> Iterator[pa.ChunkedArray]:
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns=["prediction"])["prediction"]


def _numbers(file: pq.ParquetFile) -> Iterator[np.ndarray]:
    """Yield the first numbers of the predictions of each image, as (n, k)."""
    for column in _columns(file):
        some = column.drop_null().combine_chunks()
        if pa.types.is_fixed_size_list(some.type):
            flat = some.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            yield flat.reshape(len(some), some.type.list_size)[:, :MOST_NUMBERS]
        else:
            yield some.to_numpy(zero_copy_only=False).astype(np.float64)[:, None]


def _edges(file: pq.ParquetFile) -> np.ndarray:
    low, high = np.inf, -np.inf
    for numbers in _numbers(file):
        finite = numbers[np.isfinite(numbers)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        low, high = 0.0, 1.0
    return np.histogram_bin_edges([], BINS, (low, high))
