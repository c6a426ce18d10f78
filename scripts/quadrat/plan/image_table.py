"""Tables of images that users write: from a file to its rows."""

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from quadrat.errors import ConfigError
from quadrat.files.text import NOT_UTF_8
from quadrat.results.folder import TABLE_COLUMNS

# The separators that a table may have, by its ending.
SEPARATORS = {".tsv": "\t", ".csv": ",;", ".txt": "\t,;"}
_NAMES = {".tsv": "tabs", ".csv": "commas or semicolons", ".txt": "tabs, commas or semicolons"}


class Row(NamedTuple):
    """A row of a table.

    Attributes
    ----------
    line : int
        Counted from 1.
    filename : str
        The name of the image: a relative path without `..`.
    path : str
        Where the image is; relative paths start at the table.
    columns : dict of str to str
        The user's own columns, and `path` if the table has it.
    """

    line: int
    filename: str
    path: str
    columns: dict[str, str]


def ending_of(path: str) -> str:
    """Return the ending of a path in lower case, such as `.tsv`."""
    return os.path.splitext(path)[1].lower()


def is_table(path: str) -> bool:
    """Return whether a path is that of a table of images, rather than of a folder or an image."""
    return ending_of(path) in SEPARATORS and not os.path.isdir(path)


def read_rows(table: str) -> Iterator[Row]:
    """Read the rows of a table; a `.txt` without a header has one path per line.

    Parameters
    ----------
    table : str

    Yields
    ------
    Row

    Raises
    ------
    ConfigError
        If the table cannot be read, or a row is not usable: one line with the number of the line.
    """
    try:
        # A list may hold names in other encodings: their images are listed as failed.
        text = Path(table).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(
            f"images {table}: cannot be read: {error.strerror} (config.yaml: images)"
        ) from error
    if "\0" in text:
        raise ConfigError(
            f"images {table}: has null bytes, as UTF-16 and find -print0 write them; "
            f"save it as UTF-8 with a line per image ({table})"
        )
    header = re.split("[\t,;]", text.partition("\n")[0])
    is_list = ending_of(table) == ".txt" and "filename" not in (cell.strip('"') for cell in header)
    return _listed(text, os.path.dirname(table)) if is_list else _tabulated(text, table)


def _listed(text: str, folder: str) -> Iterator[Row]:
    """Yield the paths of a list, each once. A path that leaves the list's folder is named by all of it."""
    seen: set[str] = set()
    for number, path in enumerate(text.split("\n"), start=1):
        absolute = os.path.abspath(os.path.join(folder, path))
        if path.strip() and absolute not in seen:
            seen.add(absolute)
            name = os.path.normpath(path)
            name = absolute if name.partition("/")[0] == ".." else name
            yield Row(number, name.lstrip("/") or name, path, {})


def _tabulated(text: str, table: str) -> Iterator[Row]:
    if bad := NOT_UTF_8.search(text):
        line = 1 + text.count("\n", 0, bad.start())
        raise ConfigError(f"images {table}: line {line} is not UTF-8; save the table as UTF-8 ({table})")
    try:
        for separator in SEPARATORS[ending_of(table)]:
            rows = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
            if "filename" in (rows.fieldnames or []):
                break
        _check_columns(list(rows.fieldnames or []), table)
        for row in rows:
            if None in row or None in row.values():
                raise ConfigError(
                    f"images {table}: line {rows.line_num} and line 1 have different numbers of columns; "
                    f"change line {rows.line_num} ({table})"
                )
            filename = _checked_filename(row.pop("filename"), table, rows.line_num)
            yield Row(rows.line_num, filename, row.get("path") or filename, row)
    except csv.Error as error:
        raise ConfigError(
            f"images {table}: the row below line {rows.line_num} has a quote that is not closed or that "
            f"other text follows, or a cell of more than {csv.field_size_limit():,} characters; double "
            f"each quote that is part of a name ({table})"
        ) from error


def _check_columns(columns: list[str], table: str) -> None:
    if "filename" not in columns:
        raise ConfigError(
            f"images {table}: has the columns {', '.join(columns) or 'none'}; it needs a column `filename`, "
            f"separated by {_NAMES[ending_of(table)]} ({table}: line 1)"
        )
    own = [column for column in columns if column in TABLE_COLUMNS[1:] or columns.count(column) > 1]
    if own:
        raise ConfigError(
            f"images {table}: column {own[0]} occurs twice or is a column of images.tsv; "
            f"rename it ({table}: line 1)"
        )


def _checked_filename(filename: str, table: str, line: int) -> str:
    pure = PurePosixPath(filename)
    if not pure.name or pure.is_absolute() or ".." in pure.parts:
        raise ConfigError(
            f"images {table}: filename {filename!r} on line {line} must be a path relative to the table, "
            f"without `..`; a column `path` may have any path ({table})"
        )
    return str(pure)
