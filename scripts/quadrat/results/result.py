"""The result of one image, as the footer of its Parquet tells it."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from quadrat.errors import ResultsError
from quadrat.files import keys
from quadrat.results.folder import split_version_path
from quadrat.results.schema import read_footer


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
        Type of a prediction, null where all patches are skipped; None unless `ok`.
    prediction_shape : tuple of int
        Shape of a prediction.
    counts : dict
        `patches`, `skipped` and `skipped_<reason>` of these, `nan`, `infinite`, `dropped`.
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
    right = footer["version"] == version and head.endswith("/versions/" + keys.encode(footer["filename"]))
    grid = footer.get("grid")
    if footer["rows"] and grid and grid["rows"] * grid["cols"] != footer["rows"]:
        right = False
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
