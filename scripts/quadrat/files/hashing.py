"""Hashes of the bytes of files, and tokens that show when to hash again."""

import hashlib
import json
import os
from io import BufferedReader, FileIO
from typing import Any

import xxhash

# Read at a time: before each read the thread may wait for a predictor that does not release the GIL.
READ_BYTES = 1 << 20
HASH_DIGITS = 32

StatToken = tuple[int, int, int, int]


def stat_token(stat: os.stat_result, *others: os.stat_result) -> StatToken:
    """Return size, mtime (ns), ctime (ns) and inode, which change if a file is written or replaced.

    The first two are the same on every host, and stay if a file is renamed, linked or made executable. The
    token of several files consists of their total size, a hash of their sizes and mtimes, a hash of their
    sizes and ctimes, and a hash of their sizes and inodes.
    """
    if not others:
        return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
    sizes, *columns = zip(*map(stat_token, (stat, *others)), strict=True)
    folded = [xxhash.xxh3_64_intdigest(repr((sizes, column)).encode()) for column in columns]
    return sum(sizes), *folded


def join_hashes(hashes: list[str]) -> str:
    """Return the hash of all files of an image: the hash of a single file, or a hash of several hashes."""
    return hashes[0] if len(hashes) == 1 else xxhash.xxh3_128_hexdigest("".join(hashes).encode())


def is_hash(content_id: str) -> bool:
    """Return whether a content id is the hash of the content."""
    return len(content_id) == HASH_DIGITS


def hash_file(path: str | os.PathLike) -> str:
    """Hash the bytes of a file.

    Parameters
    ----------
    path : path

    Returns
    -------
    str
        xxh3-128 as 32 hex digits.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with BufferedReader(FileIO(path), READ_BYTES) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def digest(value: Any) -> str:
    """Return 12 hex digits that name a value made of JSON's types."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=VERSION_DIGITS // 2).hexdigest()


# Hex digits of a version, the last part of a result's name.
VERSION_DIGITS = 12
