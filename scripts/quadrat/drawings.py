"""Drawings: where the map and the page of each image are, and which of them a run wants."""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from quadrat.manifest import PlannedImage
from quadrat.results import ResultsFolder
from quadrat.versions import digest

# Raised when maps or pages look different than before, so that they are drawn again.
LOOK = 1


class Drawing(NamedTuple):
    """The drawings of one image.

    Attributes
    ----------
    filename : str
    map : str
        Path of the PNG.
    page : str
        Path of the HTML page.
    """

    filename: str
    map: str
    page: str

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

    def at(self, key: str, version: str, filename: str = "") -> Drawing:
        """Give the drawings of one version of an image.

        Their folder says what they show and how; the files in it all have the same names, since Snakemake's
        report adds a line for each name of a file to every caption.
        """
        folder = f"{self.path}/{digest([LOOK, self.maps])}/{key}.{version}"
        return Drawing(filename, f"{folder}/map.png", f"{folder}/page.html")

    def current(self, images: Iterable[PlannedImage]) -> list[Drawing]:
        """List the drawings of those images that have predictions after the last merge, drawn or not."""
        if not self.maps:
            return []
        with Path(ResultsFolder(self.results).images).open(encoding="utf-8", newline="") as file:
            ok = {row["filename"] for row in csv.DictReader(file, delimiter="\t") if row["status"] == "ok"}
        return [self.at(image.key, image.version, image.filename) for image in images if image.filename in ok]

    def superseded(self, images: Iterable[PlannedImage]) -> list[str]:
        """List the files of drawings that show other images, contents, configurations or looks."""
        current = {path for image in images for path in self.at(image.key, image.version)[1:] if self.maps}
        found = {f"{folder}/{name}" for folder, _, names in os.walk(self.path) for name in names}
        return sorted(found - current)
