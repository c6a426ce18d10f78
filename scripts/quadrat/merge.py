"""The merge: the results of all images as one dictionary, one table and plain-name links."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from quadrat import keys
from quadrat.errors import ResultsError
from quadrat.links import link_results
from quadrat.manifest import PlannedImage, table_bytes
from quadrat.predictions import nested
from quadrat.results import ResultsFolder, split_version_path
from quadrat.store import FOOTER_KEY, GRID_COLUMNS, PIXEL_COLUMNS, read_footer, replace_file, replacing
from quadrat.versions import StateRow, state

TABLE_COLUMNS = (
    "filename", "status", "patches", "skipped", "nan", "dropped", "content_hash", "kind", "message", "hint",
)  # fmt: skip

# A failure of this kind holds until the file changes; others are tried again by the next run.
LASTING = "data"


@dataclass(frozen=True)
class Result:
    """The result of one image, as its footer tells it.

    Attributes
    ----------
    filename : str
    path : str
        The versioned Parquet; empty for an image that had no job.
    content_id, content_hash : str or None
        What it was made from.
    status : {'ok', 'failed', 'no_patch'}
    prediction_type : pyarrow.DataType or None
        Type of a prediction; None unless `ok`.
    prediction_shape : tuple of int
        Shape of a prediction.
    counts : dict
        `patches`, `skipped`, `nan`, `infinite`, `dropped`.
    pixels : int
        Pixels of the image.
    failure : dict of str to str
        `kind`, `message`, `hint`; empty unless `failed`.
    software : tuple of (str, str)
        Versions of the libraries that it was made with.
    """

    filename: str
    path: str
    content_id: str
    content_hash: str | None
    status: str
    prediction_type: pa.DataType | None
    prediction_shape: tuple[int, ...]
    counts: dict[str, Any]
    pixels: int
    failure: dict[str, str]
    software: tuple[tuple[str, str], ...]


def merge_predictions(
    paths: list[str],
    images: list[PlannedImage],
    settings: dict[str, Any],
    recipe: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Merge the results of all images.

    Writes the dictionary as Parquet and JSON, the table of images and the links, and last the record of
    what they hold.

    Parameters
    ----------
    paths : list of str
        The versioned Parquets; they, not the manifest, say what is merged.
    images : list of PlannedImage
        The manifest, for the images that had no job and for the user's own columns.
    settings : dict
        The effective configuration.
    recipe : dict
        What the versions were made from.
    tell : callable
        Takes the lines that a person should read.

    Raises
    ------
    ResultsError
        If a Parquet is not what its name says, or the predictions of two images do not go together.
    """
    folder = ResultsFolder(settings["results"])
    results = [read_result(path) for path in paths]
    results += [_unplanned(image) for image in images if image.problem]
    results.sort(key=lambda result: result.filename)
    columns = {image.filename: image.columns for image in images}
    for line in _warnings(results):
        tell(line)
    ok = [result for result in results if result.status == "ok"]
    _write_parquet(folder.predictions, ok)
    _write_json(folder.json, ok, settings["json_max_values"], folder)
    replace_file(folder.images, _image_table(results, columns))
    link_results({result.filename: result.path for result in ok}, folder.links)
    for result in results:
        if result.path and result.failure.get("kind", LASTING) != LASTING:
            # Once it is in the table a failure that may pass is forgotten, so that the next run tries again.
            Path(result.path).unlink()
    record = {
        "state": state([_row(result, columns) for result in results], settings["json_max_values"]),
        "recipe": recipe,
        "images": {result.filename: result.content_id for result in results if result.path},
        "summary": _summary(results),
    }
    replace_file(folder.merged, orjson.dumps(record))


def _row(result: Result, columns: dict[str, dict[str, str]]) -> StateRow:
    version = split_version_path(result.path)[1] if result.path else ""
    problem = "" if result.path else result.failure["message"]
    return StateRow(result.filename, version, problem, columns.get(result.filename, {}))


def read_result(path: str) -> Result:
    """Read what a versioned Parquet tells, and check that it is what its name says.

    Raises
    ------
    ResultsError
        If it is not whole, or is the result of something else.
    """
    footer, schema = read_footer(path)
    head, version = split_version_path(path)
    failure, counts = footer.get("failure", {}), footer.get("counts", {"patches": 0})
    right = footer["version"] == version and head.endswith("/" + keys.encode(footer["filename"]))
    if not right or footer["rows"] != counts["patches"]:
        raise ResultsError(
            f"{path}: holds version {footer['version']} of {footer['filename']} with {footer['rows']:,} of "
            f"{counts['patches']:,} rows: it was exchanged by hand; delete the file and run again"
        )
    image = footer.get("image", {"height": 0, "width": 0})
    return Result(
        filename=footer["filename"],
        path=path,
        content_id=footer["content_id"],
        content_hash=footer["content_hash"],
        status="failed" if failure else "ok" if footer["rows"] else "no_patch",
        prediction_type=schema.field("prediction").type if footer["rows"] else None,
        prediction_shape=tuple(footer["prediction_shape"]),
        counts=counts,
        pixels=image["height"] * image["width"],
        failure=failure,
        software=tuple(footer.get("software", {}).items()),
    )


def _unplanned(image: PlannedImage) -> Result:
    failure = {"kind": LASTING, "message": image.problem, "hint": image.hint}
    return Result(image.filename, "", "", None, "failed", None, (), {"patches": 0}, 0, failure, ())


def _warnings(results: list[Result]) -> Iterator[str]:
    versions: dict[str, set[str]] = {}
    for name, version in {pair for result in results for pair in result.software}:
        versions.setdefault(name, set()).add(version)
    for name, found in sorted(versions.items()):
        if len(found) > 1:
            yield (
                f"warning: results were made with {name} {', '.join(sorted(found))}; "
                "predictions may differ between its versions"
            )
    nan = [result.filename for result in results if result.counts.get("nan") or result.counts.get("infinite")]
    if nan:
        yield f"warning: {len(nan):,} images have predictions that are NaN or infinite, such as {nan[0]}"


def _common_type(results: list[Result]) -> pa.DataType:
    """Give the type that holds the predictions of all images."""
    common, first = pa.float64(), None
    for result in results:
        if first is None:
            common, first = result.prediction_type, result
        elif result.prediction_type != common:
            joined = _joined(common, result.prediction_type)
            if joined is None:
                raise ResultsError(
                    f"predictions of {first.filename} are {common}, those of {result.filename} are "
                    f"{result.prediction_type}: one dictionary cannot hold both; change the predictor, "
                    "or run the images apart (config.yaml: predictor, images)"
                )
            common = joined
    return common


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if _is_list(one) and _is_list(other):
        value = _joined(one.value_type, other.value_type)
        return value and pa.list_(value)
    if one == other:
        return one
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)):
        # What numpy promotes to: the smallest type that holds both.
        import numpy as np

        return pa.from_numpy_dtype(np.promote_types(one.to_pandas_dtype(), other.to_pandas_dtype()))
    return None


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)


def _write_parquet(path: str, results: list[Result]) -> None:
    """Write a row group an image, so that one image can be read without the others."""
    kind = _common_type(results)
    schema = pa.schema(
        [
            ("filename", pa.string()),
            *GRID_COLUMNS.items(),
            ("prediction", kind),
            *PIXEL_COLUMNS.items(),
            ("skipped", pa.string()),
        ]
    )
    images = {
        result.filename: {"content_hash": result.content_hash, "prediction_shape": result.prediction_shape}
        for result in results
    }
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for result in results:
            table = pq.ParquetFile(result.path).read()
            filenames = pa.array([result.filename], pa.string()).take(pa.array([0] * len(table), pa.int32()))
            table = table.replace_schema_metadata(None).add_column(0, "filename", filenames)
            writer.write_table(table.cast(schema), row_group_size=len(table))
        writer.add_key_value_metadata({FOOTER_KEY: json.dumps({"images": images}).encode()})


def _write_json(path: str, results: list[Result], most_values: int, folder: ResultsFolder) -> None:
    values = sum(result.counts["patches"] * _size(result.prediction_shape) for result in results)
    if values > most_values:
        told = (
            f"{values:,} values are more than json_max_values {most_values:,}: "
            f"use quadrat.open_predictions({folder.path!r})"
        )
        replace_file(path, orjson.dumps(told) + b"\n")
        return
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"{")
        for index, result in enumerate(results):
            column = pq.ParquetFile(result.path).read(["prediction"])["prediction"]
            predictions = _finite(nested(column, result.prediction_shape))
            file.write(b",\n" if index else b"\n")
            file.write(orjson.dumps(result.filename) + b": " + orjson.dumps(predictions))
        file.write(b"\n}\n")


def _size(shape: Iterable[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _finite(value: Any) -> Any:
    """Put strings in the place of NaN and infinities, which JSON has not."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _image_table(results: list[Result], columns: dict[str, dict[str, str]]) -> bytes:
    own = list(next(iter(columns.values()), {}))
    rows = []
    for result in results:
        counts, failure = result.counts, result.failure
        numbers = [counts.get(name, "") for name in ("patches", "skipped", "nan")]
        dropped = f"{counts['dropped']:.6f}" if "dropped" in counts else ""
        told = [" ".join(failure.get(name, "").split()) for name in ("kind", "message", "hint")]
        mine = columns.get(result.filename, {})
        rows.append(
            [result.filename, result.status, *numbers, dropped, result.content_hash or "", *told]
            + [mine.get(name, "") for name in own]
        )
    return table_bytes([*TABLE_COLUMNS, *own], rows)


def _summary(results: list[Result]) -> dict[str, Any]:
    statuses = Counter(result.status for result in results)
    pixels = sum(result.pixels for result in results)
    dropped = sum(result.pixels * result.counts.get("dropped", 0) for result in results)
    return {
        "images": len(results),
        "ok": statuses["ok"],
        "failed": statuses["failed"],
        "no_patch": statuses["no_patch"],
        "patches": sum(result.counts["patches"] for result in results),
        "dropped": dropped / pixels if pixels else 0,
    }
