"""Records: JSON that quadrat wrote and reads back, checked against the form that it must have.

Other users and programs may put any file into a results folder. A record of another form is refused with one
line when it is read.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import orjson

from quadrat.errors import ResultsError

# The range of sizes and numbers: no image has a million million pixels along a side.
COUNT, SIZE = range(10**12), range(1, 10**12)
HUGE = 1e300
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_record(path: str | os.PathLike, shape: Any) -> Any:
    """Read a JSON file that quadrat wrote.

    Parameters
    ----------
    path : path
    shape : object
        The form that its content must have; see `fits`.

    Raises
    ------
    ResultsError
        If it has another form.
    FileNotFoundError
        If the file does not exist.
    """
    content = Path(path).read_bytes()
    try:
        return _checked(orjson.loads(content), shape)
    except ValueError as error:
        raise ResultsError(
            f"{path}: quadrat did not write this file ({error}); delete it and run again"
        ) from error


def parse_footer(text: str | bytes, *shapes: Any) -> Any:
    """Return the JSON in a file of another format; it may contain NaN.

    Raises
    ------
    ValueError
        If it is not JSON, or has another shape.
    """
    try:
        return _checked(json.loads(text), *shapes)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _checked(value: Any, *shapes: Any) -> Any:
    if not all(fits(value, shape) for shape in shapes):
        raise ValueError("its content has another form")
    return value


def fits(value: Any, shape: Any) -> bool:
    """Return whether a value made of JSON's types has a shape.

    Parameters
    ----------
    value : object
    shape : object
        A type (`float` fits any finite number, and `str` any Unicode text), None, a range of integers, or a
        tuple of shapes, one of which must fit. A list of one shape for all items, or of a shape for each
        item. A dictionary of shapes for the values of a mapping: by key, with the value `...` for a missing
        key, or for all values under the type `str`.

    Returns
    -------
    bool
    """
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, list):
        shapes = shape * len(value) if isinstance(value, list) and len(shape) == 1 else shape
        return isinstance(value, list) and len(value) == len(shapes) and all(map(fits, value, shapes))
    if isinstance(shape, dict) and str in shape:
        return isinstance(value, dict) and all(fits(item, shape[str]) for item in value.values())
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            fits(value.get(key, ...), inner) for key, inner in shape.items()
        )
    if shape is float:
        return isinstance(value, (int, float)) and abs(value) < HUGE
    if shape is str:
        return isinstance(value, str) and not _SURROGATE.search(value)
    return value is shape if shape in (None, ...) else isinstance(value, shape)
