"""Arrays of predictions: a column of the store as numpy has it, and laid out as the grid."""

import numpy as np
import pyarrow as pa


def to_array(column: pa.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Give a column of predictions as an array.

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
    """Give predictions the shape of their grid.

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
