"""The map of one image's predictions: its grid as arrays, and the place where each patch is shown."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from quadrat.results.columns import as_numpy, lay_out, to_array
from quadrat.results.result import Result, read_result

COLUMNS = ["row", "col", "prediction", "y", "x", "height", "width", "skipped"]


@dataclass(frozen=True)
class PatchMap:
    """The predictions of one image, by grid row and column.

    Attributes
    ----------
    filename : str
    height, width : int
        Size of the image in level-0 pixels.
    mpp : tuple of 2 float or None
        Micrometres per level-0 pixel along y and x.
    plane : dict of str to int, or None
        The plane that was read.
    ys, heights : (rows,) int array
        Top and height of the patches of each grid row, in level-0 pixels.
    xs, widths : (cols,) int array
        Left and width of the patches of each grid column, in level-0 pixels.
    values : (rows, cols, k) float64 array
        Numbers of each prediction, or of each label its place in `names`; NaN where there is none.
    names : tuple of str
        Of the k numbers; of the classes where predictions are labels.
    is_labels : bool
        Whether predictions are labels.
    skipped : (rows, cols) object array
        Why a patch has no prediction; empty if it has one.
    """

    filename: str
    height: int
    width: int
    mpp: tuple[float, float] | None
    plane: dict[str, int] | None
    ys: np.ndarray
    heights: np.ndarray
    xs: np.ndarray
    widths: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    is_labels: bool
    skipped: np.ndarray

    @property
    def name(self) -> str:
        """The filename as text that can be written, whatever its bytes are."""
        return self.filename.encode("utf-8", "replace").decode()

    @property
    def size_text(self) -> str:
        """The size of the image, width first, as is usual."""
        text = f"{self.width:,} x {self.height:,} px"
        if self.mpp is None:
            return text
        height, width = (
            size * mpp / 1000 for size, mpp in zip((self.height, self.width), self.mpp, strict=True)
        )
        return f"{text}, {width:,.3g} x {height:,.3g} mm"

    @property
    def row_spans(self) -> np.ndarray:
        """Top and bottom of what each grid row is shown on, as (rows, 2): neighbours that overlap share."""
        return _spans(self.ys, self.heights, self.height)

    @property
    def col_spans(self) -> np.ndarray:
        """Left and right of what each grid column is shown on, as (cols, 2)."""
        return _spans(self.xs, self.widths, self.width)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the scale of colours: 0 and 1 for shares and probabilities, otherwise the extremes."""
        finite = self.values[np.isfinite(self.values)]
        if not finite.size or (finite.min() >= 0 and finite.max() <= 1):
            return 0.0, 1.0
        low, high = float(finite.min()), float(finite.max())
        return (low, high) if low < high else (low - 0.5, high + 0.5)


def read_patch_map(path: str) -> PatchMap | None:
    """Read the map of a versioned result; None if the image failed or has no patch.

    Raises
    ------
    ResultsError
        If the file is not a whole result.
    """
    result = read_result(path)
    if result.status != "ok":
        return None
    table = result.read(COLUMNS)
    row, col, y, x, height, width = (
        as_numpy(table[name]) for name in ("row", "col", "y", "x", "height", "width")
    )
    numbers, names, is_labels = _numbers(table["prediction"], result)
    skipped = np.array([reason or "" for reason in table["skipped"].to_pylist()], object)
    return PatchMap(
        filename=result.filename,
        height=result.image["full_size"][0],
        width=result.image["full_size"][1],
        mpp=result.image["mpp"],
        plane=result.plane,
        ys=_along(row, y),
        heights=_along(row, height),
        xs=_along(col, x),
        widths=_along(col, width),
        values=lay_out(numbers, row, col),
        names=names,
        is_labels=is_labels,
        skipped=lay_out(skipped, row, col),
    )


def _along(index: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    along = np.zeros(int(index.max()) + 1, np.int64)
    along[index] = numbers
    return along


def _numbers(column: pa.ChunkedArray, result: Result) -> tuple[np.ndarray, tuple[str, ...], bool]:
    """Return predictions as (n, k) numbers, NaN where null; their names; and whether they are labels."""
    values = to_array(column.drop_null(), result.shape)
    values = values.reshape(len(values), int(np.prod(result.shape)))
    is_labels = result.is_text or (values.dtype == bool and not result.shape)
    names = result.labels or result.names
    if is_labels:
        found, codes = np.unique(values.astype(str), return_inverse=True)
        names, values = tuple(found.tolist()), codes.reshape(values.shape)
    elif not result.shape:
        names = ("prediction",)
    elif len(names) != values.shape[1]:
        names = tuple(f"prediction[{', '.join(map(str, place))}]" for place in np.ndindex(*result.shape))
    numbers = np.full((len(column), values.shape[1]), np.nan)
    numbers[as_numpy(column.is_valid())] = values
    return numbers, names, is_labels


def _spans(starts: np.ndarray, lengths: np.ndarray, end: int) -> np.ndarray:
    stops = np.minimum(starts + lengths, end)
    middles = (starts[1:] + stops[:-1]) // 2
    overlap = starts[1:] < stops[:-1]
    spans = np.stack([starts, stops], axis=1)
    spans[1:, 0] = np.where(overlap, middles, starts[1:])
    spans[:-1, 1] = np.where(overlap, middles, stops[:-1])
    return spans
