"""The dictionary of predictions, read one image at a time."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quadrat.errors import ResultsError
from quadrat.files.records import COUNT, SIZE, parse_footer
from quadrat.results.columns import as_numpy, flat_values, lay_out, nested, to_array, value_type
from quadrat.results.display import Line, as_html, draw
from quadrat.results.schema import FOOTER_KEY, GRID

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


# Images of the dictionary that a notebook shows.
MOST_SHOWN = 10

_PLACE = {
    "content_hash": (str, None),
    "prediction_shape": [SIZE],
    **dict.fromkeys(("row_group", "first_row", "rows"), COUNT),
    "grid": (..., GRID),
    "downsample": (..., [float, float]),
}
_DICTIONARY_FOOTER = {"images": {str: _PLACE}}


def open_predictions(path: str | Path) -> "Predictions":
    """Open the dictionary that a run made.

    Opening reads the file's footer only; a file of any size opens at once.

    Parameters
    ----------
    path : path
        A results folder, or the `predictions.parquet` in it.

    Returns
    -------
    Predictions

    Raises
    ------
    ResultsError
        If the dictionary does not exist, or quadrat did not write the file.
    """
    return Predictions(path)


class _Place(NamedTuple):
    """The place of an image's predictions in the file, and their type."""

    content_hash: str | None
    prediction_shape: list[int]
    row_group: int
    first_row: int
    rows: int
    # Earlier versions did not write these.
    grid: dict[str, int] | None = None
    downsample: tuple[float, float] | None = None


class Predictions(Mapping[str, list]):
    """A read-only mapping of filename to the list of its predictions, in row-major order of the grid.

    Parameters
    ----------
    path : path
        A results folder, or the `predictions.parquet` in it.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        self._path = path / "predictions.parquet" if path.is_dir() else path
        try:
            self._file = pq.ParquetFile(self._path)
            images = parse_footer(self._file.metadata.metadata[FOOTER_KEY], _DICTIONARY_FOOTER)["images"]
            self._places = {filename: _Place(**image) for filename, image in images.items()}
        except FileNotFoundError:
            raise ResultsError(f"{self._path}: no such file; run the workflow to its end first") from None
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise ResultsError(
                f"{self._path}: quadrat did not write this dictionary, or an earlier version did ({error}); "
                "run the workflow again"
            ) from error
        # The row group that was read last, and its columns; neighbouring images share it.
        self._last: tuple[tuple, pa.Table] | None = None

    def __getitem__(self, filename: str) -> list:
        column = self._read(filename, ["prediction"])["prediction"]
        return nested(column, self._shape(filename))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, filename: object) -> bool:
        return filename in self._places

    def __repr__(self) -> str:
        return f"<Predictions of {len(self):,} images in {self._path}>"

    def _repr_html_(self) -> str:
        shown = [self._line(filename) for filename in list(self)[:MOST_SHOWN]]
        title = f"Predictions of {len(self):,} images in {self._path}"
        return as_html(shown, title, len(self) - len(shown))

    def grid(self, filename: str) -> np.ndarray:
        """Return the predictions of one image in the shape of its grid.

        Parameters
        ----------
        filename : str

        Returns
        -------
        (rows, cols) or (rows, cols, ...) array
            NaN for a skipped patch; integers and booleans are float64 then. Labels are an array of objects,
            with None for a skipped patch.
        """
        row, col, values = self._read(filename, ["row", "col", "prediction"]).columns
        return lay_out(to_array(values, self._shape(filename)), as_numpy(row), as_numpy(col))

    def plot(self, filename: str, value: int | tuple[int, ...] = 0, ax: "Axes | None" = None) -> "Axes":
        """Draw the predictions of one image at their places in it.

        Parameters
        ----------
        filename : str
        value : int or tuple of int, optional
            The value to draw if a prediction is an array, counted from 0.
        ax : matplotlib.axes.Axes, optional
            The axes to draw on; new by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure(layout="constrained").add_subplot()
        cells = self.grid(filename)
        if self._shape(filename):
            cells = cells[(slice(None), slice(None), *np.atleast_1d(value))]
        ax.set_title(filename.replace("$", r"\$"))
        return draw(cells, self._extent(filename), ax)

    def to_pandas(self, filename: str) -> "pd.DataFrame":
        """Return the predictions of one image with their places.

        Parameters
        ----------
        filename : str

        Returns
        -------
        pandas.DataFrame
            One row per patch: row, col, prediction, y, x, height, width in level-0 pixels, and skipped, the
            reason why a patch has no prediction.
        """
        return self._read(filename).drop_columns(["filename"]).to_pandas()

    def to_dict(self) -> dict[str, list]:
        """Read all of it into memory.

        Returns
        -------
        dict of str to list
        """
        return {filename: self[filename] for filename in self}

    def arrays(self) -> Iterator[np.ndarray]:
        """Yield all predictions of patches that are not skipped, as arrays of some images that share a shape.

        Yields
        ------
        (n, ...) array
        """
        together = attrgetter("row_group", "prediction_shape")
        for (group, shape), places in groupby(self._places.values(), together):
            first, *others = places
            count = first.rows + sum(place.rows for place in others)
            column = self._row_group(group, ["prediction"])["prediction"].slice(first.first_row, count)
            yield to_array(column.drop_null(), tuple(shape))

    def _line(self, filename: str) -> Line:
        """Return the row of the table for one image."""
        place, shape = self._places[filename], self._shape(filename)
        kind = value_type(self._file.schema_arrow.field("prediction").type)
        if pa.types.is_string(kind):
            return Line(filename, place.rows, _kind_and_shape("label", shape), None, None)
        column = self._read(filename, ["prediction"])["prediction"]
        values = as_numpy(flat_values(column))
        values = values[values == values]  # NaN is not
        ends = (values.min().item(), values.max().item()) if values.size else (None, None)
        return Line(
            filename, place.rows, _kind_and_shape(np.dtype(kind.to_pandas_dtype()).name, shape), *ends
        )

    def _shape(self, filename: str) -> tuple[int, ...]:
        return tuple(self._places[filename].prediction_shape)

    def _extent(self, filename: str) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of all grid cells, in level-0 pixels.

        A cell is as large as the distance between patches, and lies in the middle of its patch.
        """
        grid, downsample = self._places[filename].grid, self._places[filename].downsample
        if grid is None or downsample is None:
            raise ResultsError(
                f"{self._path}: does not contain the grid of {filename}, since an earlier version wrote it; "
                "run the workflow again"
            )
        inset = (grid["patch_size"] - grid["stride"]) / 2
        (top, bottom), (left, right) = (
            (inset * scale, (inset + grid["stride"] * count) * scale)
            for count, scale in zip((grid["rows"], grid["cols"]), downsample, strict=True)
        )
        return left, right, bottom, top

    def _read(self, filename: str, columns: list[str] | None = None) -> pa.Table:
        place = self._places[filename]
        return self._row_group(place.row_group, columns).slice(place.first_row, place.rows)

    def _row_group(self, number: int, columns: list[str] | None) -> pa.Table:
        wanted = number, columns
        last = self._last
        if last is None or last[0] != wanted:
            last = self._last = wanted, self._file.read_row_group(number, columns=columns)
        return last[1]


def _kind_and_shape(kind: str, shape: tuple[int, ...]) -> str:
    return f"{kind}, {' x '.join(map(str, shape))}" if shape else kind
