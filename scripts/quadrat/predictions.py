"""The dictionary of predictions, read one image at a time."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quadrat.errors import ResultsError
from quadrat.store import FOOTER_KEY

if TYPE_CHECKING:
    import pandas as pd


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
        If there is no dictionary, or the file is not one of quadrat's.
    """
    return Predictions(path)


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
            images = json.loads(self._file.metadata.metadata[FOOTER_KEY])["images"]
        except FileNotFoundError:
            raise ResultsError(f"{self._path}: no such file; has the workflow run to its end?") from None
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"{self._path}: is not a dictionary of quadrat's: {error}") from error
        self._shapes = {filename: tuple(image["prediction_shape"]) for filename, image in images.items()}
        self._row_groups = {filename: index for index, filename in enumerate(images)}

    def __getitem__(self, filename: str) -> list:
        column = self._read(filename, ["prediction"])["prediction"]
        return nested(column, self._shapes[filename])

    def __iter__(self) -> Iterator[str]:
        return iter(self._row_groups)

    def __len__(self) -> int:
        return len(self._row_groups)

    def __contains__(self, filename: object) -> bool:
        return filename in self._row_groups

    def __repr__(self) -> str:
        return f"<Predictions of {len(self):,} images in {self._path}>"

    def to_pandas(self, filename: str) -> "pd.DataFrame":
        """Give the predictions of one image with their places.

        Parameters
        ----------
        filename : str

        Returns
        -------
        pandas.DataFrame
            A row a patch: row, col, prediction, y, x, height, width in level-0 pixels, and skipped, why
            a patch has no prediction.
        """
        return self._read(filename).drop_columns(["filename"]).to_pandas()

    def to_dict(self) -> dict[str, list]:
        """Read all of it into memory.

        Returns
        -------
        dict of str to list
        """
        return {filename: self[filename] for filename in self}

    def _read(self, filename: str, columns: list[str] | None = None) -> pa.Table:
        return self._file.read_row_group(self._row_groups[filename], columns=columns)


def nested(column: pa.ChunkedArray, shape: tuple[int, ...]) -> list[Any]:
    """Give a column of predictions as a list, nested where a prediction is an array.

    Parameters
    ----------
    column : (n,) array of scalars, or of lists of prod(shape) values
    shape : tuple of int
        Shape of a prediction.

    Returns
    -------
    list
        n predictions, each a Python scalar or nested lists of the given shape.
    """
    if len(shape) > 1 and not column.null_count:
        values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.reshape(-1, *shape).tolist()
    if len(shape) > 1:
        return [None if row is None else np.reshape(row, shape).tolist() for row in column.to_pylist()]
    if shape == () and not column.null_count and not pa.types.is_string(column.type):
        return column.to_numpy().tolist()  # several times as fast as to_pylist
    return column.to_pylist()
