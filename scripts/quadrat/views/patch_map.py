"""The map of one image's predictions: its grid as arrays, and the place where each patch is shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quadrat.results.schema import read_footer

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
        Why a patch has no prediction; empty where it has one.
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
        """The size of the image, width first as people say it."""
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
        """Ends of the scale of colours: 0 and 1 for shares and probabilities, else the extremes."""
        finite = self.values[np.isfinite(self.values)]
        if not finite.size or (finite.min() >= 0 and finite.max() <= 1):
            return 0.0, 1.0
        low, high = float(finite.min()), float(finite.max())
        return (low, high) if low < high else (low - 0.5, high + 0.5)


def read_patch_map(path: str) -> PatchMap | None:
    """Read the map of a versioned result; None where the image failed or has no patch.

    Raises
    ------
    ResultsError
        If the file is not a whole result.
    """
    footer, _ = read_footer(path)
    if not footer["rows"]:
        return None
    with pq.ParquetFile(path) as file:
        table = file.read(columns=COLUMNS)
    row, col, y, x, height, width = (
        table[name].to_numpy() for name in ("row", "col", "y", "x", "height", "width")
    )
    shape = (int(row.max()) + 1, int(col.max()) + 1)
    numbers, names, is_labels = _numbers(table["prediction"].combine_chunks(), footer)
    values = np.full((*shape, numbers.shape[1]), np.nan)
    values[row, col] = numbers
    skipped = np.full(shape, "", object)
    skipped[row, col] = [reason or "" for reason in table["skipped"].to_pylist()]
    image = footer["image"]
    return PatchMap(
        filename=footer["filename"],
        height=image["full_size"][0],
        width=image["full_size"][1],
        mpp=image["mpp"],
        plane=footer["plane"],
        ys=_along(row, y),
        heights=_along(row, height),
        xs=_along(col, x),
        widths=_along(col, width),
        values=values,
        names=names,
        is_labels=is_labels,
        skipped=skipped,
    )


def _along(index: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    along = np.zeros(int(index.max()) + 1, np.int64)
    along[index] = numbers
    return along


def _numbers(column: pa.Array, footer: dict[str, Any]) -> tuple[np.ndarray, tuple[str, ...], bool]:
    """Return predictions as (n, k) numbers, NaN where null; their names; and whether they are labels."""
    is_there = column.is_valid().to_numpy(zero_copy_only=False)
    some = column.drop_null()
    if pa.types.is_string(some.type) or pa.types.is_boolean(some.type):
        found = np.array(some.to_pylist(), object)
        names, codes = np.unique(found.astype(str), return_inverse=True)
        return _spread(codes[:, None], is_there), tuple(names), True
    if not pa.types.is_fixed_size_list(some.type):
        numbers = some.to_numpy(zero_copy_only=False).astype(np.float64)
        return _spread(numbers[:, None], is_there), ("prediction",), False
    flat = some.flatten().to_numpy(zero_copy_only=False).reshape(len(some), some.type.list_size)
    labels = footer["predictor"].get("labels")
    if not labels or len(labels) != flat.shape[1]:
        places = np.ndindex(*footer["prediction_shape"])
        labels = [f"prediction[{', '.join(map(str, place))}]" for place in places]
    return _spread(flat, is_there), tuple(map(str, labels)), False


def _spread(numbers: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    spread = np.full((len(is_there), numbers.shape[1]), np.nan)
    spread[is_there] = numbers
    return spread


def _spans(starts: np.ndarray, lengths: np.ndarray, end: int) -> np.ndarray:
    stops = np.minimum(starts + lengths, end)
    middles = (starts[1:] + stops[:-1]) // 2
    overlap = starts[1:] < stops[:-1]
    spans = np.stack([starts, stops], axis=1)
    spans[1:, 0] = np.where(overlap, middles, starts[1:])
    spans[:-1, 1] = np.where(overlap, middles, stops[:-1])
    return spans
