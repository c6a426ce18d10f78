"""Notes: what a person should know of how images were read, of each for the table and in short of all."""

from collections.abc import Sequence

from quadrat.files.unread import NO_PLACE, sidecar_notes
from quadrat.results.result import Result
from quadrat.results.schema import SKIPPED_BY

ALL_SKIPPED = "all patches were skipped"
# Longer lists are cut: images.tsv has all notes.
MOST_LINES = 3


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
