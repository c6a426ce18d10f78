"""The results folder: the place of each of its files."""

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from quadrat.files.atomic import TEMPORARY, writing
from quadrat.files.hashing import VERSION_DIGITS
from quadrat.files.inside import is_plain, remove, remove_empty, require, walk
from quadrat.files.records import COUNT, read_record

_SUFFIX = ".parquet"
# Earlier versions wrote shards as .npz.
_SHARD = re.compile(r"(.+)\.[0-9]+-[0-9]+\.(?:parquet|npz)", re.DOTALL)
_MERGED = {
    "state": str,
    "recipe": dict,
    "images": {str: [(str, None), (str, None)]},
    "summary": {
        **dict.fromkeys(("images", "ok", "failed", "no_patch", "patches", "skipped"), COUNT),
        "dropped": float,
        "notes": (..., [str]),
        "not_taken": (..., [str]),
    },
}

# Columns of images.tsv; the columns of the user's own table follow them.
TABLE_COLUMNS = (
    "filename", "status", "patches", "skipped", "nan", "dropped", "content_hash", "kind", "message", "hint",
    "notes",
)  # fmt: skip


@dataclass(frozen=True)
class ResultsFolder:
    """Names of the files in a results folder.

    Attributes
    ----------
    path : str
        The folder, as the configuration gives it: Snakemake compares paths as text.
    """

    path: str

    @property
    def predictions(self) -> str:
        """The dictionary as Parquet, one row per patch."""
        return f"{self.path}/predictions.parquet"

    @property
    def json(self) -> str:
        """The dictionary as JSON."""
        return f"{self.path}/predictions.json"

    @property
    def images(self) -> str:
        """The table of all images found."""
        return f"{self.path}/images.tsv"

    @property
    def summary(self) -> str:
        """The table of counts, area and statistics of each image."""
        return f"{self.path}/summary.tsv"

    @property
    def regions(self) -> str:
        """The same table of each region in each image, if the configuration has regions."""
        return f"{self.path}/regions.tsv"

    @property
    def run(self) -> str:
        """The configuration and the software that made the dictionary."""
        return f"{self.path}/run.yaml"

    @property
    def inspected(self) -> str:
        """The table with the headers of the images."""
        return f"{self.path}/inspect.tsv"

    @property
    def manifest(self) -> str:
        """The plan, one row per image of the run."""
        return f"{self.path}/manifest.tsv"

    @property
    def links(self) -> str:
        """Folder of the current results under their images' plain names."""
        return f"{self.path}/predictions"

    @property
    def maps(self) -> str:
        """Folder of the current maps under their images' plain names."""
        return f"{self.path}/maps"

    @property
    def pages(self) -> str:
        """Folder of the current pages under their images' plain names."""
        return f"{self.path}/pages"

    @property
    def overview(self) -> str:
        """The overview of the run, as a page."""
        return f"{self.path}/overview.html"

    @property
    def versions(self) -> str:
        """Folder of the results of every version."""
        return f"{self.path}/versions"

    @property
    def shards(self) -> str:
        """Folder of the shards of images that are not in the dictionary yet."""
        return f"{self.path}/shards"

    @property
    def logs(self) -> str:
        """Folder of the logs of all jobs."""
        return f"{self.path}/logs"

    @property
    def records(self) -> str:
        """Folder of quadrat's own records."""
        return f"{self.path}/.quadrat"

    @property
    def merged(self) -> str:
        """The record of the contents of the merged files; written after them."""
        return f"{self.path}/.quadrat/merged.json"

    @property
    def merge_mark(self) -> str:
        """Exists while the merged files belong to the last plan; contains the state of that plan."""
        return f"{self.path}/predictions.done"

    @property
    def plan(self) -> str:
        """The inputs of the plan's versions besides the images, and the time of the plan."""
        return f"{self.path}/.quadrat/plan.json"

    @property
    def shard_plan(self) -> str:
        """The images of the plan that are computed in several jobs."""
        return f"{self.path}/.quadrat/shards.json"

    @property
    def content_log(self) -> str:
        """The record of stat tokens and content ids."""
        return f"{self.path}/.quadrat/contents.jsonl"

    @property
    def exported(self) -> str:
        """Folder of the records of the inputs of exports."""
        return f"{self.path}/.quadrat/exports"

    @property
    def lock(self) -> str:
        """The file that a run locks."""
        return f"{self.path}/.quadrat/lock"

    @property
    def merging(self) -> str:
        """The file that a merge locks."""
        return f"{self.path}/.quadrat/merging"

    @property
    def refusal(self) -> str:
        """Exists if the trial of the last run refused its configuration; removed by the next run."""
        return f"{self.path}/.quadrat/refused"

    def trial_mark(self, recipe_digest: str) -> str:
        """Path of the mark of a trial, with the name of the image that it predicted, if any."""
        return f"{self.path}/.quadrat/tried/{recipe_digest}"

    def merged_files(self, has_regions: bool) -> list[str]:
        """List all files that the merge writes, except the links."""
        files = [self.predictions, self.json, self.images, self.summary, self.run, self.merged]
        return [*files, self.regions] if has_regions else files

    def version_path(self, key: str, version: str) -> str:
        """Path of the result of one image in one version."""
        return f"{self.versions}/{key}.{version}{_SUFFIX}"

    def shard_path(self, key: str, version: str, rows: str) -> str:
        """Path of a shard; `rows` are its first and last grid row, such as `0-9`."""
        return f"{self.shards}/{key}.{version}.{rows}{_SUFFIX}"

    def log(self, rule: str, *names: str) -> str:
        """Path of the log of a rule's job."""
        return f"{self.path}/logs/{'/'.join([rule, *names])}.log"

    def list_versions(self) -> dict[str, list[str]]:
        """List the existing results of every version.

        Returns
        -------
        dict of str to list of str
            Key to paths, sorted.
        """
        listed: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self.versions):
            for name in names:
                path = f"{folder}/{name}"
                parts = split_version_path(path)
                if parts[1]:
                    listed.setdefault(os.path.relpath(parts[0], self.versions), []).append(path)
        return {key: sorted(paths) for key, paths in listed.items()}

    def list_shards(self) -> dict[str, list[str]]:
        """List the existing shards.

        Returns
        -------
        dict of str to list of str
            Path of the joined result to the paths of its shards, sorted.
        """
        listed: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self.shards):
            for name in names:
                path = f"{folder}/{name}"
                result = (found := _SHARD.fullmatch(path)) and f"{found[1]}{_SUFFIX}"
                if result and split_version_path(result)[1]:
                    place = os.path.relpath(result, self.shards)
                    listed.setdefault(f"{self.versions}/{place}", []).append(path)
        return {result: sorted(paths) for result, paths in listed.items()}

    def remove_shard(self, path: str) -> None:
        """Remove a shard, and the folders that it leaves empty."""
        remove(path, self.path)
        remove_empty(os.path.dirname(path), self.path)

    def check(self) -> None:
        """Refuse a link, a pipe or the like that has the name of one of quadrat's files or folders.

        Snakemake too makes and removes files in these folders, and would follow a link.

        Raises
        ------
        WriteError
            If such an entry exists; the message names it.
        """
        files = [
            self.inspected,
            self.manifest,
            self.overview,
            *self.merged_files(has_regions=True),
            self.merge_mark,
            self.plan,
        ]
        files += [self.shard_plan, self.content_log, self.lock, self.merging, self.refusal]
        folders = [self.links, self.maps, self.pages, *self._own_folders()]
        for paths, expected in [(folders, "a folder"), (files, "a file")]:
            for path in paths:
                with writing(path), suppress(FileNotFoundError):
                    require(path, os.lstat(path).st_mode, expected)

    def sharing(self) -> list[str]:
        """List the signs that other users may also write to the folder, as warnings."""
        mode = os.stat(self.path).st_mode
        lines = [f"warning: {self.path}: any user may write there"] if mode & stat.S_IWOTH else []
        places = [path for path in (self.path, self.plan, self.merged) if os.path.lexists(path)]
        others = [path for path in places if os.stat(path).st_uid != os.geteuid()]
        if others and os.geteuid() != 0:  # root in a container works on another user's files
            lines.append(f"warning: {others[0]}: belongs to another user")
        advice = (
            "; a user who may write to the results can change them: share them only with users whom you trust"
        )
        return [line + advice for line in lines]

    def remove_leftovers(self) -> None:
        """Remove the half-written files of killed jobs; a job that is still running fails at its end.

        The caller must hold the lock of the folder.

        Raises
        ------
        WriteError
            If a link, a pipe or the like is among the results, logs and records; see `check`.
        """
        own = tuple(f"{folder}/" for folder in self._own_folders())
        with writing(self.path):
            for path, opened, entries in walk(self.path, self.path):
                is_own = f"{path}/".startswith(own)
                for entry in entries:
                    if entry.name.startswith(".") and entry.name.endswith(TEMPORARY):
                        with suppress(FileNotFoundError, IsADirectoryError):  # its job renames it just now
                            os.unlink(entry.name, dir_fd=opened)
                    elif is_own and not is_plain(entry):
                        mode = entry.stat(follow_symlinks=False).st_mode
                        require(f"{path}/{entry.name}", mode, "a file")

    def _own_folders(self) -> list[str]:
        """List the folders that contain only files and folders."""
        return [self.records, self.versions, self.shards, self.logs]

    def read_merged(self) -> dict[str, Any]:
        """Read the record of the last merge; empty if there was none."""
        try:
            found = os.stat(self.merged)
            return _read_merged(self.merged, found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            return {}


@lru_cache(maxsize=1)
def _read_merged(path: str, *_token: int) -> dict[str, Any]:
    """Read the record once: a run asks for it a few times, and it is long for many images."""
    return read_record(path, _MERGED)


def split_version_path(path: str) -> tuple[str, str]:
    """Return the part of a path before the version, and the version; both are empty for any other file."""
    stem = path.removesuffix(_SUFFIX)
    head, _, version = stem.rpartition(".")
    is_version = len(version) == VERSION_DIGITS and set(version) <= set("0123456789abcdef")
    return (head, version) if stem != path and head and is_version else ("", "")
