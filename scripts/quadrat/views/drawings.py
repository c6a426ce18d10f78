"""Drawings: the places of the map and the page of each image, and the drawings that a run has to make."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from quadrat.files.hashing import digest
from quadrat.files.inside import remove, walk
from quadrat.results.folder import ResultsFolder, split_version_path
from quadrat.results.tables import PlannedImage, read_image_table

# Images are drawn together until they are so many, or hold so many bytes: starting a job takes four times as
# long as drawing a small image.
BATCH_IMAGES, BATCH_BYTES = 50, 1 << 28

# Raised when maps or pages look different than before, so that they are drawn again.
MAP_STYLE_VERSION = 1


class Drawing(NamedTuple):
    """The drawings of one image.

    Attributes
    ----------
    key, filename : str
        Of the image; the filename is empty if it is not known.
    map : str
        Path of the PNG.
    page : str
        Path of the HTML page.
    """

    key: str
    filename: str
    map: str
    page: str

    @property
    def views(self) -> list[tuple[str, str]]:
        """Both paths, with what a report calls them."""
        return [(self.map, "map"), (self.page, "patch by patch")]

    @property
    def is_there(self) -> bool:
        """Whether both are drawn."""
        return os.path.exists(self.map) and os.path.exists(self.page)


@dataclass(frozen=True)
class DrawingsFolder:
    """Names of the drawings of a run.

    Parameters
    ----------
    results : str
        The results folder.
    maps : bool or dict
        As configured.
    """

    results: str
    maps: bool | dict[str, Any]

    @property
    def path(self) -> str:
        """Folder of the drawings of every version."""
        return f"{self.results}/.quadrat/drawings"

    @property
    def channels(self) -> list[int] | None:
        """Channels that pictures show, counted from 1; None for the first."""
        return self.maps["channels"] if isinstance(self.maps, dict) else None

    def at(self, key: str, version: str, filename: str = "") -> Drawing:
        """Return the drawings of one version of an image.

        Their folder is named after what they show and how. The files in it are named alike for all images,
        since Snakemake's report adds a line for each name of a file to every caption.
        """
        folder = f"{self.path}/{digest([MAP_STYLE_VERSION, self.maps])}/{key}.{version}"
        return Drawing(key, filename, f"{folder}/map.png", f"{folder}/page.html")

    def current(self, images: Iterable[PlannedImage]) -> list[Drawing]:
        """List the drawings of those images that have predictions after the last merge, drawn or not."""
        return [self.at(image.key, image.version, image.filename) for image in self._predicted(images)]

    def missing(self, images: Iterable[PlannedImage]) -> list[PlannedImage]:
        """List the images that have predictions after the last merge, and are not drawn."""
        return [image for image in self._predicted(images) if not self.at(image.key, image.version).is_there]

    def batch_path(self, first: int | str, last: int | str, run: str) -> str:
        """Path of the mark that a run has drawn what was missing of some neighbouring images."""
        return f"{self.path}/{first}-{last}.{run}"

    def missing_batches(self, images: list[PlannedImage], run: str) -> list[str]:
        """List the marks of the batches that draw what is missing; large images have one of their own.

        Parameters
        ----------
        images : list of PlannedImage
            All of the run; a batch is named by the places of its first and last image among them.
        run : str
            Names the run: marks of earlier runs do not show what is missing now.
        """
        places = {image.filename: place for place, image in enumerate(images)}
        batches: list[list[int]] = []
        held = 0
        for image in self.missing(images):
            if not batches or len(batches[-1]) == BATCH_IMAGES or held + image.size > BATCH_BYTES:
                batches.append([])
                held = 0
            batches[-1].append(places[image.filename])
            held += image.size
        return [self.batch_path(batch[0], batch[-1], run) for batch in batches]

    def forget_batches(self) -> None:
        """Remove the marks of all batches: they mean nothing once a run is over."""
        for path in Path(self.path).glob("*-*.*"):
            with suppress(OSError):  # a mark that stays means nothing either
                remove(path, self.results)

    def of_result(self, path: str) -> Drawing:
        """Return the drawings of a versioned Parquet."""
        head, version = split_version_path(path)
        return self.at(os.path.relpath(head, ResultsFolder(self.results).versions), version)

    def _predicted(self, images: Iterable[PlannedImage]) -> list[PlannedImage]:
        if not self.maps:
            return []
        table = ResultsFolder(self.results).images
        ok = _ok_filenames(table, os.stat(table).st_mtime_ns)
        return [image for image in images if image.filename in ok]

    def superseded(self, images: Iterable[PlannedImage]) -> list[str]:
        """List the files of drawings that show other images, contents, configurations or looks."""
        current = {path for image in images for path in self.at(image.key, image.version)[2:] if self.maps}
        found = {
            f"{folder}/{entry.name}"
            for folder, _, entries in walk(self.path, self.results)
            for entry in entries
            if not entry.is_dir(follow_symlinks=False)
        }
        return sorted(found - current)


@lru_cache(maxsize=1)
def _ok_filenames(table: str, _mtime_ns: int) -> frozenset[str]:
    """Read which images have predictions, once for all batches of a run."""
    return frozenset(row["filename"] for row in read_image_table(table) if row["status"] == "ok")
