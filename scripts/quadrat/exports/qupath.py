"""GeoJSON for QuPath: a detection for each patch, with its class and its numbers as measurements."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from quadrat.exports.ground import Ground
from quadrat.results.result import Result


def write(result: Result, path: Path) -> None:
    """Write the patches of an image that were predicted as QuPath imports them.

    A label is the class of its patch; of values that have labels the largest gives the class.

    Parameters
    ----------
    result : Result
    path : Path

    References
    ----------
    QuPath documentation, "Exporting annotations": GeoJSON in pixels of the full-resolution image from its
    top left corner. QuPath's PathObjectTypeAdapters (0.4 and later): `objectType`, `classification` with
    its `name`, and `measurements` as an object of name to number. RFC 7946, 3.2 and 3.3. OpenslideImageServer
    counts pixels from the corner of the slide's bounds.
    """
    y, x, *_ = result.image["bounds"] or (0, 0)
    pixels = Ground((1.0, 0.0, -x, 0.0, 1.0, -y), None)
    with path.open("wb") as file:
        file.write(b'{"type":"FeatureCollection","features":[')
        separator = b"\n"
        for batch in result.batches():
            kept = ~batch.skipped
            corners = pixels.corners(batch.windows[kept]).astype(np.int64)
            for ring, value in zip(corners.tolist(), batch.values[kept], strict=True):
                file.write(separator + orjson.dumps(_feature(ring, value, result)))
                separator = b",\n"
        file.write(b"\n]}\n")


def _feature(ring: list[list[int]], value: Any, result: Result) -> dict[str, Any]:
    values = np.ravel(value)
    values = values.astype(np.uint8).tolist() if values.dtype == bool else values.tolist()
    properties: dict[str, Any] = {"objectType": "detection"}
    name = _class(values, result)
    if name:
        properties["classification"] = {"name": name}
    if not result.is_text:
        # JSON has no NaN, and QuPath takes a measurement that is not there for missing.
        named = zip(map(_measurement, result.value_names), values, strict=True)
        properties["measurements"] = {name: number for name, number in named if np.isfinite(number)}
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _measurement(name: str) -> str:
    return f"prediction {name}" if name.isdecimal() else name


def _class(values: list[Any], result: Result) -> str | None:
    if result.is_text:
        return values[0] if len(values) == 1 else None
    if len(values) != len(result.labels) or not np.isfinite(values).all():
        return None
    return result.labels[int(np.argmax(values))]
