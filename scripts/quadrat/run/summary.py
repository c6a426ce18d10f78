"""The summary: the lines that a person reads at the end of a run."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from glob import escape

import orjson

from quadrat.files.text import counted
from quadrat.plan.plan import Plan, is_merged
from quadrat.plan.trial import awaited_trial
from quadrat.results.folder import ResultsFolder
from quadrat.results.tables import list_failures, read_image_table

# Longer lists are cut: images.tsv lists all images.
MOST_LINES = 20


def summarise(
    plan: Plan, seconds: float, shown: Callable[[str], str] = str, named: Callable[[str], str] = str
) -> list[str]:
    """Describe the results of a run.

    Parameters
    ----------
    plan : Plan
        The plan of the run.
    seconds : float
        Duration of the run.
    shown : callable, optional
        From a path to the path as it is shown.
    named : callable, optional
        From the name of a rule to its name in the workflow that quadrat is a module of.

    Returns
    -------
    list of str
        Lines; failures come last.
    """
    folder = ResultsFolder(plan.settings.results)
    shards = {path for paths in folder.list_shards().values() for path in paths}
    there = {path for paths in folder.list_versions().values() for path in paths} | shards
    if os.path.exists(folder.refusal):
        return []  # the terminal has shown why
    if unfinished := _unfinished_trial(plan, folder, shown, named("predict_image")):
        return unfinished
    if not is_merged(plan):
        return _waiting(plan, there, shown(folder.path), named)
    counts = folder.read_merged()["summary"]
    lines = [
        f"{counted(counts['images'], 'image')}: {counts['ok']:,} ok, {counts['failed']:,} failed, "
        f"{counts['no_patch']:,} without patches; {counted(counts['patches'], 'patch', 'es')}"
        + (f", {counts['skipped']:,} of them skipped" if counts["skipped"] else "")
        + f"; {seconds:,.0f} s",
        f"{counts['dropped']:.1%} of the pixels dropped at the edges"
        + (" (edge: pad keeps them)" if counts["dropped"] and plan.settings.edge == "drop" else ""),
    ]
    lines += counts.get("notes", []) + plan.not_taken
    superseded = there - set(plan.results) - plan.shard_paths
    if superseded:
        lines.append(
            f"{counted(len(superseded), 'superseded result')}: `snakemake superseded` lists them, "
            "`snakemake prune` removes them"
        )
    if plan.settings.maps == "auto" and plan.missing and not plan.is_drawn:
        lines.append(f"no maps of the {len(plan.missing):,} predicted images: `snakemake maps` draws them")
    lines.append(
        f"the dictionary: {shown(folder.predictions)} and {shown(folder.json)}; "
        f"the table: {shown(folder.images)}"
    )
    if plan.settings.maps and os.path.exists(folder.overview):
        has_maps = os.path.isdir(folder.maps) and os.listdir(folder.maps)
        maps = f"; maps and pages: {shown(folder.maps)} and {shown(folder.pages)}" if has_maps else ""
        lines.append(f"the overview: {shown(folder.overview)}{maps}")
    return lines + failure_lines(folder.images, shown)


def failure_lines(table: str, shown: Callable[[str], str] = str) -> list[str]:
    """List the images that failed, with reasons and a line that leaves them out; empty if none failed.

    Parameters
    ----------
    table : str
        Path of images.tsv.
    shown : callable, optional
        From a path to the path as it is shown.

    Returns
    -------
    list of str
    """
    rows = read_image_table(table)
    failed = [row for row in rows if row["status"] == "failed"]
    if not failed:
        return []
    listed = list_failures(failed)
    where = f" ({shown(table)} lists each)" if len(listed) < len(failed) else ""
    lines = [f"{counted(len(failed), 'image')} failed{where}:"]
    for failure in listed[:MOST_LINES]:
        hint = f" ({failure.hint})" if failure.hint else ""
        lines.append(f"  {failure.images}: {failure.message}{hint}")
    if rest := sum(failure.number for failure in listed[MOST_LINES:]):
        lines.append(f"  and {rest:,} more: see {shown(table)}")
    them = "it" if len(failed) == 1 else "them"
    others = [row["filename"] for row in rows if row["status"] != "failed"]
    globs = _globs_of([row["filename"] for row in failed], others)
    if not globs:
        return [
            *lines,
            f"to leave {them} out, move their files elsewhere: no few patterns match them alone; or set "
            "on_failure: report (config.yaml), with which a run ends with exit code 0 although they fail",
        ]
    return [*lines, f"to leave {them} out, in config.yaml:", f"exclude: {orjson.dumps(globs).decode()}"]


def _globs_of(failed: list[str], others: Sequence[str]) -> list[str]:
    """Return a few globs that match the failed images alone; none if there are no such globs."""
    globs: list[str] = []
    if len(failed) > MOST_LINES:
        shared = Counter(glob for name in failed for glob in _shared_globs(name))
        for glob, _ in shared.most_common(3 * MOST_LINES):
            left = [name for name in failed if not fnmatchcase(name, glob)]
            if len(left) < len(failed) and not any(fnmatchcase(name, glob) for name in others):
                globs.append(glob)
                failed = left
    globs += map(escape, failed)
    return globs if len(globs) <= MOST_LINES else []


def _shared_globs(filename: str) -> list[str]:
    """Return globs of the ending of a file, of the folder at the top, and of its own folder."""
    folder, ending = os.path.dirname(filename), os.path.splitext(filename)[1]
    of_folders = [f"{escape(one)}/*" for one in (folder.partition("/")[0], folder) if one]
    return [*([f"*{escape(ending)}"] if ending else []), *dict.fromkeys(of_folders)]


def _unfinished_trial(plan: Plan, folder: ResultsFolder, shown: Callable[[str], str], rule: str) -> list[str]:
    """Describe a trial that images wait for; empty if none does."""
    logs = [
        shown(folder.log("try_predictor", os.path.basename(mark)))
        for mark in awaited_trial(plan)
        if not os.path.exists(mark)
    ]
    return [
        f"no image was predicted: the trial of the predictor did not end (log: {log}); the same command goes "
        "on; to give it more memory, or more minutes on a cluster: "
        f"--set-resources {rule}:mem_mb=8000 {rule}:runtime=240"
        for log in logs
    ]


def _waiting(plan: Plan, there: set[str], results: str, named: Callable[[str], str]) -> list[str]:
    lines = ["the results were not merged; computed results stay, and the same command goes on"]
    planned = [image for image in plan.images if image.version]
    missing = [
        image.filename + _done_shards(plan, path, there)
        for image, path in zip(planned, plan.results, strict=True)
        if path not in there
    ]
    lines += [f"  not computed: {line}" for line in missing[:MOST_LINES]]
    if len(missing) > MOST_LINES:
        lines.append(f"  and {len(missing) - MOST_LINES:,} more")
    if missing:
        rules = [named(rule) for rule in ("predict_image", "predict_shard")[: 1 + bool(plan.shards)]]
        memory = " ".join(f"{rule}:mem_mb=8000" for rule in rules)
        lines.append(
            f"their logs are in {results}/logs; to give them more memory, or more minutes on a cluster: "
            f"--set-resources {memory} {rules[0]}:runtime=240; "
            "to leave images out: exclude in config.yaml"
        )
    return lines


def _done_shards(plan: Plan, result: str, there: set[str]) -> str:
    if result not in plan.shards:
        return ""
    paths = plan.shards[result].paths
    return f" ({len(there.intersection(paths)):,} of its {len(paths):,} shards are)"
