"""The schema of a result: its columns, and the footer with its inputs."""

import os
from typing import TYPE_CHECKING, Any

from quadrat.errors import ResultsError
from quadrat.files.records import COUNT, SIZE, parse_footer

if TYPE_CHECKING:
    import pyarrow as pa


# Row groups of single grid rows cost 40 times as much to write and to read.
ROW_GROUP_ROWS = 1 << 16

FOOTER_KEY = b"quadrat"
_MAYBE = (..., COUNT)
# Why patches are skipped, and the key of the configuration that has them skipped.
SKIPPED_BY = {
    "unscanned": "",
    "outside": "regions",
    "background": "skip: background",
    "nodata": "skip: nodata",
}
IMAGE = {
    "height": COUNT,
    "width": COUNT,
    "full_size": [SIZE, SIZE],
    "crs": (str, None),
    "downsample": [float, float],
    "mpp": (None, [float, float]),
    "transform": (None, [float] * 6),
    "bounds": (None, [float] * 4),
    "notes": (..., [str]),
}
GRID = dict.fromkeys(("rows", "cols"), COUNT) | dict.fromkeys(("patch_size", "stride"), SIZE)
_FOOTER = {
    "filename": str,
    "version": str,
    "content_id": str,
    "content_hash": (str, None),
    "prediction_shape": [SIZE],
    "failure": (..., {"message": str, "kind": (..., str), "hint": (..., str)}),
    "counts": (
        ...,
        {"patches": COUNT, "nan": _MAYBE, "infinite": _MAYBE, "dropped": (..., float)}
        | dict.fromkeys(("skipped", *(f"skipped_{reason}" for reason in SKIPPED_BY)), _MAYBE),
    ),
    # The first and the last grid row of a shard.
    "grid_rows": (..., [COUNT, COUNT]),
    "grid": (..., GRID),
    "image": (..., IMAGE),
    "plane": (..., None, {str: COUNT}),
    "predictor": (..., {"labels": (..., None, [str]), "values": (..., [str])}),
    "software": (..., {str: str}),
}

GRID_COLUMNS = {"row": "int32", "col": "int32"}
PIXEL_COLUMNS = {"y": "int64", "x": "int64", "height": "int32", "width": "int32"}


def read_footer(path: str | os.PathLike, *shapes: Any) -> "tuple[dict[str, Any], pa.Schema]":
    """Read the footer of a result, with its inputs.

    Parameters
    ----------
    path : path
        A Parquet that quadrat wrote.
    *shapes : object
        Forms that the footer must have besides that of all results; see `quadrat.files.records.fits`.

    Returns
    -------
    footer : dict
        With the key `rows` for the number of rows in the file.
    schema : pyarrow.Schema

    Raises
    ------
    ResultsError
        If the file is not a whole Parquet of quadrat's.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        metadata = pq.read_metadata(path)
        footer = parse_footer(metadata.metadata[FOOTER_KEY], _FOOTER, *shapes)
    except (ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(
            f"{path}: quadrat did not write this result, or not whole ({type(error).__name__}: {error}); "
            "delete the file and run again"
        ) from error
    return footer | {"rows": metadata.num_rows}, metadata.schema.to_arrow_schema()
