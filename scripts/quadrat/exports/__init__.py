"""Exports: results as the files that other programs open, one for each image, kept up to date."""

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson

from quadrat._version import __version__
from quadrat.errors import ImageError, ResultsError
from quadrat.files.atomic import discard, replace_file, replacing
from quadrat.files.hashing import digest
from quadrat.files.records import read_record
from quadrat.results.folder import ResultsFolder, split_version_path
from quadrat.results.links import plain_name
from quadrat.results.result import Result, read_result

# Files that cannot be written are listed up to here.
MOST_LINES = 10

# Ending of each format's files; its module writes them.
FORMATS = {
    "geotiff": ".tif",
    "geoparquet": ".parquet",
    "geopackage": ".gpkg",
    "qupath": ".geojson",
    "wsinfer": ".csv",
}


def export_results(
    form: str, paths: list[str], results: str, labels: list[str] | None, log: Callable[[str], None]
) -> None:
    """Write the exports that a folder lacks, so that it holds one per image.

    A record holds the origin of each file. An entry leaves it before its file is touched, so that
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
        Names of the values of a prediction, as in the configuration of the predictor.
    log : callable
        Takes the lines that a person should read.

    Raises
    ------
    ConfigError
        If a library that the format needs is missing.
    ResultsError
        If a Parquet is not the result that its name implies, or the format cannot hold the predictions.
    """
    found = [read_result(path) for path in paths if os.path.exists(path)]
    ok = [result for result in found if result.status == "ok"]
    known = tuple(labels or _found_labels(ok))
    wanted = {f"{plain_name(result.filename)}{FORMATS[form]}": result for result in ok}
    marks = {name: _mark(result, known) for name, result in wanted.items()}
    module = importlib.import_module(f"quadrat.exports.{form}")

    def write(name: str, path: Path) -> None:
        module.write(replace(wanted[name], labels=known), path)

    keep_current(form, marks, write, results, log)


def keep_current(
    form: str,
    marks: dict[str, str],
    write: Callable[[str, Path], None],
    results: str,
    log: Callable[[str], None],
) -> None:
    """Write the files that a folder lacks; what was written before an error is not written again.

    Parameters
    ----------
    form : str
        The name of the folder.
    marks : dict of str to str
        The name of each file, and a mark made from its inputs.
    write : callable
        Takes the name of a file and the path to write to. After an ImageError the file is missing.
    results : str
        The results folder.
    log : callable
        Takes the lines that a person should read.
    """
    record = _Record(form, results)
    removed = record.keep_only(marks)
    missing, problems = [name for name in marks if name not in record.held], []
    try:
        for name in missing:
            try:
                with replacing(f"{record.folder}/{name}", record.results) as temporary:
                    write(name, temporary)
            except ImageError as error:
                problems.append(f"{record.folder}/{name} was not written: {error}")
                continue
            record.held[name] = marks[name]
    finally:
        record.save()
    for line in problems[:MOST_LINES]:
        log(line)
    if len(problems) > MOST_LINES:
        log(f"and {len(problems) - MOST_LINES:,} more")
    written = len(missing) - len(problems)
    log(f"{record.folder}: {written:,} written, {len(marks) - len(missing):,} unchanged, {removed:,} removed")


def _found_labels(results: list[Result]) -> list[str]:
    """Return the labels of all images, sorted; none where predictions are not labels."""
    return sorted(set[str]().union(*(result.found_labels() for result in results if result.is_text)))


def _mark(result: Result, labels: tuple[str, ...]) -> str:
    """Return the mark of an export, made from all its inputs."""
    version = split_version_path(result.path)[1]
    return digest([version, labels, __version__])


class _Record:
    """The origin of each file of an export."""

    def __init__(self, form: str, results: str):
        self.results = results
        self.folder = f"{results}/{form}"
        self._path = Path(ResultsFolder(results).exported, f"{form}.json")
        try:
            self.held: dict[str, str] = read_record(self._path, {str: str})
        except FileNotFoundError:
            self.held = {}
        outside = [name for name in self.held if name.startswith("/") or ".." in name.split("/")]
        if outside:
            raise ResultsError(
                f"{self._path}: names {outside[0]}, which is not in {self.folder}; "
                "delete the record and run again"
            )

    def keep_only(self, marks: dict[str, str]) -> int:
        """Keep the entries of files that exist with their mark; remove files without one, and count them."""
        gone = [name for name in self.held if name not in marks]
        self.held = {
            name: mark
            for name, mark in self.held.items()
            if marks.get(name) == mark and os.path.exists(f"{self.folder}/{name}")
        }
        self.save()
        for name in gone:
            discard(f"{self.folder}/{name}", self.results)
        return len(gone)

    def save(self) -> None:
        """Write the record."""
        replace_file(self._path, orjson.dumps(self.held), self.results)
