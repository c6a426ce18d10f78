"""The dictionary: the predictions of all images in one Parquet, and as JSON."""

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quadrat.errors import ResultsError
from quadrat.files.atomic import replace_file, replacing
from quadrat.results.columns import flat_values, nested
from quadrat.results.folder import ResultsFolder
from quadrat.results.result import Result
from quadrat.results.schema import FOOTER_KEY, GRID_COLUMNS, PIXEL_COLUMNS

# Bytes of rows up to which images share a row group; to read one image takes at least as much.
GROUP_BYTES = 1 << 20


def write_dictionary(
    results: list[Result],
    folder: ResultsFolder,
    json_max_values: int,
    watch: Callable[[Result, pa.Table], None],
) -> pa.DataType:
    """Write the predictions of all images, with one row group in memory at a time.

    Parameters
    ----------
    results : list of Result
        The results that are `ok`, in order of their filenames.
    folder : ResultsFolder
    json_max_values : int
        Largest number of values for which the JSON is written; otherwise it contains a line with the reason.
    watch : callable
        Takes each result and its rows, so that nobody reads them again.

    Returns
    -------
    pyarrow.DataType
        A type that fits the predictions of all images.

    Raises
    ------
    ResultsError
        If the predictions of two images have no common type.
    """
    schema = _schema(results)
    values = sum(result.counts["patches"] * int(np.prod(result.shape)) for result in results)
    with ExitStack() as stack:
        path = stack.enter_context(replacing(folder.predictions, folder.path))
        parquet = stack.enter_context(closing(_ParquetDictionary(path, schema)))
        written: list[_ParquetDictionary | _JsonDictionary] = [parquet]
        if values <= json_max_values:
            path = stack.enter_context(replacing(folder.json, folder.path))
            written.append(stack.enter_context(closing(_JsonDictionary(path))))
        for result in results:
            table = result.read()
            watch(result, table)
            for dictionary in written:
                dictionary.add(result, table)
        # Both are whole before either takes the place of the last.
        for dictionary in written:
            dictionary.finish()
    if values > json_max_values:
        note = (
            f"{values:,} values are more than json_max_values {json_max_values:,}: "
            f"use quadrat.open_predictions({folder.path!r})"
        )
        replace_file(folder.json, orjson.dumps(note) + b"\n", folder.path)
    return schema.field("prediction").type


def write_typed(result: Result, prediction_type: pa.DataType, path: str, results: str) -> None:
    """Write a copy of a result without any prediction, as if it had some.

    Parameters
    ----------
    result : Result
        All of its patches are skipped.
    prediction_type : pyarrow.DataType
        The type of the predictions of other images, since programs that read a folder of results use the
        types of the first file for all.
    path : str
        Where to write it.
    results : str
        The results folder.
    """
    table = result.read()
    place = table.schema.get_field_index("prediction")
    table = table.set_column(place, "prediction", pa.nulls(len(table), prediction_type))
    with replacing(path, results) as temporary:
        pq.write_table(table, temporary)


class _ParquetDictionary:
    """Writes row groups of whole images, in order.

    Small images share one. With one row group per image, the footer would take 1 kB for each, 100 MB for a
    hundred thousand images, and every reader of a single image reads it first.
    """

    def __init__(self, path: Path, schema: pa.Schema):
        self._schema = schema
        self._images: dict[str, Any] = {}
        self._writer = pq.ParquetWriter(path, schema)
        # The images of the next row group.
        self._group: list[pa.Table] = []
        self._group_rows = self._group_bytes = 0
        self._groups = 0

    def add(self, result: Result, table: pa.Table) -> None:
        filename = pa.lib.StringBuilder()  # pa.scalar would import pandas
        filename.append(result.filename)
        filenames = pa.repeat(filename.finish()[0], len(table))
        table = table.replace_schema_metadata(None).add_column(0, "filename", filenames)
        try:
            table = table.cast(self._schema)
        except pa.ArrowInvalid as error:
            raise ResultsError(
                f"predictions of {result.filename} are {result.prediction_type}, which does not fit in the "
                f"{self._schema.field('prediction').type} of other images ({error}); return one type for all "
                "images (config.yaml: predictor)"
            ) from error
        if self._group_bytes + table.nbytes > GROUP_BYTES:
            self._write_group()
        self._images[result.filename] = {
            "content_hash": result.content_hash,
            "prediction_shape": result.shape,
            "row_group": self._groups,
            "first_row": self._group_rows,
            "rows": len(table),
            "grid": result.grid,
            "downsample": result.image["downsample"],
        }
        self._group.append(table)
        self._group_rows += len(table)
        self._group_bytes += table.nbytes
        if self._group_bytes >= GROUP_BYTES:
            self._write_group()  # A large image does not stay in memory while the next one is read.

    def _write_group(self) -> None:
        if self._group:
            table = pa.concat_tables(self._group)
            self._writer.write_table(table, row_group_size=len(table))
            self._group, self._group_rows, self._group_bytes = [], 0, 0
            self._groups += 1

    def finish(self) -> None:
        self._write_group()
        footer = json.dumps({"images": self._images})
        self._writer.add_key_value_metadata({FOOTER_KEY: footer.encode()})
        self.close()

    def close(self) -> None:
        self._writer.close()


class _JsonDictionary:
    """Writes one line per image."""

    def __init__(self, path: Path):
        self._file = path.open("wb")
        self._separator = b"{\n"

    def add(self, result: Result, table: pa.Table) -> None:
        predictions = nested(table["prediction"], result.shape)
        values = flat_values(table["prediction"])
        if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values)).as_py():
            predictions = _without_nan(predictions)
        self._file.write(self._separator + orjson.dumps(result.filename) + b": " + orjson.dumps(predictions))
        self._separator = b",\n"

    def finish(self) -> None:
        self._file.write(b"{}\n" if self._separator == b"{\n" else b"\n}\n")
        self.close()

    def close(self) -> None:
        self._file.close()


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinities by strings, since JSON has no such numbers."""
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _schema(results: list[Result]) -> pa.Schema:
    return pa.schema(
        [
            ("filename", pa.string()),
            *GRID_COLUMNS.items(),
            ("prediction", _common_type(results)),
            *PIXEL_COLUMNS.items(),
            ("skipped", pa.string()),
        ]
    )


def _common_type(results: list[Result]) -> pa.DataType:
    """Return a type that fits the predictions of all images."""
    common, first = pa.float64(), None
    for result in results:
        if pa.types.is_null(result.prediction_type):
            continue  # all of its patches are skipped
        if first is None:
            common, first = result.prediction_type, result
        elif result.prediction_type != common:
            joined = _common_kind(common, result.prediction_type)
            if joined is None:
                raise ResultsError(
                    f"predictions of {first.filename} are {common}, but {result.filename} has "
                    f"{result.prediction_type}; return one type for all images, or run them separately "
                    "(config.yaml: predictor, images)"
                )
            common = joined
    return common


def _common_kind(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if pa.types.is_nested(one) and pa.types.is_nested(other):
        value = _common_kind(one.value_type, other.value_type)
        return value and pa.list_(value)
    if one == other:
        return one
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)):
        # The smallest type that fits both.
        return pa.from_numpy_dtype(np.promote_types(one.to_pandas_dtype(), other.to_pandas_dtype()))
    return None
