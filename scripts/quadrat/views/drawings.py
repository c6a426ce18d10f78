"""Drawings: the places of the map and the page of each image, and the drawings that a run has to make."""

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from quadrat.files.hashing import digest
from quadrat.files.inside import remove, walk
from quadrat.results.folder import ResultsFolder
from quadrat.results.tables import PlannedImage, read_image_table

# A job draws so many images, at least and at most, or so many bytes of them: starting one takes ten times as
# long as drawing a small image.
FEWEST, MOST, MOST_BYTES = 10, 50, 1 << 28

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
    maps : bool, 'auto' or dict
        As configured.
    channels : list of int, optional
        The channels that are read, counted from 1. Default: all.
    nodata : int, float, str or dict, optional
        The value of samples without data; see `quadrat.images.open.open_image`.
    """

    results: str
    maps: bool | str | dict[str, Any]
    channels: list[int] | None = None
    nodata: int | float | str | dict[int, int | float | str] | None = None

    @property
    def path(self) -> str:
        """Folder of the drawings of every version."""
        return f"{self.results}/.quadrat/drawings"

    @property
    def thumbnails(self) -> str:
        """Folder of the thumbnails of images that are predicted and not drawn yet."""
        return f"{self.results}/.quadrat/thumbnails/{self._name}"

    @property
    def shown(self) -> list[int] | None:
        """Channels that pictures show, counted from 1; None for the first of the file."""
        if isinstance(self.maps, dict):
            return self.maps["channels"]
        return self.channels and self.channels[: 3 if len(self.channels) >= 3 else 1]

    @property
    def draws_all(self) -> bool:
        """Whether a run draws all images that are not drawn, rather than the images that it predicts."""
        return self.maps not in (False, "auto")

    @property
    def _name(self) -> str:
        """A name for the look of the drawings, as hex digits."""
        return digest([MAP_STYLE_VERSION, self.maps if isinstance(self.maps, dict) else True])

    def at(self, key: str, version: str, filename: str = "") -> Drawing:
        """Return the drawings of one version of an image.

        Their folder is named after what they show and how. The files in it are named alike for all images,
        since Snakemake's report adds a line for each name of a file to every caption.
        """
        folder = f"{self.path}/{self._name}/{key}.{version}"
        return Drawing(key, filename, f"{folder}/map.png", f"{folder}/page.html")

    def thumbnail(self, key: str, version: str, rows: str = "") -> str:
        """Path of the thumbnail of an image, or of a shard of it."""
        return f"{self.thumbnails}/{key}.{version}{rows and '.'}{rows}.npz"

    def current(self, images: Iterable[PlannedImage]) -> list[Drawing]:
        """List the drawings that exist of the images that have predictions after the last merge."""
        ok = self._predicted()
        there = (
            self.at(image.key, image.version, image.filename) for image in images if image.filename in ok
        )
        return [drawing for drawing in there if drawing.is_there]

    def undrawn(
        self, images: Iterable[PlannedImage], is_all: bool, predicted: Collection[str] = ()
    ) -> list[PlannedImage]:
        """List the images that are to be drawn: they have predictions, or will have, and are not drawn.

        Parameters
        ----------
        images : iterable of PlannedImage
        is_all : bool
            Whether all of them are. Otherwise only the images are that this run predicts, or that an earlier
            run predicted and did not draw, since it was interrupted.
        predicted : collection of str, optional
            Filenames of the images that this run is about to predict and to draw.

        Returns
        -------
        list of PlannedImage
        """
        saved = set() if is_all else self._saved()
        wanted = [
            image
            for image in images
            if is_all or image.filename in predicted or self.thumbnail(image.key, image.version) in saved
        ]
        ok = self._predicted() if wanted else frozenset()
        return [
            image
            for image in wanted
            if image.filename in predicted
            or (image.filename in ok and not self.at(image.key, image.version).is_there)
        ]

    def _predicted(self) -> frozenset[str]:
        """Return the filenames of the images that have predictions after the last merge."""
        table = ResultsFolder(self.results).images
        return _ok_filenames(table, os.stat(table).st_mtime_ns) if os.path.exists(table) else frozenset()

    def _saved(self) -> set[str]:
        """Return the paths of the thumbnails that are saved."""
        return _files(self.thumbnails, self.results)

    def part_path(self, part: str, run: str) -> str:
        """Path of the mark that a run has drawn its part of the images; see `parts`."""
        return f"{self.path}/{part}.{run}"

    def forget_parts(self) -> None:
        """Remove the marks of all parts: they mean nothing once a run is over."""
        for path in Path(self.path).glob("*-*.*"):
            with suppress(OSError):  # a mark that stays means nothing either
                remove(path, self.results)

    def superseded(self, images: Iterable[PlannedImage]) -> list[str]:
        """List the files of drawings that show other images, contents, configurations or looks."""
        current = set()
        for image in images if self.maps else ():
            current |= {*self.at(image.key, image.version)[2:], self.thumbnail(image.key, image.version)}
        saved = f"{self.results}/.quadrat/thumbnails"
        return sorted((_files(self.path, self.results) | _files(saved, self.results)) - current)


def parts(images: list[PlannedImage], undrawn: list[PlannedImage], cores: int) -> list[str]:
    """Cut the images that are to be drawn into parts, each of which one job draws; large ones have their own.

    Parameters
    ----------
    images : list of PlannedImage
        All of the run.
    undrawn : list of PlannedImage
        The images among them that are to be drawn.
    cores : int
        Number of cores of the run.

    Returns
    -------
    list of str
        Each names the places of its first and last image among all, such as `0-24`.
    """
    places = {image.filename: place for place, image in enumerate(images)}
    most = min(MOST, max(FEWEST, -(-len(undrawn) // cores)))
    cut: list[list[int]] = []
    held = 0
    for image in undrawn:
        if not cut or len(cut[-1]) == most or held + image.size > MOST_BYTES:
            cut.append([])
            held = 0
        cut[-1].append(places[image.filename])
        held += image.size
    return [f"{part[0]}-{part[-1]}" for part in cut]


def _files(folder: str, results: str) -> set[str]:
    return {
        f"{parent}/{entry.name}"
        for parent, _, entries in walk(folder, results)
        for entry in entries
        if not entry.is_dir(follow_symlinks=False)
    }


@lru_cache(maxsize=1)
def _ok_filenames(table: str, _mtime_ns: int) -> frozenset[str]:
    """Read which images have predictions, once for all parts of a run."""
    return frozenset(row["filename"] for row in read_image_table(table) if row["status"] == "ok")
