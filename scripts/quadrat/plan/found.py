"""An image as the inventory finds it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FoundImage:
    """One image of the inventory.

    Attributes
    ----------
    filename : str
        Path relative to the images folder, or the name that a table has for it; of a scene, up to the band.
    path : str
        Path to open it by; of a scene, see `quadrat.files.scenes`.
    files : dict of str to os.stat_result
        Path and status of each file that it is read from, its own first; empty if it has a problem.
    problem, hint : str
        The reason why it is listed but cannot be predicted, and a way out; empty if it can.
    columns : dict of str to str
        The user's own columns, if `images` is a table.
    sidecars : sequence of str
        Endings of the files beside it that GDAL would read; see `quadrat.files.unread.find_sidecars`.
    """

    filename: str
    path: str
    files: dict[str, os.stat_result] = field(default_factory=dict)
    problem: str = ""
    hint: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    sidecars: Sequence[str] = ()

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(status.st_size for status in self.files.values())
