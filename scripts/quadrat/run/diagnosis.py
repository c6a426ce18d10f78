"""Diagnosis: obstacles that keep a run from going on and are no fault of its images, such as a full disk."""

import os
import tempfile

from quadrat.files.scenes import named_files
from quadrat.plan.plan import Plan

# A disk with less room is as good as full.
ROOM = 1 << 20


def diagnose(plan: Plan, folders: list[str]) -> list[str]:
    """Check that the images of a run still exist, and that its folders can be written to.

    Parameters
    ----------
    plan : Plan
    folders : list of str
        The folders that the run writes to.

    Returns
    -------
    list of str
        One line per obstacle.
    """
    refused = {folder: _why_unwritable(folder) for folder in folders}
    lines = [f"{folder}: cannot be written to: {why}" for folder, why in refused.items() if why]
    files = [named_files(image.path) for image in plan.images if image.version]
    missing = [[path for path in paths if not os.path.exists(path)] for paths in files]
    gone = [paths[0] for paths in missing if paths]
    if gone:
        lines.append(
            f"{len(gone):,} of the {len(plan.images):,} images are gone since the run began, "
            f"such as {gone[0]}; is a disk not mounted?"
        )
    return lines


def _why_unwritable(folder: str) -> str:
    """Try to write to a folder; return the error that the system reports, or an empty text."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""
