"""The manifest: the plan of a run as a table, for its jobs and for people."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quadrat.errors import ResultsError
from quadrat.files.atomic import replace_file
from quadrat.files.text import table_bytes
from quadrat.results.folder import TABLE_COLUMNS

_NUMBER = re.compile("[0-9]{1,18}")
# More failures are listed by their reasons.
MOST_FAILURES = 20
MOST_EXAMPLES = 3
# Parts of messages that differ from image to image: numbers, and names with numbers or folders.
DIFFERING = re.compile(r"[^\s(]*[\d/][^\s)]*")


class PlannedImage(NamedTuple):
    """One image of a run: a row of the manifest.

    Attributes
    ----------
    filename, path : str
        As the inventory found it.
    key : str
        The filename as a wildcard.
    version : str
        Names the inputs of its result; empty if it has a problem.
    content_id : str
        Names its content; empty if it has a problem.
    size : int
        Bytes of all its files; 0 if it has a problem.
    problem, hint : str
        The reason why it is listed as failed without a job, and the way out; empty if it has a job.
    regions : str
        Content hash of the file with its regions; empty if there is no such file.
    columns : dict of str to str
        The user's own columns.
    """

    filename: str
    key: str
    version: str
    content_id: str
    path: str
    size: int
    problem: str = ""
    hint: str = ""
    regions: str = ""
    columns: dict[str, str] = {}  # noqa: RUF012  nobody changes it


FIELDS = PlannedImage._fields[:-1]


def write_manifest(path: str, images: Iterable[PlannedImage], results: str | None = None) -> None:
    """Write the manifest, whole or not at all.

    Parameters
    ----------
    path : str
    images : iterable of PlannedImage
        In order of their filenames; all have the same user's columns.
    results : str, optional
        The results folder that it is in; see `quadrat.files.atomic.replacing`.
    """
    images = list(images)
    own = list(images[0].columns) if images else []
    rows = ([*image[: len(FIELDS)], *image.columns.values()] for image in images)
    replace_file(path, table_bytes([*FIELDS, *own], rows), results)


def read_manifest(path: str) -> list[PlannedImage]:
    """Read the manifest back.

    Raises
    ------
    ResultsError
        If the file is not one that quadrat wrote.
    """
    header, rows = _read_table(path, FIELDS, "size")
    # By place, since a column of the user's may have the same name as one of these.
    own = header[len(FIELDS) :]
    images = []
    for row in rows:
        fields: dict[str, Any] = dict(zip(FIELDS, row, strict=False))
        fields["size"] = int(fields["size"])
        images.append(PlannedImage(**fields, columns=dict(zip(own, row[len(FIELDS) :], strict=True))))
    return images


def read_image_table(path: str) -> list[dict[str, str]]:
    """Read images.tsv back.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of dict of str to str
        Column to text, one dictionary per row.

    Raises
    ------
    ResultsError
        If the file is not one that quadrat wrote.
    """
    # Earlier versions wrote no notes.
    header, rows = _read_table(path, TABLE_COLUMNS[:-1], "patches")
    return [{"notes": ""} | dict(zip(header, row, strict=True)) for row in rows]


class Failure(NamedTuple):
    """A line of the list of failures.

    Attributes
    ----------
    images : str
        The filename; or how many images have the reason, with examples.
    number : int
        Number of images.
    message, hint : str
        The reason and the way out of the first image.
    """

    images: str
    number: int
    message: str
    hint: str


def list_failures(failed: Sequence[Mapping[str, str]]) -> list[Failure]:
    """List failures: a line per image, or a line per reason if there are many.

    Parameters
    ----------
    failed : sequence of mapping of str to str
        Rows of images.tsv.
    """
    is_grouped = len(failed) > MOST_FAILURES
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in failed:
        reason = DIFFERING.sub("", f"{row['message']} {row['hint']}")
        groups.setdefault(reason if is_grouped else row["filename"], []).append(row)
    lines = []
    for rows in sorted(groups.values(), key=len, reverse=True):
        names = [row["filename"] for row in rows]
        *first, last = names[:MOST_EXAMPLES]
        examples = f"{', '.join(first)} and {last}" if first else last
        images = last if len(names) == 1 else f"{len(names):,} images, such as {examples}"
        lines.append(Failure(images, len(names), rows[0]["message"], rows[0]["hint"]))
    return lines


def _read_table(path: str, columns: tuple[str, ...], number: str) -> tuple[list[str], list[list[str]]]:
    """Read a table that begins with some columns, one of them with whole numbers."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t")
    except (ValueError, csv.Error):
        header, rows = [], []
    place = columns.index(number)
    is_whole = all(len(row) == len(header) and _NUMBER.fullmatch(row[place]) for row in rows)
    if tuple(header[: len(columns)]) != columns or not is_whole:
        raise ResultsError(f"{path}: quadrat did not write this table; delete the file and run again")
    return header, rows
