"""Predictions as a column of Parquet, as numpy arrays, and as nested lists."""

from typing import Any

import numpy as np
import pyarrow as pa


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of each value of the predictions in a column; float64 if all patches were skipped."""
    if pa.types.is_null(kind):
        return pa.float64()
    return kind.value_type if pa.types.is_nested(kind) else kind


def flat_values(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the values of all predictions in a column, one after the other; skipped patches have none."""
    predicted = column.drop_null()
    if isinstance(predicted, pa.ChunkedArray):
        predicted = predicted.combine_chunks()
    return predicted.flatten() if pa.types.is_nested(predicted.type) else predicted


def as_numpy(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return values, none of them null, as a numpy array; text as objects.

    pyarrow's own conversion imports pandas first, which takes longer than the rest of a job of a small image.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_boolean(values.type):
        return np.from_dlpack(values.cast(pa.uint8())).astype(bool)
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return np.from_dlpack(values)
    return np.array(values.to_pylist(), object)


def to_array(column: pa.Array | pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a column of predictions as an array.

    Parameters
    ----------
    column : (n,) array of scalars, or of lists of prod(shape) values
        Null for a skipped patch; of type null if all were skipped.
    shape : tuple of int
        Shape of a prediction.

    Returns
    -------
    (n, *shape) array
        Text is an array of objects. For skipped patches, text is None and numbers are NaN; integers and
        booleans are then float64.
    """
    values = as_numpy(flat_values(column))
    values = values.reshape(len(column) - column.null_count, *shape)
    if not column.null_count:
        return values
    is_text = pa.types.is_string(value_type(column.type))
    if not is_text and values.dtype.kind != "f":
        values = values.astype(np.float64)
    whole = np.full((len(column), *shape), None if is_text else np.nan, values.dtype)
    whole[as_numpy(column.is_valid())] = values
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


def nested(column: pa.Array | pa.ChunkedArray, shape: tuple[int, ...]) -> list[Any]:
    """Return a column of predictions as a list, nested where a prediction is an array.

    Parameters
    ----------
    column : (n,) array of scalars, or of lists of prod(shape) values
    shape : tuple of int
        Shape of a prediction.

    Returns
    -------
    list
        n predictions, each a Python scalar or nested lists of the given shape; None for a skipped patch.
    """
    predictions = to_array(column.drop_null(), shape).tolist()
    if not column.null_count:
        return predictions
    following = iter(predictions)
    return [next(following) if is_there else None for is_there in column.is_valid().to_pylist()]
