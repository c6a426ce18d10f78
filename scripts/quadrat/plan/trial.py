"""The trial of a plan: what all of its images share is tried on one of them before the others start."""

import os
from pathlib import Path

from quadrat.files.atomic import discard
from quadrat.files.hashing import digest
from quadrat.plan.plan import Plan
from quadrat.results.folder import ResultsFolder


def awaited_trial(plan: Plan) -> list[str]:
    """Return the mark of the trial that the jobs of a plan wait for; empty if they need not wait.

    A trial is needed once for each recipe, and only if several jobs would meet the same error.

    Parameters
    ----------
    plan : Plan
    """
    if not plan.settings.needs_trial or plan.jobs <= 1:
        return []
    folder = ResultsFolder(plan.settings.results)
    merged, mark = folder.read_merged(), folder.trial_mark(digest(plan.recipe))
    is_proven = merged and merged["recipe"] == plan.recipe and merged["summary"]["ok"]
    return [] if is_proven or _is_passed(mark) else [mark]


def forget_trials(plan: Plan) -> None:
    """Remove the refusal of the last run, and the mark of a trial that no image was good for.

    Parameters
    ----------
    plan : Plan

    Raises
    ------
    WriteError
        If one cannot be removed.
    """
    folder = ResultsFolder(plan.settings.results)
    mark = folder.trial_mark(digest(plan.recipe))
    for path in [folder.refusal, *([] if _is_passed(mark) else [mark])]:
        discard(path, folder.path)


def _is_passed(mark: str) -> bool:
    return os.path.isfile(mark) and bool(Path(mark).stat().st_size)
