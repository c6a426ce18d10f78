"""Exports: results as the files that other programs open, one for each image, kept up to date."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

import quadrat
from quadrat.exports.image_result import ImageResult
from quadrat.links import plain_name
from quadrat.result import Result, read_result
from quadrat.results import ResultsFolder, split_version_path
from quadrat.store import replace_file, replacing
from quadrat.versions import digest

# Ending of each format's files; its module writes them.
FORMATS = {
    "geotiff": ".tif",
    "geoparquet": ".parquet",
    "geopackage": ".gpkg",
    "qupath": ".geojson",
    "wsinfer": ".csv",
}


def export_results(
    form: str, paths: list[str], results: str, labels: list[str] | None, tell: Callable[[str], None]
) -> None:
    """Make a folder hold the export of each image, and write only those that it does not hold yet.

    A record tells what each file was made from. An entry leaves it before its file is touched, so that
    a run that was killed leaves nothing that passes for current; files that others put there stay.

    Parameters
    ----------
    form : str
        A key of `FORMATS`, which also names the folder.
    paths : list of str
        The versioned Parquets of all images; some may be gone, since failures that may pass are removed.
    results : str
        The results folder.
    labels : list of str or None
        What the values of a prediction are called, as the predictor's configuration has it.
    tell : callable
        Takes the lines that a person should read.

    Raises
    ------
    ConfigError
        If a library that the format needs is missing.
    ResultsError
        If a Parquet is not what its name says, or the format cannot hold the predictions.
    """
    found = [read_result(path) for path in paths if os.path.exists(path)]
    ok = [result for result in found if result.status == "ok"]
    known = tuple(labels or _found_labels(ok))
    folder = f"{ResultsFolder(results).path}/{form}"
    wanted = {f"{plain_name(result.filename)}{FORMATS[form]}": result for result in ok}
    marks = {name: _mark(result, known) for name, result in wanted.items()}
    record = _Record(f"{ResultsFolder(results).exported}/{form}.json", folder)
    removed = record.keep_only(marks)
    missing = [name for name in wanted if name not in record.held]
    write = importlib.import_module(f"quadrat.exports.{form}").write
    try:
        for name in missing:
            with replacing(f"{folder}/{name}") as temporary:
                write(ImageResult(wanted[name], known), temporary)
            record.held[name] = marks[name]
    finally:
        record.save()
    tell(
        f"{folder}: {len(missing):,} written, {len(wanted) - len(missing):,} unchanged, "
        f"{removed:,} of images that are gone removed"
    )


def _found_labels(results: list[Result]) -> list[str]:
    """Give the labels of all images, sorted; none where predictions are not labels."""
    found: set[str] = set()
    for result in results:
        opened = ImageResult(result)
        if opened.is_text:
            found |= opened.found_labels()
    return sorted(found)


def _mark(result: Result, labels: tuple[str, ...]) -> str:
    """Give what an export is made from."""
    version = split_version_path(result.path)[1]
    return digest([version, labels, quadrat.__version__])


class _Record:
    """What the files of a folder were made from."""

    def __init__(self, path: str, folder: str):
        self._path, self._folder = Path(path), folder
        self.held: dict[str, Any] = orjson.loads(self._path.read_bytes()) if self._path.exists() else {}

    def keep_only(self, marks: dict[str, str]) -> int:
        """Drop what is not held as it is marked, remove files that have no mark, and count them."""
        gone = [name for name in self.held if name not in marks]
        self.held = {
            name: mark
            for name, mark in self.held.items()
            if marks.get(name) == mark and os.path.exists(f"{self._folder}/{name}")
        }
        self.save()
        for name in gone:
            Path(f"{self._folder}/{name}").unlink(missing_ok=True)
        return len(gone)

    def save(self) -> None:
        """Write the record."""
        replace_file(self._path, orjson.dumps(self.held))
