"""The manifest: the plan of a run as a table, for the jobs that read it and for whoever looks."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from quadrat.store import replace_file


class PlannedImage(NamedTuple):
    """One image of a run: a row of the manifest.

    Attributes
    ----------
    filename, path : str
        As the inventory found it.
    key : str
        The filename as a wildcard.
    version : str
        What its result is made from; empty where it has a problem.
    content_id : str
        What tells its content; empty where it has a problem.
    size : int
        Bytes of all its files; 0 where it has a problem.
    problem, hint : str
        Why it is listed as failed without a job; empty where it has one.
    regions : str
        Content hash of the file that its regions are drawn in; empty where there is none.
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
        The results folder that it is in; see `quadrat.store.replacing`.
    """
    images = list(images)
    own = list(images[0].columns) if images else []
    rows = ([*image[: len(FIELDS)], *image.columns.values()] for image in images)
    replace_file(path, table_bytes([*FIELDS, *own], rows), results)


def read_manifest(path: str) -> list[PlannedImage]:
    """Read the manifest back."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    # By place, since a column of the user's may be called as one of these.
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
        Column to text, a row each.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def table_bytes(header: list[str], rows: Iterable[list]) -> bytes:
    """Give a table as tab-separated text; values with tabs, quotes or line breaks are quoted."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
