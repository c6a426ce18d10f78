"""The shard: the predictions of some grid rows of an image, from its job to the join.

A zip archive of numpy arrays, which `numpy.load` opens: of each batch the cells, and the predictions, or why
there are none. Played to the writer of the result one after the other, the shards of an image leave the very
bytes that the job of the whole image would have left.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from quadrat.errors import ResultsError
from quadrat.files.atomic import replacing
from quadrat.files.inside import remove, remove_empty
from quadrat.files.records import COUNT, parse_footer
from quadrat.grid import Window
from quadrat.results.writer import RowWriter, require_storable

_FOOTER = "footer.json"
_WRITTEN = {"batches": COUNT}
_ARRAYS = ("cells", "predictions", "reasons")


class ShardWriter:
    """Writes the predictions of some grid rows batch by batch; a context manager.

    Nothing of it can be found under its name before the block has ended.

    Parameters
    ----------
    path : path
        File to write.
    results : path, optional
        The results folder that it is in; see `quadrat.files.atomic.replacing`.
    """

    def __init__(self, path: str | os.PathLike, results: str | os.PathLike | None = None):
        self._path, self._results = path, results
        self._batches = 0

    def __enter__(self) -> "ShardWriter":
        with ExitStack() as opened:
            temporary = opened.enter_context(replacing(self._path, self._results))
            self._archive = opened.enter_context(ZipFile(temporary, "w"))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc_info) -> None:
        self._opened.__exit__(*exc_info)

    def append(self, positions: list[tuple[int, int, Window]], predictions: np.ndarray) -> None:
        """Add the predictions of some patches; see `quadrat.results.writer.PredictionWriter.append`."""
        require_storable(predictions)
        self._add(positions, predictions=predictions)

    def skip(self, positions: list[tuple[int, int, Window]], reasons: list[str]) -> None:
        """Add patches that have no prediction; see `quadrat.results.writer.PredictionWriter.skip`."""
        self._add(positions, reasons=np.array(reasons))

    def _add(self, positions: list[tuple[int, int, Window]], **arrays: np.ndarray) -> None:
        cells = np.array([(row, col, *window) for row, col, window in positions], np.int64)
        for name, array in {"cells": cells, **arrays}.items():
            with self._archive.open(_member(self._batches, name), "w", force_zip64=True) as file:
                np.save(file, array, allow_pickle=False)
        self._batches += 1

    def finish(self, footer: dict[str, Any]) -> None:
        """Write what the shard was made from, in JSON's types."""
        self._archive.writestr(_FOOTER, json.dumps(footer | {"batches": self._batches}))


def read_shard(path: str | os.PathLike) -> dict[str, Any]:
    """Read what a shard was made from.

    Raises
    ------
    ResultsError
        If the file is not a whole shard.
    """
    try:
        with ZipFile(path) as archive:
            return parse_footer(archive.read(_FOOTER), _WRITTEN)
    except (OSError, BadZipFile, KeyError, ValueError) as error:
        raise _not_whole(path, error) from error


def has_failed(path: str | os.PathLike) -> bool:
    """Tell whether a shard holds a failure, or is not whole."""
    try:
        return "failure" in read_shard(path)
    except ResultsError:
        return True


def remove_shard(path: str, results: str) -> None:
    """Remove a shard of a results folder, and the folders that it leaves empty."""
    remove(path, results)
    remove_empty(os.path.dirname(path), results)


def play(path: str | os.PathLike, writer: RowWriter) -> None:
    """Write what was added to a shard, batch by batch, as it was added.

    Parameters
    ----------
    path : path
    writer : RowWriter

    Raises
    ------
    ResultsError
        If the file is not a whole shard.
    PredictorError
        If its predictions cannot be stored together with those before.
    """
    for positions, arrays in _batches(path):
        if "reasons" in arrays:
            writer.skip(positions, arrays["reasons"].tolist())
        else:
            writer.append(positions, arrays["predictions"])


def _batches(
    path: str | os.PathLike,
) -> Iterator[tuple[list[tuple[int, int, Window]], dict[str, np.ndarray]]]:
    try:
        with ZipFile(path) as archive:
            members = set(archive.namelist())
            for batch in range(parse_footer(archive.read(_FOOTER), _WRITTEN)["batches"]):
                names = [name for name in _ARRAYS if _member(batch, name) in members]
                arrays = {name: _read_array(archive, _member(batch, name)) for name in names}
                cells = arrays.pop("cells").tolist()
                yield [(row, col, Window(*window)) for row, col, *window in cells], arrays
    except (OSError, BadZipFile, KeyError, ValueError) as error:
        raise _not_whole(path, error) from error


def _member(batch: int, name: str) -> str:
    return f"{batch}.{name}.npy"


def _read_array(archive: ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        return np.load(file, allow_pickle=False)


def _not_whole(path: str | os.PathLike, error: Exception) -> ResultsError:
    return ResultsError(
        f"{path}: is not a whole shard ({type(error).__name__}: {error}); delete the file and run again"
    )
