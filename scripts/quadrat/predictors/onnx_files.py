"""External data: the files beside an ONNX model with its weights, found without reading the weights."""

import mmap
import os
from collections.abc import Iterator

from quadrat.errors import ConfigError

# The messages of an ONNX file that lead to tensors: numbers of fields, and the message in each.
MODEL = {7: "graph", 20: "training", 25: "function"}
MESSAGES = {
    "model": MODEL,
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5


def external_data(path: str) -> list[str]:
    """List the files beside an ONNX model that contain its weights.

    Parameters
    ----------
    path : str
        The model. Its weights are skipped, not read.

    Raises
    ------
    ConfigError
        If it is not an ONNX model, or a file is missing or outside the model's folder.

    References
    ----------
    onnx.proto of ONNX 1.18, TensorProto: `location` in external_data is a path relative to the model.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            locations = sorted(set(_locations(content, 0, len(content), "model")))
    except (ValueError, IndexError, RecursionError):
        raise ConfigError(
            f"{path} is not an ONNX model, or only a part of one; name one (config.yaml: predictor: path)"
        ) from None
    folder, paths = os.path.dirname(path), []
    for location in locations:
        if os.path.isabs(location) or os.path.normpath(location).startswith(".."):
            raise ConfigError(
                f"{path} keeps weights in {location}; move them into the model's folder "
                "(config.yaml: predictor: path)"
            )
        paths.append(os.path.join(folder, location))
        if not os.path.isfile(paths[-1]):
            raise ConfigError(
                f"{paths[-1]}: no such file; the model keeps weights there (config.yaml: predictor: path)"
            )
    return paths


def _locations(content: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    """Yield the location of each tensor in a message that is stored elsewhere."""
    for field, first, last in _fields(content, start, end):
        inner = MESSAGES[message].get(field)
        if inner == "entry":
            # StringStringEntryProto: key, then value
            entry = {number: content[a:b].decode() for number, a, b in _fields(content, first, last)}
            if entry.get(1) == "location":
                yield entry.get(2, "")
        elif inner:
            yield from _locations(content, first, last, inner)


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field of a message that has a length.

    References
    ----------
    Protocol Buffers, "Encoding": a field is its number and wire type, then its value.
    """
    while start < end:
        tag, start = _varint(content, start)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("no field has the number 0")
        if wire == BYTES:
            length, start = _varint(content, start)
            if start + length > end:
                raise ValueError("a field ends after its message")
            yield number, start, start + length
            start += length
        elif wire == VARINT:
            _, start = _varint(content, start)
        elif wire in (FIXED_64, FIXED_32):
            start += 8 if wire == FIXED_64 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _varint(content: mmap.mmap, start: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, the lowest first, and where it ends."""
    value = shift = 0
    while shift < 64:
        byte = content[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start
        shift += 7
    raise ValueError("a number of more than 64 bits")
