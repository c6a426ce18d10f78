"""What files hold: hashes of their bytes, and signatures that tell when to hash again."""

import os
from pathlib import Path

import xxhash

READ_BYTES = 1 << 22
HASH_DIGITS = 32

Signature = tuple[int, int, int, int]


def signature(stat: os.stat_result) -> Signature:
    """Give what changes whenever a file is written or replaced: size, mtime (ns), ctime (ns) and inode."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def mark(path: str | os.PathLike) -> list[int]:
    """Give what changes when a file is written to: size and mtime (ns), as JSON keeps it."""
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]


def is_hash(content_id: str) -> bool:
    """Tell whether a content id is the hash of the content."""
    return len(content_id) == HASH_DIGITS


def hash_file(path: str | os.PathLike) -> str:
    """Hash the bytes of a file.

    Parameters
    ----------
    path : path
        File to read, in pieces of 4 MiB.

    Returns
    -------
    str
        xxh3-128 as 32 hex digits.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(READ_BYTES))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()
