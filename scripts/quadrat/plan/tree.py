"""The tree of a folder: its files, and the folders in it that cannot be searched."""

import heapq
import os
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from quadrat.files.unread import ARRAY_FOLDER

# Folders that file servers and backup tools leave among the images.
FOREIGN_FOLDERS = ("@eaDir",)

# A reason to leave out files of a tree.
HIDDEN = "hidden"

# It may lead to a folder that its author could not read, or back to its own place.
LINKED_FOLDER = "a link to a folder is not searched"
LINKED_FOLDER_HINT = "follow_links: true searches it (config.yaml); or name the folder itself in images"


class Leaf(NamedTuple):
    """A file of a tree, or a folder that is not searched.

    Attributes
    ----------
    name : str
        Path relative to the tree, after its prefix; the path of a folder ends in a slash.
    path : str
        Path to open it by.
    is_link : bool
    problem, hint : str
        The reason why a folder is not searched, and a way out; empty for a file.
    """

    name: str
    path: str
    is_link: bool
    problem: str = ""
    hint: str = ""


def walk(
    folder: str, prefix: str, excluded: str, follow_links: bool, left_out: Counter[str]
) -> Iterator[Leaf]:
    """Yield the entries of a folder, however deep. No folder is searched twice, so that loops of links end.

    Parameters
    ----------
    folder : str
    prefix : str
        The start of all names; may be empty.
    excluded : str
        A folder that is not searched, and not reported; need not exist.
    follow_links : bool
        Whether to search folders that links lead to.
    left_out : collections.Counter of str
        Takes how many files and folders are hidden, and how many folders are arrays.

    Raises
    ------
    OSError
        If the folder itself cannot be listed.
    """
    beyond = _identity(excluded) if os.path.isdir(excluded) else None
    searched: dict[tuple[int, int], str] = {}
    # Links come last, and in order, so that a file has a name without links if it can be found without them.
    pending = [(prefix, folder)]
    linked: list[tuple[str, str]] = []
    while pending or linked:
        name, path = pending.pop() if pending else heapq.heappop(linked)
        try:
            identity = _identity(path)
            if identity == beyond and name != prefix:
                continue
            if identity in searched:
                yield Leaf(f"{name}/", path, True, f"it is already searched, as {searched[identity]}")
                continue
            searched[identity] = name or "the images folder itself"
            entries = list(os.scandir(path))
        except OSError as error:
            if name == prefix:
                raise
            yield Leaf(f"{name}/", path, False, f"folder cannot be listed: {error.strerror}")
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in FOREIGN_FOLDERS:
                left_out[HIDDEN] += 1
                continue
            if entry.name.lower().endswith(ARRAY_FOLDER) and entry.is_dir():
                left_out[ARRAY_FOLDER] += 1
                continue
            place = (f"{name}/{entry.name}" if name else entry.name, entry.path)
            if entry.is_dir(follow_symlinks=False):
                pending.append(place)
            elif not (entry.is_symlink() and os.path.isdir(entry.path)):
                yield Leaf(*place, entry.is_symlink())
            elif follow_links:
                heapq.heappush(linked, place)
            else:
                yield Leaf(f"{place[0]}/", entry.path, True, LINKED_FOLDER, LINKED_FOLDER_HINT)


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
