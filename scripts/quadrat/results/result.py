"""The result of one image: the footer of its Parquet, and its predictions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quadrat.errors import ResultsError
from quadrat.files import keys
from quadrat.results.columns import as_numpy, flat_values, to_array, value_type
from quadrat.results.folder import split_version_path
from quadrat.results.schema import GRID, IMAGE, PIXEL_COLUMNS, ROW_GROUP_ROWS, read_footer

# Predicted values of a batch, so that the memory of a reader does not grow with the image.
BATCH_VALUES = 1 << 20


class PredictionBatch(NamedTuple):
    """Some patches, in row-major order of the grid.

    Attributes
    ----------
    rows, cols : (n,) int array
        Grid row and column.
    windows : (n, 4) int array
        y, x, height and width in level-0 pixels.
    values : (n, ...) array
        Predictions, as `quadrat.results.columns.to_array` returns them.
    skipped : (n,) bool array
        Whether a patch has no prediction.
    columns : pyarrow.RecordBatch
        The same, as stored.
    """

    rows: np.ndarray
    cols: np.ndarray
    windows: np.ndarray
    values: np.ndarray
    skipped: np.ndarray
    columns: pa.RecordBatch


@dataclass(frozen=True)
class Result:
    """The result of one image, as its footer describes it.

    Attributes
    ----------
    filename : str
    path : str
        The versioned Parquet; empty for an image that had no job.
    status : {'ok', 'failed', 'no_patch'}
    content_id, content_hash : str or None
        The content that the result was made from.
    prediction_type : pyarrow.DataType or None
        Type of a prediction, null where all patches are skipped; None unless `ok`.
    shape : tuple of int
        Shape of a prediction.
    counts : dict
        `patches`, `skipped` and `skipped_<reason>` of these, `nan`, `infinite`, `dropped`.
    failure : dict of str to str
        `kind`, `message`, `hint`; empty unless `failed`.
    software : tuple of (str, str)
        Versions of the libraries that made the result.
    image, grid : dict
        Description of the image and of its grid; empty if it failed.
    plane : dict of str to int, or None
        The plane that was read.
    labels : tuple of str
        Names of the values of a prediction, or all labels; empty if there are none.
    names : tuple of str
        Names of values that are no labels, such as of the statistics of bands; empty if there are none.
    """

    filename: str
    path: str
    status: str
    content_id: str = ""
    content_hash: str | None = None
    prediction_type: pa.DataType | None = None
    shape: tuple[int, ...] = ()
    counts: dict[str, Any] = field(default_factory=lambda: {"patches": 0})
    failure: dict[str, str] = field(default_factory=dict)
    software: tuple[tuple[str, str], ...] = ()
    image: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    plane: dict[str, int] | None = None
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Pixels of the image."""
        return self.image["height"] * self.image["width"] if self.image else 0

    @property
    def value_type(self) -> pa.DataType:
        """Type of each value of a prediction; float64 if all patches were skipped."""
        return value_type(self.prediction_type)

    @property
    def is_text(self) -> bool:
        """Whether predictions are labels."""
        return pa.types.is_string(self.value_type)

    @property
    def value_names(self) -> list[str]:
        """Name of each value of a prediction: its label or name, or its number counted from 1."""
        if not self.shape:
            return ["prediction"]
        count = int(np.prod(self.shape))
        names = self.labels or self.names
        return list(names) if len(names) == count else [str(n + 1) for n in range(count)]

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Read the rows, or some of their columns."""
        # At once and without threads: most files are small, and a second access to one takes longer.
        content = pa.BufferReader(Path(self.path).read_bytes())
        return pq.ParquetFile(content).read(columns, use_threads=False)

    def has_skipped(self) -> bool:
        """Return whether any patch has no prediction."""
        column = self.read(["skipped"])["skipped"]
        return column.null_count < len(column)

    def found_labels(self) -> set[str]:
        """Return the labels that occur among the predictions."""
        return set(flat_values(self.read(["prediction"])["prediction"]).unique().to_pylist())

    def batches(self) -> Iterator[PredictionBatch]:
        """Yield all patches, some at a time."""
        size = max(1, min(ROW_GROUP_ROWS, BATCH_VALUES // int(np.prod(self.shape))))
        for columns in pq.ParquetFile(self.path).iter_batches(size, use_threads=False):
            place = columns.schema.get_field_index("prediction")
            if pa.types.is_null(columns.schema.types[place]):
                columns = columns.set_column(place, "prediction", pa.nulls(len(columns), self.value_type))
            yield PredictionBatch(
                rows=as_numpy(columns["row"]),
                cols=as_numpy(columns["col"]),
                windows=np.stack(
                    [as_numpy(columns[name]).astype(np.int64) for name in PIXEL_COLUMNS], axis=1
                ),
                values=to_array(columns["prediction"], self.shape),
                skipped=as_numpy(columns["skipped"].is_valid()),
                columns=columns,
            )


def read_result(path: str) -> Result:
    """Read the footer of a versioned Parquet, and check that it is the result that its name promises.

    Raises
    ------
    ResultsError
        If it is not whole, or is another result.
    """
    footer, schema = read_footer(path)
    head, version = split_version_path(path)
    failure, counts = footer.get("failure", {}), footer.get("counts", {"patches": 0})
    right = footer["version"] == version and head.endswith("/versions/" + keys.encode(footer["filename"]))
    image, grid, predictor = (footer.get(part, {}) for part in ("image", "grid", "predictor"))
    if footer["rows"] and (not image or grid.get("rows", 0) * grid.get("cols", 0) != footer["rows"]):
        right = False
    if not right or footer["rows"] != counts["patches"]:
        raise ResultsError(
            f"{path}: contains version {footer['version']} of {footer['filename']} with {footer['rows']:,} "
            f"of {counts['patches']:,} rows, unlike its name or footer; delete the file and run again"
        )
    return Result(
        filename=footer["filename"],
        path=path,
        status="failed" if failure else "ok" if footer["rows"] else "no_patch",
        content_id=footer["content_id"],
        content_hash=footer["content_hash"],
        prediction_type=schema.field("prediction").type if footer["rows"] else None,
        shape=tuple(footer["prediction_shape"]),
        counts=counts,
        failure=failure,
        software=tuple(footer.get("software", {}).items()),
        # Results of a whole run share the keys; new keys from JSON would take twice the memory.
        image={name: image[name] for name in IMAGE if name in image},
        grid={name: grid[name] for name in GRID if grid},
        plane=footer.get("plane"),
        labels=tuple(map(str, predictor.get("labels") or ())),
        names=tuple(predictor.get("values", ())),
    )
