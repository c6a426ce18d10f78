"""Notes and failures: what a person should know of how images were read, each and in short of all."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from quadrat.files.unread import NO_PLACE, sidecar_notes
from quadrat.results.result import Result
from quadrat.results.schema import SKIPPED_BY

ALL_SKIPPED = "all patches were skipped"
# Longer lists are cut: images.tsv has all notes.
MOST_LINES = 3
# More failures are listed by their reasons.
MOST_FAILURES = 20
MOST_EXAMPLES = 3
# Parts of messages that differ from image to image: numbers, and names with numbers or folders.
DIFFERING = re.compile(r"[^\s(]*[\d/][^\s)]*")


def image_notes(result: Result, sidecars: Sequence[str]) -> list[str]:
    """Return the notes on an image; none if it failed.

    Parameters
    ----------
    result : Result
    sidecars : sequence of str
        Endings of the files beside it that are not read; see `quadrat.files.unread.find_sidecars`.
    """
    if not result.image:
        return []
    notes = [*result.image.get("notes", []), *sidecar_notes(sidecars, result.image["transform"] is not None)]
    if _is_skipped([result]):
        notes.insert(0, f"{ALL_SKIPPED}{_reasons([result])}")
    return notes


def run_notes(results: Sequence[Result], notes: Sequence[Sequence[str]]) -> list[str]:
    """Return the notes on all images as a few lines.

    Parameters
    ----------
    results : sequence of Result
    notes : sequence of sequence of str
        The notes on each image.
    """
    lines = []
    noted: dict[str, list[str]] = {}
    for result, of_image in zip(results, notes, strict=True):
        for note in of_image:
            noted.setdefault(ALL_SKIPPED if note.startswith(ALL_SKIPPED) else note, []).append(
                result.filename
            )
    if _is_skipped(results):
        del noted[ALL_SKIPPED]
        keys = " and ".join(dict.fromkeys(filter(None, map(SKIPPED_BY.get, _skipped(results)))))
        change = f"; change {keys} (config.yaml)" if keys else ""
        lines.append(f"warning: {ALL_SKIPPED}{_reasons(results)}{change}")
    # First what may be a mistake, then the notes on most images.
    ranked = sorted(
        noted, key=lambda note: (not note.startswith((ALL_SKIPPED, NO_PLACE)), -len(noted[note]), note)
    )
    lines += [f"{_shown(noted[note])}: {note}" for note in ranked[:MOST_LINES]]
    if len(ranked) > MOST_LINES:
        lines.append("more notes: see column `notes` of images.tsv")
    return lines


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


def _shown(filenames: list[str]) -> str:
    return filenames[0] if len(filenames) == 1 else f"{len(filenames):,} images, such as {filenames[0]}"


def _is_skipped(results: Sequence[Result]) -> bool:
    patches, skipped = (sum(one.counts.get(name, 0) for one in results) for name in ("patches", "skipped"))
    return 0 < patches == skipped


def _reasons(results: Sequence[Result]) -> str:
    reasons = [f"{reason} {number:,}" for reason, number in _skipped(results).items()]
    return f" ({', '.join(reasons)})" if reasons else ""


def _skipped(results: Sequence[Result]) -> dict[str, int]:
    """Count the skipped patches by the reason, without the reasons of none."""
    counts = {reason: sum(one.counts.get(f"skipped_{reason}", 0) for one in results) for reason in SKIPPED_BY}
    return {reason: number for reason, number in counts.items() if number}
