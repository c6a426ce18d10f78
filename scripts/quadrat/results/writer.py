"""The writer of results: one Parquet per image, row group by row group."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np

from quadrat.errors import PredictorError
from quadrat.files.atomic import replacing
from quadrat.grid import Window
from quadrat.results.schema import FOOTER_KEY, GRID_COLUMNS, PIXEL_COLUMNS, ROW_GROUP_ROWS

# numpy's kinds of dtypes whose own names say little.
KINDS = {"U": "text", "S": "bytes", "V": "records", "M": "dates", "m": "durations"}

# Imported when the first rows are written: by then the pixels of most images need no more memory, and the job
# takes 30 MB less.
if TYPE_CHECKING:
    import pyarrow as pa


class PredictionWriter:
    """Writes the Parquet of one image row group by row group; a context manager.

    The file appears under its name only when `close` has written the footer.

    Parameters
    ----------
    path : path
        File to write.
    results : path, optional
        The results folder that it is in; see `replacing`.
    """

    def __init__(self, path: str | os.PathLike, results: str | os.PathLike | None = None):
        self._replacing = replacing(path, results)
        self._rows: list[tuple] = []
        # For each row, the reason why it has no prediction, or None.
        self._reasons: list[str | None] = []
        self._predictions: list[np.ndarray] = []
        self._writer: Any = None
        # Empty, of the dtype and shape of all predictions so far.
        self._like: np.ndarray | None = None
        # Dtypes of numbers in the order in which they came: numpy's common dtype depends on the order.
        self._dtypes: dict[str, None] = {}

    def __enter__(self) -> "PredictionWriter":
        self._temporary = self._replacing.__enter__()
        return self

    def __exit__(self, *exc_info) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
        except BaseException:
            self._replacing.__exit__(*sys.exc_info())
            raise
        self._replacing.__exit__(*exc_info)

    def append(
        self,
        positions: list[tuple[int, int, Window]],
        predictions: np.ndarray,
        reasons: Sequence[str | None] | None = None,
    ) -> None:
        """Add some patches with their predictions.

        Parameters
        ----------
        positions : list of (row, col, Window)
            Grid row, grid column, and window in level-0 pixels of each patch.
        predictions : (n, ...) array
            A prediction for each patch that is not skipped; all of an image have one shape. Numbers of
            several dtypes are stored as a dtype that fits them all.
        reasons : sequence of (str or None), optional
            Why each patch is skipped; None for a patch that is not. By default no patch is.

        Raises
        ------
        PredictorError
            If they cannot be stored, or not together with earlier predictions.
        """
        require_storable(predictions)
        if self._like is None:
            self._like = predictions[:0]
        joined = _common_array(self._like, predictions)
        if joined is None:
            row, col, _ = positions[(reasons or [None]).index(None)]
            raise PredictorError(
                f"patch row {row}, col {col}: the prediction is {_type_and_shape(predictions)}, "
                f"but earlier ones are {_type_and_shape(self._like)}; "
                "return one type and shape for all patches"
            )
        if predictions.dtype.kind != "U":
            self._dtypes[predictions.dtype.name] = None
        is_wider = joined.dtype.kind != "U" and joined.dtype != self._like.dtype
        self._like = joined
        if is_wider and self._writer is not None:
            self._write_anew()
        # A copy, since a predictor may return a view of the batch it was given.
        self._predictions.append(predictions.copy())
        self._add(positions, reasons or [None] * len(positions))

    def skip(self, positions: list[tuple[int, int, Window]], reasons: Sequence[str | None]) -> None:
        """Add patches that have no prediction.

        Parameters
        ----------
        positions : list of (row, col, Window)
            Grid row, grid column, and window in level-0 pixels of each patch.
        reasons : sequence of str
            Why each is skipped.
        """
        self._add(positions, reasons)

    def _add(self, positions: list[tuple[int, int, Window]], reasons: Sequence[str | None]) -> None:
        self._rows += [(row, col, *window) for row, col, window in positions]
        self._reasons += reasons
        # The type of predictions is not known before the first one.
        while len(self._rows) >= ROW_GROUP_ROWS and self._like is not None:
            self._flush(ROW_GROUP_ROWS)

    def finish(self, footer: dict[str, Any]) -> None:
        """Write the remaining rows, and the footer.

        Parameters
        ----------
        footer : dict
            The inputs of the result, in JSON's types.
        """
        if self._rows or self._writer is None:
            self._flush(len(self._rows))
        shape = () if self._like is None else self._like.shape[1:]
        if "grid_rows" in footer:  # of a shard
            footer = footer | {"dtypes": [*self._dtypes]}
        text = json.dumps(footer | {"prediction_shape": shape}, sort_keys=True)
        self._writer.add_key_value_metadata({FOOTER_KEY: text.encode()})

    def _flush(self, count: int) -> None:
        """Write a row group of the first rows."""
        rows, self._rows = self._rows[:count], self._rows[count:]
        reasons, self._reasons = self._reasons[:count], self._reasons[count:]
        predictions = []
        if self._like is not None:
            # If all rows are of skipped patches, they have no predictions, but a type.
            held = [self._like, *self._predictions]
            values = np.concatenate([array.astype(self._like.dtype, copy=False) for array in held])
            written, left = np.split(values, [reasons.count(None)])
            predictions, self._predictions = [written], [left]
        self._write(_table(rows, predictions, reasons))

    def _write(self, table: "pa.Table") -> None:
        import pyarrow.parquet as pq

        if self._writer is None:
            self._writer = pq.ParquetWriter(self._temporary, table.schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))

    def _write_anew(self) -> None:
        """Write all row groups again, in a type that also holds the predictions that follow."""
        import pyarrow.parquet as pq

        assert self._like is not None
        schema = _table([], [self._like], []).schema
        self._writer.close()
        self._writer = None
        with TemporaryFile() as before:
            with self._temporary.open("rb") as file:
                shutil.copyfileobj(file, before)
            narrow = pq.ParquetFile(before)
            for group in range(narrow.num_row_groups):
                # An integer may lose digits here, as it does among floats of one row group.
                self._write(narrow.read_row_group(group).cast(schema, safe=False))


def require_storable(predictions: np.ndarray) -> None:
    """Raise a PredictorError if predictions cannot be stored."""
    kind = predictions.dtype.kind
    if kind == "f" and predictions.dtype.itemsize > 8:
        raise PredictorError(f"predictions are {predictions.dtype}; return float64")
    if kind not in "biufU" or 0 in predictions.shape[1:]:
        what = _type_and_shape(predictions)
        if kind == "O":
            others = [one for one in predictions.flat if not isinstance(one, int | float | str)]
            has_text = any(isinstance(one, str) for one in predictions.flat)
            what = "strings beside numbers" if has_text else "integers of more than 64 bits"
            if others:
                what = "None" if others[0] is None else f"of type {type(others[0]).__name__}"
        elif 0 in predictions.shape[1:]:
            what = f"empty: {what}"
        raise PredictorError(
            f"predictions are {what}; return numbers, booleans or strings, or arrays of them"
        )


def write_failure(output: PredictionWriter, footer: dict[str, Any], failure: dict[str, str]) -> None:
    """Write an empty result with the reason why its image could not be predicted.

    Parameters
    ----------
    output : PredictionWriter
        Not yet entered.
    footer : dict
        The known properties of the image and the inputs of the result.
    failure : dict of str to str
        `kind`, `message` and `hint`.
    """
    with output as writer:
        writer.finish(footer | {"failure": failure})


def _table(rows: list[tuple], predictions: list[np.ndarray], reasons: list[str | None]) -> "pa.Table":
    import pyarrow as pa

    types = GRID_COLUMNS | PIXEL_COLUMNS
    cells = np.array(rows, np.int64).reshape(-1, len(types)).T
    arrays = {name: _array(cell.astype(types[name])) for name, cell in zip(types, cells, strict=True)}
    return pa.table(
        {
            **{name: arrays[name] for name in GRID_COLUMNS},
            "prediction": _with_nulls(_prediction_array(predictions), reasons),
            **{name: arrays[name] for name in PIXEL_COLUMNS},
            "skipped": _reason_array(reasons),
        }
    )


def _with_nulls(predictions: "pa.Array", reasons: list[str | None]) -> "pa.Array":
    """Put nulls among the predictions, in the rows that have a reason to be skipped."""
    import pyarrow as pa

    if len(predictions) == len(reasons):
        return predictions
    is_predicted = np.array([reason is None for reason in reasons])
    places = np.maximum(np.cumsum(is_predicted) - 1, 0)
    buffers = [np.packbits(is_predicted, bitorder="little"), places]
    places = pa.Array.from_buffers(pa.int64(), len(places), [pa.py_buffer(buffer) for buffer in buffers])
    return predictions.take(places)


def _reason_array(reasons: list[str | None]) -> "pa.Array":
    import pyarrow as pa

    builder = pa.lib.StringBuilder()  # pa.array would import pandas
    builder.append_values(reasons)
    return builder.finish()


def _prediction_array(predictions: list[np.ndarray]) -> "pa.Array":
    import pyarrow as pa

    if not predictions:
        return pa.nulls(0)
    values = np.concatenate(predictions)
    if values.dtype == np.float16:
        values = values.astype(np.float32)  # few tools read half floats
    flat = _array(values.reshape(-1))
    return (
        flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
    )


def _array(values: np.ndarray) -> "pa.Array":
    """Return values as an Arrow array."""
    import pyarrow as pa

    if values.dtype.kind in "iuf":
        # pa.array would import pandas, which takes longer than a small image.
        native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
        return pa.Array.from_buffers(
            pa.from_numpy_dtype(native.dtype), len(native), [None, pa.py_buffer(native)]
        )
    return pa.array(values)


def _common_array(first: "np.ndarray", other: "np.ndarray") -> "np.ndarray | None":
    """Return an empty array of a type that fits both arrays of predictions; None if no type does.

    User code may return 0 for one patch and 0.5 for the next.
    """
    if first.shape[1:] != other.shape[1:]:
        return None
    if first.dtype == other.dtype:
        return first
    if first.dtype.kind == other.dtype.kind == "U":
        return max(first, other, key=lambda values: values.dtype.itemsize)[:0]
    if not {first.dtype.kind, other.dtype.kind} <= set("iuf"):
        return None
    return first.astype(np.promote_types(first.dtype, other.dtype))


def _type_and_shape(predictions: "np.ndarray") -> str:
    name = KINDS.get(predictions.dtype.kind, str(predictions.dtype))
    shape = predictions.shape[1:]
    return f"{name} of shape {shape}" if shape else name
