"""Content ids: they separate images that changed from images that were touched, copied or restored.

An image that was never seen is named by its size and modification time, at no cost. Afterwards its stat
token decides: while the token stays, so does the content id, and no byte is read. If the token changes, the
file is hashed. If a result of the image was made from the same bytes, its content id applies again;
otherwise the hash is the new content id. The token and hash of an image that names other files cover all of
them.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import orjson

from quadrat.errors import ResultsError
from quadrat.files.atomic import replace_file, writing
from quadrat.files.hashing import StatToken, hash_file, join_hashes, stat_token
from quadrat.files.inside import open_file
from quadrat.plan.found import FoundImage
from quadrat.results.schema import read_footer

# A run saves its hashes at this interval; after a kill it hashes later files again. To save each hash would
# take longer.
SECONDS_BETWEEN_SAVES = 1.0

# Approximate bytes of the small files that a thread takes at a time.
BATCH_BYTES = 1 << 24

# A hash, or a size and a modification time.
_CONTENT_ID = re.compile(r"[0-9a-f]{32}|[0-9]{1,20}--?[0-9]{1,20}")


class Changed(NamedTuple):
    """An image whose stat token differs from the recorded one."""

    filename: str
    files: list[str]
    stat_token: StatToken


class ContentLog:
    """The content id and stat token of each file when it was last read.

    A file of JSON lines, in which the last line for a name applies. Planning that is stopped goes on from its
    last line.

    Parameters
    ----------
    path : Path
        Where the log is kept, in a folder of the results folder; need not exist.
    """

    def __init__(self, path: Path):
        self._path, self._results = path, path.parents[1]
        self._entries: dict[str, tuple[StatToken, str]] = {}
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            try:
                name, recorded, content_id = orjson.loads(line)
                if _CONTENT_ID.fullmatch(content_id):
                    self._entries[name] = (tuple(recorded), content_id)
            except (ValueError, TypeError):
                continue  # a line that a killed run did not finish, or that quadrat did not write
        self._lines = len(lines)

    def get(self, name: str) -> tuple[StatToken, str] | None:
        """Return the stat token and content id last recorded for a name."""
        return self._entries.get(name)

    def record(self, entries: Iterable[tuple[str, StatToken, str]]) -> None:
        """Keep the stat token and content id of each name, on disk when this returns."""
        lines = []
        for name, found, content_id in entries:
            if self._entries.get(name) != (found, content_id):
                self._entries[name] = (found, content_id)
                lines.append(orjson.dumps([name, found, content_id], option=orjson.OPT_APPEND_NEWLINE))
        if not lines:
            return
        with writing(self._path):
            self._append(lines)
        self._lines += len(lines)

    def _append(self, lines: list[bytes]) -> None:
        with open(open_file(self._path, self._results, os.O_RDWR | os.O_APPEND, make=True), "r+b") as file:
            # A killed run may have left half a line.
            is_cut = file.seek(0, os.SEEK_END) and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
            file.write(b"\n" * bool(is_cut) + b"".join(lines))

    def compact(self) -> None:
        """Rewrite the log when most of its lines are out of date."""
        if self._lines > 2 * len(self._entries) + 100:
            lines = (
                orjson.dumps([name, *entry], option=orjson.OPT_APPEND_NEWLINE)
                for name, entry in self._entries.items()
            )
            replace_file(self._path, b"".join(lines), self._results)
            self._lines = len(self._entries)


def hash_known(path: str, log: ContentLog) -> str:
    """Return the hash of a model file or source file, reading it only when its stat token changed."""
    name = "file:" + os.path.abspath(path)
    found = stat_token(os.stat(path))
    entry = log.get(name)
    if entry is None or entry[0] != found:
        entry = found, hash_file(path)
        log.record([(name, *entry)])
    return entry[1]


def identify(
    images: list[FoundImage],
    results_of: Callable[[str], list[str]],
    merged: dict[str, list[str]],
    log: ContentLog,
    verify: str,
    announce: Callable[[str], None],
) -> dict[str, str]:
    """Return the content id of each image.

    Parameters
    ----------
    images : list of FoundImage
        Images without a problem.
    results_of : callable
        Returns the paths of the existing results of an image, by filename, of any version.
    merged : dict of str to list of str
        Filename to the content id and content hash of the result that was merged last.
    log : ContentLog
        The content ids of earlier runs; this run adds its own.
    verify : {'content', 'stat'}
        Whether files whose stat token changed are hashed, or named by size and modification time.
    announce : callable
        Takes lines that show the progress of hashing.

    Returns
    -------
    dict of str to str
        Filename to content id.
    """
    content_ids, first_seen, changed = {}, [], []
    for image in images:
        found = stat_token(*image.files.values())
        entry = log.get(image.filename)
        if entry and entry[0] == found:
            content_ids[image.filename] = entry[1]
        elif entry and verify == "stat" and entry[0][:2] == found[:2]:
            first_seen.append((image.filename, found, entry[1]))
        elif verify == "stat" or (entry is None and not results_of(image.filename)):
            first_seen.append((image.filename, found, _stat_id(found)))
        else:
            changed.append(Changed(image.filename, list(image.files), found))
    log.record(first_seen)
    content_ids.update((filename, content_id) for filename, _, content_id in first_seen)
    content_ids.update(_hash_changed(changed, results_of, merged, log, announce))
    log.compact()
    return content_ids


def _stat_id(found: StatToken) -> str:
    return f"{found[0]}-{found[1]}"


def _hash_changed(
    images: list[Changed],
    results_of: Callable[[str], list[str]],
    merged: dict[str, list[str]],
    log: ContentLog,
    announce: Callable[[str], None],
) -> dict[str, str]:
    content_ids: dict[str, str] = {}
    unsaved, saved_at = [], time.monotonic()

    def find(batch: list[Changed]) -> list[str | None]:
        return [_content_id(image, results_of, merged.get(image.filename)) for image in batch]

    batches = list(_batches(images))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch, found in zip(batches, pool.map(find, batches), strict=True):
            for image, content_id in zip(batch, found, strict=True):
                content_ids[image.filename] = content_id or _stat_id(image.stat_token)
                if content_id:
                    unsaved.append((image.filename, image.stat_token, content_id))
            done = len(content_ids)
            if done == len(images) or time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES:
                log.record(unsaved)
                unsaved, saved_at = [], time.monotonic()
            if done == len(images) or done // 1000 > (done - len(batch)) // 1000:
                announce(f"read {done:,} of {len(images):,} files that were touched or replaced")
    return content_ids


def _batches(images: list[Changed]) -> Iterator[list[Changed]]:
    """Group small files: handing one to a thread takes as long as hashing 300 kB."""
    batch, size = [], 0
    for image in images:
        batch.append(image)
        size += image.stat_token[0]
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _content_id(
    image: Changed, results_of: Callable[[str], list[str]], merged: list[str] | None
) -> str | None:
    """Hash an image and look for the hash among its results; None if the file cannot be read."""
    try:
        content_hash = join_hashes([hash_file(path) for path in image.files])
    except OSError:
        return None  # its job meets the same error and records it
    if merged and merged[1] == content_hash:
        return merged[0]  # as in its footer
    for path in results_of(image.filename):
        try:
            footer, _ = read_footer(path)
        except ResultsError:
            continue  # not a result; the merge refuses it where it is asked for
        if footer.get("content_hash") == content_hash:
            return footer["content_id"]
    return content_hash
