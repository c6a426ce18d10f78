"""Predictions as a column of Parquet, as numpy has them, and as nested lists."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    pass


def to_array(column: pa.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Return a column of predictions as an array.

    Parameters
    ----------
    column : (n,) array of scalars, or of lists of prod(shape) values
        Null where a patch was skipped; of type null where all were.
    shape : tuple of int
        Shape of a prediction.

    Returns
    -------
    (n, *shape) array
        Text is an array of objects. Where patches were skipped, text is None and numbers are NaN; integers
        and booleans are then float64.
    """
    predicted = column.drop_null()
    flat = predicted.flatten() if pa.types.is_nested(column.type) else predicted
    values = flat.to_numpy(zero_copy_only=False).reshape(len(predicted), *shape)
    if not column.null_count:
        return values
    is_text = pa.types.is_string(flat.type)
    if not is_text and values.dtype.kind != "f":
        values = values.astype(np.float64)
    whole = np.full((len(column), *shape), None if is_text else np.nan, values.dtype)
    whole[column.is_valid().to_numpy(zero_copy_only=False)] = values
    return whole


def lay_out(values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Lay out predictions in the shape of their grid.

    Parameters
    ----------
    values : (n, ...) array
        A prediction for each cell of the grid, in any order.
    rows, cols : (n,) int array
        Grid row and column of each.

    Returns
    -------
    (rows, cols, ...) array
    """
    laid_out = np.empty((rows.max() + 1, cols.max() + 1, *values.shape[1:]), values.dtype)
    laid_out[rows, cols] = values
    return laid_out


def nested(column: pa.ChunkedArray, shape: tuple[int, ...]) -> list[Any]:
    """Return a column of predictions as a list, nested where a prediction is an array.

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
