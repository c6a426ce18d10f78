"""The picture of a map: the image, and beside it what was predicted for each of its patches."""

import os
import textwrap
from dataclasses import replace

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from quadrat.files.atomic import replacing
from quadrat.images.thumbnail import Thumbnail
from quadrat.results.display import class_colours, class_legend
from quadrat.views.patch_map import PatchMap

# Perceptually uniform, and safe for the colour-blind.
SCALE = "viridis"

MOST_PANELS = 8  # of a prediction of more numbers, the numbers with the largest means are shown
PANELS_A_ROW = 3
COVER = 0.72  # how much the predictions hide of the image under them
INK, PALE = "#222222", "#8a8a8a"
PANEL_INCHES = 4.2
DPI = 110


def draw_map(
    patch_map: PatchMap,
    thumbnail: Thumbnail,
    path: str | os.PathLike,
    results: str | os.PathLike | None = None,
) -> None:
    """Draw an image and its predictions as a PNG.

    Numbers are drawn on a scale of colours, labels as classes with a legend, and predictions of several
    numbers as a panel for each. Skipped patches are hatched; a patch whose prediction is not a finite
    number is left as the image shows it.

    Parameters
    ----------
    patch_map : PatchMap
    thumbnail : Thumbnail
        Of the same image.
    path : path
        The PNG to write.
    results : path, optional
        The results folder that it is in; see `quadrat.files.atomic.replacing`.
    """
    shown = panels(patch_map)
    cols = min(PANELS_A_ROW, 1 + len(shown))
    rows = -(-(1 + len(shown)) // cols)
    figure = Figure(figsize=_size(patch_map, rows, cols), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.parse_math": False}):
        first, *others = figure.subplots(rows, cols, squeeze=False).flat
        _picture(first, patch_map, thumbnail)
        for panel in others[len(shown) :]:
            panel.set_axis_off()
        _predictions(figure, others[: len(shown)], patch_map, thumbnail)
        figure.suptitle(_title(patch_map, len(shown)), fontsize=11, color=INK)
        with replacing(path, results) as temporary:
            figure.savefig(
                temporary, format="png", bbox_inches="tight", pad_inches=0.15, metadata={"Software": None}
            )


def panels(patch_map: PatchMap) -> list[int]:
    """Return the places of the numbers of a prediction that have a panel of their own."""
    count = patch_map.values.shape[2]
    if count <= MOST_PANELS:
        return list(range(count))
    finite = np.where(np.isfinite(patch_map.values), patch_map.values, 0)
    largest = np.argsort(-finite.mean(axis=(0, 1)), kind="stable")[:MOST_PANELS]
    return sorted(largest.tolist())


def _size(patch_map: PatchMap, rows: int, cols: int) -> tuple[float, float]:
    tall = np.clip(patch_map.height / patch_map.width, 0.25, 3)
    width = PANEL_INCHES / max(1, tall / 1.4)
    return cols * width + 0.9, rows * (width * tall + 0.35) + 0.7


def _title(patch_map: PatchMap, shown: int) -> str:
    name = patch_map.name if len(patch_map.name) <= 90 else f"…{patch_map.name[-89:]}"
    count = patch_map.values.shape[2]
    return name if shown == count else f"{name}: {shown} of {count} numbers, those with the largest means"


def _picture(axes: Axes, patch_map: PatchMap, thumbnail: Thumbnail) -> None:
    axes.imshow(thumbnail.pixels, extent=_extent(thumbnail), interpolation="antialiased")
    axes.set(xlim=(0, patch_map.width), ylim=(patch_map.height, 0))
    axes.tick_params(colors=PALE, labelsize=7, length=2)
    axes.locator_params(nbins=4)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[:].set_visible(False)
    title = textwrap.fill(thumbnail.problem, 50) or patch_map.size_text
    axes.set_title(title, fontsize=10, color=INK)


def _extent(thumbnail: Thumbnail) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of a picture in level-0 pixels; it may reach past the image."""
    height, width = thumbnail.pixels.shape[:2]
    down, across = thumbnail.steps
    return 0, width * across, height * down, 0


def _pale(pixels: np.ndarray) -> np.ndarray:
    """Return a light grey picture, on which colours stay distinct."""
    grey = pixels @ np.array([0.299, 0.587, 0.114])  # luma, ITU-R BT.601
    return np.repeat((90 + grey * 165 / 255)[..., None], 3, axis=2).astype(np.uint8)


def _predictions(figure: Figure, axes: list[Axes], patch_map: PatchMap, thumbnail: Thumbnail) -> None:
    """Draw the panels of the predictions, and what their colours mean."""
    scale, pale = _scale(patch_map), _pale(thumbnail.pixels)
    for panel, place in zip(axes, panels(patch_map), strict=True):
        pixels = _laid_over(pale, patch_map, place, scale, thumbnail.steps)
        _picture(panel, patch_map, replace(thumbnail, pixels=pixels))
        _hatch(panel, patch_map)
        panel.set(xticks=[], yticks=[])
        panel.set_title("prediction" if patch_map.is_labels else patch_map.names[place], fontsize=10)
    if patch_map.is_labels:
        _legend(figure, patch_map)
    else:
        bar = figure.colorbar(scale, ax=axes, shrink=0.85, pad=0.02, aspect=28, alpha=COVER)
        bar.outline.set_visible(False)


def _scale(patch_map: PatchMap) -> ScalarMappable:
    if patch_map.is_labels:
        count = len(patch_map.names)
        return ScalarMappable(Normalize(-0.5, count - 0.5), ListedColormap(class_colours(count)))
    return ScalarMappable(Normalize(*patch_map.limits), SCALE)


def _laid_over(
    pale: np.ndarray, patch_map: PatchMap, place: int, scale: ScalarMappable, steps: tuple[float, float]
) -> np.ndarray:
    """Lay predictions over a picture, each where its patch is."""
    rows = _grid_index(patch_map.row_spans, pale.shape[0], steps[0])
    cols = _grid_index(patch_map.col_spans, pale.shape[1], steps[1])
    colours = scale.to_rgba(patch_map.values[..., place], bytes=True)[..., :3]
    is_shown = np.isfinite(patch_map.values[..., place])
    cells = np.ix_(np.maximum(rows, 0), np.maximum(cols, 0))
    is_covered = (rows >= 0)[:, None] & (cols >= 0) & is_shown[cells]
    covered = COVER * colours[cells].astype(np.float32) + (1 - COVER) * pale
    return np.where(is_covered[..., None], covered, pale).astype(np.uint8)


def _grid_index(spans: np.ndarray, pixels: int, step: float) -> np.ndarray:
    """Return the grid row, or column, at the middle of each row of pixels of a picture; -1 where none is."""
    at = (np.arange(pixels) + 0.5) * step
    index = np.searchsorted(spans[:, 0], at, side="right") - 1
    return np.where((index >= 0) & (at < spans[np.maximum(index, 0), 1]), index, -1)


def _hatch(axes: Axes, patch_map: PatchMap) -> None:
    """Hatch skipped patches, neighbours of a row in one piece."""
    rows, cols = patch_map.row_spans, patch_map.col_spans
    is_skipped = np.pad(patch_map.skipped != "", ((0, 0), (1, 1)))
    edges = np.diff(is_skipped.astype(np.int8), axis=1)
    for (row, first), (_, last) in zip(np.argwhere(edges == 1), np.argwhere(edges == -1), strict=True):
        left, right, (top, bottom) = cols[first, 0], cols[last - 1, 1], rows[row]
        axes.add_patch(
            Rectangle(
                (left, top), right - left, bottom - top, fill=False, hatch="////", linewidth=0, color=PALE
            )
        )


def _legend(figure: Figure, patch_map: PatchMap) -> None:
    numbers = patch_map.values[np.isfinite(patch_map.values)].astype(int)
    handles = class_legend(patch_map.names, np.bincount(numbers, minlength=len(patch_map.names)))
    figure.legend(handles=handles, loc="outside right center", frameon=False, title="patches")
