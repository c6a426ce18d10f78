"""The inventory: which images there are."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from quadrat.config import Settings
from quadrat.errors import ConfigError
from quadrat.results import TABLE_COLUMNS

# What Snakemake takes for one of its path variables (snakemake.pathvars).
_PATHVAR = re.compile("<[a-z][a-z0-9_]*>")

# Folders that file servers and backup tools leave among the images.
FOREIGN_FOLDERS = ("@eaDir",)

# It may lead out of the images, or back into them: what is searched is what the configuration names.
LINKED_FOLDER = "a link to a folder is not searched"
LINKED_FOLDER_HINT = "name the folder itself (config.yaml: images), or leave the link out"

RENAME_HINT = "rename the file: its name would not survive the workflow"


@dataclass(frozen=True)
class FoundImage:
    """One image as the inventory finds it.

    Attributes
    ----------
    filename : str
        Path relative to the images folder.
    path : str
        Path to open it by.
    stat : os.stat_result or None
        Its status; None where it has a problem.
    problem, hint : str
        Why it cannot be predicted although it is listed, and what helps; empty where it can.
    columns : dict of str to str
        The user's own columns, where `images` is a TSV.
    """

    filename: str
    path: str
    stat: os.stat_result | None = None
    problem: str = ""
    hint: str = ""
    columns: dict[str, str] = field(default_factory=dict)


# Why files are no images of a run, beside the endings of those that are none.
HIDDEN, NO_FILE, NOT_CHOSEN = "hidden", "pipes and devices", "left out by include and exclude"


def find_images(settings: Settings, left_out: Counter[str] | None = None) -> list[FoundImage]:
    """List the images of a run, in order of their filenames.

    Hidden files and folders, those of file servers, and the results folder are not searched.

    Parameters
    ----------
    settings : Settings
    left_out : collections.Counter of str, optional
        Takes how many files are no images of the run: by their ending, or by why.

    Returns
    -------
    list of FoundImage
        Without those that `include` and `exclude` leave out.

    Raises
    ------
    ConfigError
        If `images` is missing or empty, or its TSV is not usable.
    """
    left_out = Counter() if left_out is None else left_out
    images = _found(settings, left_out)
    if not images:
        raise ConfigError(
            f"images {settings.images}: no image there ends in {' '.join(settings.extensions)}; "
            "put images there or point elsewhere (config.yaml: images, extensions)"
        )
    chosen = [image for image in images if is_chosen(image.filename, settings)]
    left_out[NOT_CHOSEN] += len(images) - len(chosen)
    if not chosen:
        raise ConfigError(
            f"images {settings.images}: none of its {len(images):,} images is left "
            "(config.yaml: include, exclude)"
        )
    return sorted(chosen, key=lambda image: image.filename)


def _found(settings: Settings, left_out: Counter[str]) -> list[FoundImage]:
    if isinstance(settings.images, list):
        return [
            image
            for name, folder in _named(settings.images)
            for image in _in_folder(folder, name, settings, left_out)
        ]
    if settings.images.lower().endswith(".tsv"):
        return _in_table(settings.images)
    return list(_in_folder(settings.images, "", settings, left_out))


def is_chosen(filename: str, settings: Settings) -> bool:
    """Tell whether `include` and `exclude` leave an image in."""
    return any(fnmatchcase(filename, glob) for glob in settings.include) and not any(
        fnmatchcase(filename, glob) for glob in settings.exclude
    )


def _named(folders: list[str]) -> list[tuple[str, str]]:
    named: dict[str, str] = {}
    for folder in folders:
        name = os.path.basename(os.path.abspath(folder))
        if name in named:
            raise ConfigError(
                f"images {named[name]} and {folder}: both folders are called {name}, which prefixes their "
                "filenames; give their parent folder instead (config.yaml: images)"
            )
        named[name] = folder
    return list(named.items())


def _in_folder(folder: str, prefix: str, settings: Settings, left_out: Counter[str]) -> Iterator[FoundImage]:
    if not os.path.isdir(folder):
        raise ConfigError(
            f"images {folder}: no such folder; create it or point to another (config.yaml: images)"
        )
    endings = tuple(ending.lower() for ending in settings.extensions)
    try:
        results = os.stat(settings.results)
    except FileNotFoundError:
        results = None
    pending = [(folder, prefix)]
    while pending:
        path, name = pending.pop()
        try:
            entries = list(os.scandir(path))
        except OSError as error:
            if name == prefix:
                raise ConfigError(f"images {folder}: {error.strerror} (config.yaml: images)") from error
            yield FoundImage(name + "/", path, problem=f"folder cannot be listed: {error.strerror}")
            continue
        for entry in entries:
            filename = f"{name}/{entry.name}" if name else entry.name
            if entry.name.startswith(".") or entry.name in FOREIGN_FOLDERS:
                left_out[HIDDEN] += 1
                continue
            if entry.is_dir(follow_symlinks=False):
                if results is None or not os.path.samestat(entry.stat(), results):
                    pending.append((entry.path, filename))
            elif entry.is_dir():
                yield FoundImage(filename + "/", entry.path, problem=LINKED_FOLDER, hint=LINKED_FOLDER_HINT)
            elif entry.name.lower().endswith(endings):
                images = list(_inspect(filename, entry.path, {}))
                left_out[NO_FILE] += not images
                yield from images
            else:
                left_out[os.path.splitext(entry.name)[1].lower()] += 1


def _inspect(filename: str, path: str, columns: dict[str, str]) -> Iterator[FoundImage]:
    """Give the image unless it is a folder or a device, with the problem that keeps it from being read."""
    problem = _unusable_name(filename, path)
    if problem:
        # Undecodable bytes and line breaks are shown, since tables and terminals cannot hold them.
        shown = filename.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        shown = shown.replace("\n", r"\n").replace("\r", r"\r")
        yield FoundImage(shown, path, problem=problem, hint=RENAME_HINT, columns=columns)
        return
    try:
        stat = os.stat(path)
    except OSError as error:
        yield FoundImage(filename, path, problem=f"cannot be opened: {error.strerror}", columns=columns)
        return
    if not os.path.isfile(path):
        return
    yield FoundImage(filename, path, stat, columns=columns)


def _unusable_name(filename: str, path: str) -> str:
    if "{" in path or "}" in path:
        return "Snakemake cannot carry a name with braces"
    if _PATHVAR.search(path):
        return "Snakemake cannot carry a name with a word between < and >"
    if any("\ud800" <= character <= "\udfff" for character in path):
        return "the name is not valid UTF-8"
    if "\n" in path or "\r" in path:
        return "the name holds a line break"
    return ""


def _in_table(path: str) -> list[FoundImage]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"images {path}: cannot be read: {error} (config.yaml: images)") from error
    table = csv.DictReader(io.StringIO(text), delimiter="\t")
    _check_columns(list(table.fieldnames or []), path)
    images, lines = [], {}
    for row in table:
        if None in row or None in row.values():
            raise ConfigError(
                f"images {path}: line {table.line_num} has another number of columns than line 1 ({path})"
            )
        filename = _checked_filename(row.pop("filename"), path, table.line_num)
        if filename in lines:
            raise ConfigError(
                f"images {path}: {filename} is on lines {lines[filename]} and {table.line_num}; "
                f"a filename must be listed once ({path})"
            )
        lines[filename] = table.line_num
        images += _listed(filename, os.path.join(os.path.dirname(path), filename), row)
    return images


def _check_columns(columns: list[str], path: str) -> None:
    if "filename" not in columns:
        raise ConfigError(
            f"images {path}: has the columns {', '.join(columns) or 'none'}; "
            f"must have a column `filename`, separated by tabs ({path}: line 1)"
        )
    own = [column for column in columns if column in TABLE_COLUMNS[1:] or columns.count(column) > 1]
    if own:
        raise ConfigError(
            f"images {path}: column {own[0]}: must be there once, and not be a column of images.tsv; "
            f"rename it ({path}: line 1)"
        )


def _checked_filename(filename: str, path: str, line: int) -> str:
    pure = PurePosixPath(filename)
    if not filename or pure.is_absolute() or ".." in pure.parts:
        raise ConfigError(
            f"images {path}: filename {filename!r} on line {line} must be a path relative to the table, "
            f"without `..` ({path})"
        )
    return str(pure)


def _listed(filename: str, path: str, columns: dict[str, str]) -> list[FoundImage]:
    # What a table names is never left out in silence, as a folder's other files are.
    return list(_inspect(filename, path, columns)) or [
        FoundImage(filename, path, problem="not a file", columns=columns)
    ]
