"""The join: it writes from the shards of an image the result that a job of the whole image would write."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from quadrat.errors import ImageError, ResultsError
from quadrat.files.records import COUNT
from quadrat.grid import Window
from quadrat.jobs.task import ImageTask
from quadrat.jobs.thumbnails import join_thumbnail
from quadrat.results.columns import to_array
from quadrat.results.result import Result
from quadrat.results.schema import read_footer
from quadrat.results.writer import PredictionWriter, write_failure

# Keys of a footer whose values differ between the shards of an image.
_OF_SHARD = ("rows", "grid_rows", "dtypes", "prediction_shape", "counts", "content_hash")

_NUMBERS = {np.dtype(code).name for code in "bhilqBHILQefd"}

_FOOTERS = (
    {"failure": {"kind": str, "message": str, "hint": str}},
    {
        "grid_rows": [COUNT, COUNT],
        "dtypes": [str],
        "grid": dict,
        "failure": ...,
        "counts": {str: float},
    },
)


def join_shards(task: ImageTask) -> None:
    """Write the Parquet of an image from its shards.

    If shards could not be predicted, the result contains the failure of the first of them.

    Parameters
    ----------
    task : ImageTask

    Raises
    ------
    PredictorError
        If the predictions of an image cannot be stored together.
    ResultsError
        If the shards are not whole, or belong to another result.
    """
    footers, schemas = zip(*(read_footer(path, _FOOTERS) for path in task.shards), strict=True)
    failed = next((footer for footer in footers if "failure" in footer), None)
    if failed:
        failure = failed["failure"]
        # As in the job of a whole image, another failure may have come before the file was hashed.
        content_hash = footers[0]["content_hash"] if failure["kind"] == ImageError.kind else None
        write_failure(task.writer(), task.identity() | {"content_hash": content_hash}, failure)
        return
    _refuse_others(task, footers)
    dtype = _joined_dtype([name for footer in footers for name in footer["dtypes"]])
    with task.writer() as writer:
        for path, footer, schema in zip(task.shards, footers, schemas, strict=True):
            kind, shape = schema.field("prediction").type, tuple(footer["prediction_shape"])
            _copy_rows(Result(task.filename, path, "ok", prediction_type=kind, shape=shape), dtype, writer)
        counts = _joined_counts([footer["counts"] for footer in footers])
        join_thumbnail(task)
        known = {"counts": counts, "content_hash": footers[0]["content_hash"]}
        writer.finish(_of_image(footers[0]) | known)


def _copy_rows(shard: Result, dtype: np.dtype | None, writer: PredictionWriter) -> None:
    """Write the rows of a shard as its job wrote them, some at a time."""
    for batch in shard.batches():
        cells = zip(batch.rows.tolist(), batch.cols.tolist(), batch.windows.tolist(), strict=True)
        positions = [(row, col, Window(*window)) for row, col, window in cells]
        predictions = to_array(batch.columns["prediction"].drop_null(), shard.shape)
        reasons = batch.columns["skipped"].to_pylist()
        if shard.is_text:
            predictions = predictions.astype(str)
        elif dtype:
            predictions = predictions.astype(dtype)
        if len(predictions):
            writer.append(positions, predictions, reasons)
        else:
            writer.skip(positions, reasons)


def _refuse_others(task: ImageTask, footers: Sequence[dict[str, Any]]) -> None:
    """Refuse shards of another image, and shards that are missing or out of order."""
    expected = _of_image(footers[0]) | task.identity() | {"counts": sorted(footers[0]["counts"])}
    for path, footer in zip(task.shards, footers, strict=True):
        found = _of_image(footer) | {"counts": sorted(footer["counts"])}
        other = [key for key in expected | found if expected.get(key) != found.get(key)]
        if other:
            raise ResultsError(
                f"{path}: its {other[0]} is {found.get(other[0])}, but the image has "
                f"{expected.get(other[0])}; delete the file and run again"
            )
    held = [row for footer in footers for row in range(footer["grid_rows"][0], footer["grid_rows"][1] + 1)]
    rows = footers[0]["grid"]["rows"]
    if held != list(range(rows)):
        raise ResultsError(
            f"the shards such as {task.shards[0]} do not make up the image's {rows:,} grid rows; "
            "delete them and run again"
        )


def _of_image(footer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in footer.items() if key not in _OF_SHARD}


def _joined_dtype(names: list[str]) -> np.dtype | None:
    """Return numpy's common dtype of the dtypes of an image in their order; None if it has no numbers."""
    if not names or not set(names) <= _NUMBERS:
        return None
    return reduce(np.promote_types, map(np.dtype, names))


def _joined_counts(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the counts; the share of dropped pixels in each shard is already the whole grid's."""
    return {
        name: counts[0][name] if name == "dropped" else sum(shard[name] for shard in counts)
        for name in counts[0]
    }
