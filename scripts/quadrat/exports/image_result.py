"""The result of one image as its exporter reads it: a batch of patches at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quadrat.errors import ResultsError
from quadrat.files.records import fits
from quadrat.results.columns import to_array
from quadrat.results.result import Result
from quadrat.results.schema import PIXEL_COLUMNS, ROW_GROUP_ROWS, read_footer

# Predicted values of a batch: what an export holds in memory does not grow with the image.
BATCH_VALUES = 1 << 20
_FOOTER = {
    "grid": dict,
    "image": {
        "downsample": list,
        "transform": (None, list),
        "bounds": (None, list),
        "crs": (None, str),
    },
}


class PredictionBatch(NamedTuple):
    """Some patches, in row-major order of the grid.

    Attributes
    ----------
    rows, cols : (n,) int array
        Grid row and column.
    windows : (n, 4) int array
        y, x, height and width in level-0 pixels.
    values : (n, ...) array
        Predictions, as `quadrat.results.columns.to_array` gives them.
    skipped : (n,) bool array
        Whether a patch has no prediction.
    columns : pyarrow.RecordBatch
        The same as it is stored.
    """

    rows: np.ndarray
    cols: np.ndarray
    windows: np.ndarray
    values: np.ndarray
    skipped: np.ndarray
    columns: pa.RecordBatch


class ImageResult:
    """The predictions of one image.

    Parameters
    ----------
    result : Result
        One that is `ok`.
    labels : sequence of str
        What the values of a prediction are called, or what labels there are; empty where nobody said.

    Attributes
    ----------
    filename : str
    image, grid : dict
        What the footer tells of them.
    shape : tuple of int
        Shape of a prediction.
    value_type : pyarrow.DataType
        Type of each of its values; float64 where all patches were skipped.
    labels : tuple of str
    """

    def __init__(self, result: Result, labels: tuple[str, ...] = ()):
        footer, _ = read_footer(result.path)
        if not fits(footer, _FOOTER):
            raise ResultsError(
                f"{result.path}: does not say where its patches lie; delete the file and run again"
            )
        self._path = result.path
        self.filename, self.shape, self.labels = result.filename, result.prediction_shape, labels
        self.image: dict[str, Any] = footer["image"]
        self.grid: dict[str, Any] = footer["grid"]
        self.value_type = _value_type(result.prediction_type)

    @property
    def is_text(self) -> bool:
        """Whether predictions are labels."""
        return pa.types.is_string(self.value_type)

    @property
    def value_names(self) -> list[str]:
        """Name of each value of a prediction: its label, or its number counted from 1."""
        if not self.shape:
            return ["prediction"]
        count = int(np.prod(self.shape))
        return list(self.labels) if len(self.labels) == count else [str(n + 1) for n in range(count)]

    def has_skipped(self) -> bool:
        """Tell whether there are patches without a prediction."""
        column = pq.ParquetFile(self._path).read(columns=["skipped"])["skipped"]
        return column.null_count < len(column)

    def found_labels(self) -> set[str]:
        """Return the labels that its predictions have."""
        column = pq.ParquetFile(self._path).read(columns=["prediction"])["prediction"]
        values = pc.list_flatten(column) if self.shape else column
        return set(values.drop_null().unique().to_pylist())

    def batches(self) -> Iterator[PredictionBatch]:
        """Yield all patches, some at a time."""
        size = max(1, min(ROW_GROUP_ROWS, BATCH_VALUES // int(np.prod(self.shape))))
        for columns in pq.ParquetFile(self._path).iter_batches(size, use_threads=False):
            place = columns.schema.get_field_index("prediction")
            if pa.types.is_null(columns.schema.types[place]):
                columns = columns.set_column(place, "prediction", pa.nulls(len(columns), self.value_type))
            yield PredictionBatch(
                rows=columns["row"].to_numpy(),
                cols=columns["col"].to_numpy(),
                windows=np.stack(
                    [columns[name].to_numpy().astype(np.int64) for name in PIXEL_COLUMNS], axis=1
                ),
                values=to_array(columns["prediction"], self.shape),
                skipped=columns["skipped"].is_valid().to_numpy(zero_copy_only=False),
                columns=columns,
            )


def _value_type(prediction_type: pa.DataType) -> pa.DataType:
    if pa.types.is_null(prediction_type):
        return pa.float64()
    return prediction_type.value_type if pa.types.is_nested(prediction_type) else prediction_type
