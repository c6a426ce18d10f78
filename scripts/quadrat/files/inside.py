"""Inside a results folder: no file is made, replaced, appended to or removed through a link in it.

Other users may write to a results folder, and could lead quadrat elsewhere by a link. So the folder of each
file is opened component by component, without following links, and every operation on the file is relative
to that open folder. The path of the results folder itself may contain links, since they are the user's own.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

# Kinds of entries of a folder, by the format bits of their mode.
KINDS = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe"}

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def open_folder(folder: str | os.PathLike, results: str | os.PathLike, make: bool = False) -> Iterator[int]:
    """Open the results folder, or a folder in it.

    Parameters
    ----------
    folder : path
        Begins with `results`.
    results : path
        The results folder.
    make : bool
        Whether missing folders are made.

    Yields
    ------
    int
        The descriptor of the open folder, which is closed at the end of the block.

    Raises
    ------
    OSError
        If the folder does not exist, or a component of its path below `results` is not a folder.
    """
    place = os.fspath(results)
    names = _names_below(os.fspath(folder), place)
    try:
        opened = os.open(place, _FOLDER)
    except FileNotFoundError:
        if not make:
            raise
        os.makedirs(place, exist_ok=True)
        opened = os.open(place, _FOLDER)
    try:
        for name in names:
            place = f"{place}/{name}"
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=opened)
            inner = _open_entry(name, place, _FOLDER, opened, "a folder")
            os.close(opened)
            opened = inner
        yield opened
    finally:
        os.close(opened)


@contextmanager
def open_parent(
    path: str | os.PathLike, results: str | os.PathLike | None, make: bool = False
) -> Iterator[tuple[int, str]]:
    """Open the folder that a file is in; yield its descriptor, and the name of the file in it.

    Without a results folder, the folder of the file is the user's own.
    """
    folder, name = os.path.split(os.fspath(path))
    with open_folder(folder or ".", results or folder or ".", make) as opened:
        yield opened, name


def open_file(
    path: str | os.PathLike, results: str | os.PathLike | None, flags: int, make: bool = False
) -> int:
    """Open a regular file of the results folder to write to it in place; created if missing.

    Parameters
    ----------
    path, results : path
    flags : int
        Flags of `os.open`, such as ``os.O_RDWR | os.O_APPEND``.
    make : bool
        Whether its folder is created if missing.

    Returns
    -------
    int
        Its descriptor.

    Raises
    ------
    OSError
        If something else has its name, such as a link or a pipe.
    """
    with open_parent(path, results, make) as (folder, name):
        # A pipe would wait until its other end is opened.
        flags |= os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        return _open_entry(name, os.fspath(path), flags, folder, "a file")


def remove(path: str | os.PathLike, results: str | os.PathLike) -> None:
    """Remove a file of the results folder, or a link itself."""
    with open_parent(path, results) as (folder, name):
        os.unlink(name, dir_fd=folder)


def remove_empty(folder: str, results: str) -> None:
    """Remove a folder of the results folder, and those above it, as far as they are empty."""
    with suppress(OSError):  # not empty
        while len(folder) > len(results):
            with open_parent(folder, results) as (parent, name):
                os.rmdir(name, dir_fd=parent)
            folder = os.path.dirname(folder)


def walk(folder: str, results: str) -> Iterator[tuple[str, int, list[os.DirEntry]]]:
    """Yield a folder of the results folder and those beneath it, the deepest first; none if it is missing.

    Parameters
    ----------
    folder, results : str

    Yields
    ------
    path : str
    opened : int
        Descriptor of the folder, open until the next one is asked for.
    entries : list of os.DirEntry
        Links are entries like others, and are not followed.
    """
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_folder(folder, results))
        except FileNotFoundError:
            return
        yield from _walk(folder, opened)


def _walk(path: str, opened: int) -> Iterator[tuple[str, int, list[os.DirEntry]]]:
    with os.scandir(opened) as listed:
        entries = list(listed)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            try:
                inner = _open_entry(entry.name, f"{path}/{entry.name}", _FOLDER, opened, "a folder")
            except (FileNotFoundError, PermissionError):
                continue  # it was removed just now, or this user may not open it
            try:
                yield from _walk(f"{path}/{entry.name}", inner)
            finally:
                os.close(inner)
    yield path, opened, entries


def is_plain(entry: os.DirEntry) -> bool:
    """Return whether an entry of a folder is a file or a folder, and not a link, a pipe or the like."""
    return entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


def require(path: str, mode: int, expected: str) -> None:
    """Refuse an entry of another kind than the file or folder that quadrat expects.

    Parameters
    ----------
    path : str
    mode : int
        As `os.lstat` returns it.
    expected : {'a file', 'a folder'}

    Raises
    ------
    OSError
        With the kind of the entry, and a way out, as its text.
    """
    if KINDS.get(stat.S_IFMT(mode)) != expected:
        found = KINDS.get(stat.S_IFMT(mode), "a device or a socket")
        raise OSError(f"{path} is {found}, but must be {expected} of quadrat's; delete it and run again")


def _names_below(path: str, results: str) -> list[str]:
    below = path.removeprefix(results)
    names = [name for name in below.split("/") if name not in ("", ".")]
    is_below = path.startswith(results) and (not below or below[0] == "/" or results[-1:] in ("", "/"))
    if not is_below or ".." in names:
        raise OSError(f"{path} is not in the results folder {results}")
    return names


def _open_entry(name: str, path: str, flags: int, folder: int, expected: str) -> int:
    """Open an entry of a folder, unless it is a link or of another kind than expected."""
    try:
        opened = os.open(name, flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)
    except OSError:
        # The system's own message depends on the kind of the entry.
        with suppress(FileNotFoundError):
            require(path, os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode, expected)
        raise
    if not flags & os.O_DIRECTORY:
        try:
            require(path, os.fstat(opened).st_mode, expected)
        except OSError:
            os.close(opened)
            raise
    return opened
