"""The plan of a run: its images, the inputs of each result, and the missing results."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from quadrat.errors import ConfigError
from quadrat.files import keys
from quadrat.files.atomic import discard, replace_file
from quadrat.files.hashing import digest, stat_token
from quadrat.files.records import read_record
from quadrat.files.text import counted
from quadrat.files.unread import not_taken
from quadrat.plan import versions
from quadrat.plan.content_ids import ContentLog, hash_known, identify
from quadrat.plan.found import FoundImage
from quadrat.plan.inventory import find_images, is_chosen
from quadrat.plan.region_files import RegionFiles, split_classes
from quadrat.plan.scenes import describe_layouts
from quadrat.plan.sharding import Shards, plan_shards, read_shard_plan
from quadrat.results.folder import ResultsFolder
from quadrat.results.state import StateRow, state
from quadrat.results.tables import PlannedImage, read_manifest, write_manifest
from quadrat.settings import Settings

# Earlier versions did not write the last three.
_PLAN_FORM = {
    "state": str,
    "recipe": dict,
    "predictor_files": {str: [int]},
    "is_drawn": (..., bool),
    "sidecars": (..., {str: [str]}),
    "not_taken": (..., [str]),
}

# With `maps: auto`, a run that predicts more images draws none.
MOST_DRAWN = 100


@dataclass(frozen=True)
class Plan:
    """The images of a run, and the results that it computes.

    Attributes
    ----------
    settings : Settings
    images : list of PlannedImage
        In order of their filenames.
    recipe : dict
        The inputs of all versions besides the images.
    predictor_files : dict of str to list of int
        Path, and size and mtime (ns), of each file that the predictor is made from.
    there : frozenset of str
        Paths of the results, of any version, and of the shards when the plan was made.
    shards : dict of str to Shards
        The shards of each image that is computed in several jobs, by the path of its result.
    is_drawn : bool
        Whether the images that it computes are drawn.
    sidecars : dict of str to sequence of str
        Filename, and endings of the files beside it that are not read, of each image that has such files.
    not_taken : list of str
        Lines that describe the images that are not taken.
    """

    settings: Settings
    images: list[PlannedImage]
    recipe: dict[str, Any]
    predictor_files: dict[str, list[int]]
    there: frozenset[str] = frozenset()
    shards: dict[str, Shards] = field(default_factory=dict)
    is_drawn: bool = False
    sidecars: dict[str, Sequence[str]] = field(default_factory=dict)
    not_taken: list[str] = field(default_factory=list)

    @cached_property
    def results(self) -> list[str]:
        """Paths of the versioned results, in order of the images."""
        folder = ResultsFolder(self.settings.results)
        return [folder.version_path(image.key, image.version) for image in self.images if image.version]

    @cached_property
    def missing(self) -> set[str]:
        """Paths of the results that must still be computed."""
        return set(self.results) - self.there

    @cached_property
    def shard_paths(self) -> set[str]:
        """Paths of all shards that must still be joined."""
        return {path for shards in self.shards.values() for path in shards.paths}

    @cached_property
    def missing_shards(self) -> set[str]:
        """Paths of the shards that must still be computed."""
        return self.shard_paths - self.there

    @property
    def jobs(self) -> int:
        """Number of jobs that predict an image or a shard."""
        return len(self.missing) - len(self.shards) + len(self.missing_shards)

    @cached_property
    def superseded(self) -> list[str]:
        """Paths of results and shards that belong to other images, contents or configurations."""
        return sorted(self.there - set(self.results) - self.shard_paths)

    @cached_property
    def state(self) -> str:
        """A name for the content that the merged files should have, as 12 hex digits."""
        rows = [
            StateRow(image.filename, image.version, image.problem, image.columns) for image in self.images
        ]
        return state(rows, self.settings.json_max_values)

    def image(self, key: str, version: str) -> PlannedImage:
        """Return the image that a key names.

        Raises
        ------
        ConfigError
            If the plan has no such image or another version of it.
        """
        image = self._by_key.get(key)
        if image is None or image.version != version:
            raise ConfigError(
                f"{key}.{version} is not in the plan of this run; "
                "the image or the configuration changed after planning; run again"
            )
        return image

    def regions_of(self, image: PlannedImage) -> dict[str, Any] | None:
        """Return the regions of an image in the form that its job needs; None for everywhere."""
        if self._region_files is None:
            return None
        return self._region_files.task(image.filename, image.regions)

    @cached_property
    def _region_files(self) -> RegionFiles | None:
        return RegionFiles(self.settings.regions) if self.settings.regions else None

    @cached_property
    def _by_key(self) -> dict[str, PlannedImage]:
        # An image with a problem may have the name of another one on the terminal.
        return {image.key: image for image in self.images if image.version}


def make_plan(settings: Settings, announce: Callable[[str], None]) -> Plan:
    """Find the missing results, and write the plan if there is anything to do.

    Manifest and plan are written whenever the content of the merged files is out of date, or a merged file or
    a result is missing.

    Parameters
    ----------
    settings : Settings
    announce : callable
        Takes the lines that a person reads before the first job.

    Returns
    -------
    Plan

    Raises
    ------
    ConfigError
        If no image exists, if more than half of the known images have vanished, or if a file that the
        configuration names is missing.
    """
    folder = ResultsFolder(settings.results)
    regions = RegionFiles(settings.regions) if settings.regions else None
    if regions:
        regions.check()
    merged = folder.read_merged()
    log = ContentLog(Path(folder.content_log))
    left_out: Counter[str] = Counter()
    found = find_images(settings, left_out)
    # A link to a disk that is not mounted is found, but cannot be opened.
    usable = {image.filename for image in found if not image.problem}
    vanished = _vanished(set(merged.get("images", {})), usable, settings)
    recipe, predictor_files = _predictor(settings, log, regions.hash if regions else "")
    on_disk = folder.list_versions()
    content_ids = identify(
        [image for image in found if not image.problem],
        lambda filename: on_disk.get(keys.encode(filename), []),
        merged.get("images", {}),
        log,
        settings.verify,
        announce,
    )
    region_hashes = regions.hash_each(sorted(usable), lambda path: hash_known(path, log)) if regions else {}
    images = _planned(found, content_ids, recipe, region_hashes)
    there = frozenset(
        path for results in (on_disk, folder.list_shards()) for paths in results.values() for path in paths
    )
    sidecars = {image.filename: image.sidecars for image in found if image.sidecars}
    plan = Plan(
        settings, images, recipe, predictor_files, there, sidecars=sidecars, not_taken=not_taken(left_out)
    )
    files = {image.filename: image.files for image in found}
    plan = replace(
        plan,
        shards=plan_shards(images, files, plan.missing, settings).shards,
        is_drawn=bool(settings.maps) and (settings.maps != "auto" or len(plan.missing) <= MOST_DRAWN),
    )
    for line in _announcement(plan, merged, vanished):
        announce(line)
    if merged.get("state") != plan.state or plan.missing or not _is_written(plan, folder):
        _write_plan(plan, folder)
    return plan


def remove_other_mark(plan: Plan) -> None:
    """Remove the mark of the last merge unless the merged files have the content of a plan.

    Only a missing mark makes Snakemake merge. Its own records, and dates, which clocks and copies change, do
    not count.

    Parameters
    ----------
    plan : Plan

    Raises
    ------
    WriteError
        If the mark cannot be removed.
    """
    folder = ResultsFolder(plan.settings.results)
    mark = Path(folder.merge_mark)
    is_marked = mark.exists() and mark.read_bytes() == plan.state.encode()
    is_current = is_merged(plan) and not plan.missing and is_marked
    if not (is_current and all(map(os.path.exists, _merged_files(plan)))):
        discard(folder.merge_mark, folder.path)


def is_merged(plan: Plan) -> bool:
    """Return whether the merged files hold the results of a plan."""
    return ResultsFolder(plan.settings.results).read_merged().get("state") == plan.state


def read_plan(settings: Settings) -> Plan:
    """Read the plan of the main process, in a job with its own process."""
    folder = ResultsFolder(settings.results)
    written = read_record(folder.plan, _PLAN_FORM)
    images = read_manifest(folder.manifest)
    return Plan(
        settings,
        images,
        written["recipe"],
        written["predictor_files"],
        shards=read_shard_plan(folder.shard_plan).shards,
        is_drawn=written.get("is_drawn", False),
        sidecars=written.get("sidecars", {}),
        not_taken=written.get("not_taken", []),
    )


def _planned(
    found: list[FoundImage],
    content_ids: dict[str, str],
    recipe: dict[str, Any],
    region_hashes: dict[str, str],
) -> list[PlannedImage]:
    recipe_digest = digest(recipe)

    def version(image: FoundImage) -> str:
        others = [region_hashes[image.filename]] if region_hashes else []
        return versions.version(content_ids[image.filename], recipe_digest, *others)

    return [
        PlannedImage(
            filename=image.filename,
            key=keys.encode(image.filename),
            version="" if image.problem else version(image),
            content_id=content_ids.get(image.filename, ""),
            path=image.path,
            size=image.size,
            problem=image.problem,
            hint=image.hint,
            columns=image.columns,
            regions=region_hashes.get(image.filename, ""),
        )
        for image in found
    ]


def _is_written(plan: Plan, folder: ResultsFolder) -> bool:
    """Return whether all files exist and this was also the last plan, which need not have been merged."""
    if not all(map(os.path.exists, [folder.manifest, folder.plan, *_merged_files(plan)])):
        return False
    return read_record(folder.plan, _PLAN_FORM)["state"] == plan.state


def _merged_files(plan: Plan) -> list[str]:
    return ResultsFolder(plan.settings.results).merged_files(has_regions=plan.settings.regions is not None)


def _write_plan(plan: Plan, folder: ResultsFolder) -> None:
    content = {
        "state": plan.state,
        "recipe": plan.recipe,
        "predictor_files": plan.predictor_files,
        "is_drawn": plan.is_drawn,
        "sidecars": plan.sidecars,
        "not_taken": plan.not_taken,
        # Makes it differ from the last one: Snakemake takes a newer file of the same bytes for old.
        "planned_ns": time.time_ns(),
    }
    # The plan comes first: after a kill between both, the plan on disk is not the merged one.
    replace_file(folder.plan, orjson.dumps(content), folder.path)
    write_manifest(folder.manifest, plan.images, folder.path)


def _predictor(
    settings: Settings, log: ContentLog, regions_hash: str
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Return the recipe, and the state of the files that it names before they were read."""
    files = {path: [*stat_token(os.stat(path))[:2]] for path in versions.predictor_files(settings)}
    return versions.recipe(settings, lambda path: hash_known(path, log), regions_hash), files


def _vanished(known: set[str], found: set[str], settings: Settings) -> set[str]:
    """Return the known images that are gone; raise an error if that looks like an accident."""
    vanished = {filename for filename in known - found if is_chosen(filename, settings)}
    if len(vanished) * 2 > len(known) and not settings.allow_removed:
        raise ConfigError(
            f"images {settings.images}: {len(vanished):,} of the {len(known):,} images of the last run are "
            f"gone, such as {min(vanished)}; is a disk not mounted? If you removed them, use "
            "--config allow_removed=true; if these are other images, use --config results=another_folder "
            "(config.yaml: images, results, allow_removed)"
        )
    return vanished


def _announcement(plan: Plan, merged: dict[str, Any], vanished: set[str]) -> list[str]:
    known = merged.get("images", {})
    new = sum(image.filename not in known for image in plan.images)
    changed = sum(
        image.filename in known and known[image.filename][0] != image.content_id for image in plan.images
    )
    removed = len(vanished - {image.filename for image in plan.images})
    lines = [
        f"{counted(len(plan.images), 'image')}: {new:,} new, {changed:,} changed, "
        f"{len(plan.images) - new - changed:,} unchanged, {removed:,} removed; "
        f"{len(plan.missing):,} to predict" + _in_shards(plan)
    ]
    without = [image.filename for image in plan.images if image.version and not image.regions]
    if plan.settings.regions and without:
        path, _ = split_classes(plan.settings.regions)
        lines.append(
            f"regions {path}: {len(without):,} images have no file there, such as "
            f"{without[0]}.geojson; all of their patches are outside"
        )
    if not plan.settings.scenes:
        lines += describe_layouts([image.filename for image in plan.images])
    if plan.settings.verify == "stat":
        lines.append("verify: stat would miss a file replaced by one of the same size and modification time")
    before = merged.get("recipe", plan.recipe)
    causes = [key for key in plan.recipe | before if before.get(key) != plan.recipe.get(key)]
    if causes and plan.missing:
        lines.append(
            f"{', '.join(causes)} changed since the last run: its results stay, "
            "and apply again when the change is reverted"
        )
    return lines + plan.not_taken


def _in_shards(plan: Plan) -> str:
    if not plan.shards:
        return ""
    there = len(plan.shard_paths) - len(plan.missing_shards)
    computed = f", {there:,} of which exist" if there else ""
    return f", {len(plan.shards):,} of them in {counted(len(plan.shard_paths), 'shard')}{computed}"
