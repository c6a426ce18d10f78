"""The display of predictions in a notebook: a table of the dictionary, a picture of an image."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

COLUMNS = ("filename", "patches", "prediction", "smallest", "largest")
# Okabe and Ito, Color Universal Design, 2008; grey for all further classes.
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
OTHER_COLOUR = "#777777"


class Line(NamedTuple):
    """A row of the table: one image.

    Attributes
    ----------
    filename : str
    patches : int
    prediction : str
        Type, and shape where a prediction is an array.
    smallest, largest : Any
        The smallest and the largest of all values; None if they are not known.
    """

    filename: str
    patches: int
    prediction: str
    smallest: Any
    largest: Any


def as_html(lines: list[Line], title: str, more: int) -> str:
    """Return the table as HTML; the text of a name or label is shown, never run.

    Parameters
    ----------
    lines : list of Line
    title : str
    more : int
        Number of images that the table leaves out.
    """
    head = "".join(f'<th style="text-align: left">{name}</th>' for name in COLUMNS)
    body = "".join(f"<tr>{''.join(_html_cell(value) for value in line)}</tr>" for line in lines)
    rest = f"<p>and {more:,} more images</p>" if more else ""
    return (
        f"<p>{html.escape(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
    )


def _html_cell(value: Any) -> str:
    align = "left" if isinstance(value, str) else "right"
    return f'<td style="text-align: {align}">{html.escape(_shown(value))}</td>'


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value + 0.0:.4g}"  # Parquet keeps a smallest zero as -0.0
    return f"{value:,}" if type(value) is int else str(value)


def class_colours(count: int) -> list[str]:
    """Assign a colour to each class."""
    return [CLASS_COLOURS[place] if place < len(CLASS_COLOURS) else OTHER_COLOUR for place in range(count)]


def class_legend(names: Sequence[str], counts: np.ndarray) -> list[tuple[str, str]]:
    """Return the entries of a legend as colours and texts: each class with its number of patches.

    All grey ones are one entry.
    """
    named = zip(CLASS_COLOURS, names, counts, strict=False)
    entries = [(colour, f"{name}: {count:,}") for colour, name, count in named]
    others = counts[len(entries) :]
    if len(others):
        entries.append((OTHER_COLOUR, f"{len(others)} other classes: {others.sum():,}"))
    return entries


def draw(cells: np.ndarray, extent: tuple[float, float, float, float], ax: "Axes") -> "Axes":
    """Draw predictions where they lie in the image; skipped patches stay empty.

    Parameters
    ----------
    cells : (rows, cols) array
        Numbers, NaN where skipped; or labels, None where skipped.
    extent : tuple of 4 float
        Left, right, bottom and top of all cells in level-0 pixels.
    ax : matplotlib.axes.Axes

    Returns
    -------
    matplotlib.axes.Axes
    """
    if cells.dtype == object:
        _draw_labels(cells, extent, ax)
    else:
        ax.figure.colorbar(_show(ax, cells.astype(float), extent), ax=ax, shrink=0.8, label="prediction")
    ax.set_xlabel("x (px)")
    ax.set_ylabel("y (px)")
    return ax


def _show(ax: "Axes", cells: np.ndarray, extent: tuple, **options: Any) -> "AxesImage":
    return ax.imshow(cells, extent=extent, interpolation="nearest", **options)


def _draw_labels(cells: np.ndarray, extent: tuple[float, float, float, float], ax: "Axes") -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    is_there = cells != None  # noqa: E711
    labels, codes, counts = np.unique(cells[is_there].astype(str), return_inverse=True, return_counts=True)
    coded = np.full(cells.shape, np.nan)
    coded[is_there] = codes
    colours = ListedColormap(class_colours(len(labels)))
    _show(ax, coded, extent, cmap=colours, vmin=-0.5, vmax=len(labels) - 0.5)
    # A dollar sign would start a formula.
    entries = class_legend([label.replace("$", r"\$") for label in labels], counts)
    handles = [Patch(color=colour, label=text) for colour, text in entries]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False)
