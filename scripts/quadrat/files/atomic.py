"""Files written whole or not at all."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from quadrat.errors import WriteError
from quadrat.files.inside import open_parent, remove

# How the names of files end that are not whole yet; they begin with a dot.
TEMPORARY = ".tmp"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

# Errors of a disk, whichever file was read or written when the system reported them.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn an error of the system in the block into one that names the file.

    Parameters
    ----------
    path : path

    Raises
    ------
    WriteError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(path, error) from error


@contextmanager
def replacing(path: str | os.PathLike, results: str | os.PathLike | None = None) -> Iterator[Path]:
    """Yield a path to write to that takes the place of `path` when the block ends without an error.

    The file is on disk before it is renamed, so that `path` is always a whole file.

    Parameters
    ----------
    path : path
        File to make or replace. Its folder is created if missing.
    results : path, optional
        The results folder that contains it; links inside that folder are not followed. Default: the folder of
        `path`.

    Yields
    ------
    Path
        An open file, by its descriptor, so that changes of its name do not change the file that is written
        to. Its name is unique, and is removed if the block raises.

    Raises
    ------
    WriteError
        If the file cannot be written, if a link is in the way, or if another run removed its temporary file
        as that of a killed job.
    """
    path = Path(path)
    temporary = f".{path.name[:40]}.{secrets.token_hex(4)}{TEMPORARY}"
    with ExitStack() as stack:
        with writing(path):
            folder, name = stack.enter_context(open_parent(path, results or path.parent, make=True))
            handle = os.open(temporary, _NEW, 0o666, dir_fd=folder)
            stack.callback(os.close, handle)
            # Whole results have the permissions that the user's umask allows; nobody else reads half of one.
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            os.fchmod(handle, 0o600)
        try:
            yield Path(f"/dev/fd/{handle}")
            with writing(path):
                os.fchmod(handle, mode)
                os.fsync(handle)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException as error:
            with suppress(OSError):  # on a disk that has become read-only
                os.unlink(temporary, dir_fd=folder)
            if isinstance(error, OSError) and error.errno in UNWRITABLE:
                raise WriteError(path, error) from error
            raise


def replace_file(path: str | os.PathLike, content: bytes, results: str | os.PathLike | None = None) -> None:
    """Write a small file whole or not at all; see `replacing`."""
    with replacing(path, results) as temporary:
        temporary.write_bytes(content)


def discard(path: str | os.PathLike, results: str | os.PathLike) -> None:
    """Remove a file of the results folder, if it exists.

    Raises
    ------
    WriteError
        If it cannot be removed.
    """
    with writing(path), suppress(FileNotFoundError):
        remove(path, results)
