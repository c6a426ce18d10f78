"""World files: six lines of text beside an image that hold its place on Earth, without a reference system."""

import os
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

# Endings of images of which GDAL reads world files.
PLACED_ENDINGS = (
    *(".tif", ".tiff", ".tf2", ".tf8", ".btf", ".ptif", ".qptiff", ".jpg", ".jpeg", ".jfif"),
    *(".png", ".jp2", ".j2k", ".bmp", ".gif"),
)
# A hundred times as many as six numbers need.
MOST_BYTES = 10_000
LINES = 6
# Programs write the decimals of their user's language.
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)


class WorldFile(NamedTuple):
    """The place that a world file holds.

    Attributes
    ----------
    transform : tuple of 6 float or None
        Affine transform of pixel corners, as (a, b, c, d, e, f); None if there is a problem.
    problem : str
        Why there is none.
    """

    transform: tuple[float, ...] | None
    problem: str = ""


@cache
def world_endings(ending: str) -> tuple[str, ...]:
    """Return the endings of the world files of an image, in the order in which they are looked for.

    Parameters
    ----------
    ending : str
        Of the image, in lower case.

    References
    ----------
    GDAL, "WLD -- ESRI World File": .tfw for .tif, of the first and the last letter; .tifw; .wld.
    """
    if ending not in PLACED_ENDINGS:
        return ()
    names = f"{ending[:2]}{ending[-1]}w", f"{ending}w", ".wld"
    return tuple(spelt for name in names for spelt in (name, name.upper()))


# The last endings of all world files.
WORLD_ENDINGS = frozenset(name.lower() for ending in PLACED_ENDINGS for name in world_endings(ending))


def find_world_file(path: str, exists: Callable[[str], bool] = os.path.isfile) -> str | None:
    """Return the path of the world file of an image, None if it has none.

    Parameters
    ----------
    path : str
        The image.
    exists : callable, optional
        Whether there is a file of a path. Default: the disk is asked.
    """
    stem, ending = os.path.splitext(path)
    return next((stem + name for name in world_endings(ending.lower()) if exists(stem + name)), None)


def read_world_file(path: str) -> WorldFile:
    """Read a world file.

    Its lines are a, d, b and e, and the x and y of the centre of the first pixel. Each may be followed by a
    remark. GDAL takes a number that is cut or missing for another one, or for 0.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        return WorldFile(None, f"it is larger than {MOST_BYTES // 1000} kB")
    lines = content.decode("utf-8-sig", errors="replace").split("\n" if b"\n" in content else "\r")
    words = [line.split()[0] for line in lines if line.split()][:LINES]
    if len(words) < LINES:
        return WorldFile(None, f"it has {len(words)} of {LINES} lines")
    for line, word in enumerate(words, start=1):
        if not _NUMBER.fullmatch(word):
            return WorldFile(None, f"line {line} is not a number")
    a, d, b, e, x, y = (float(word.replace(",", ".")) for word in words)
    return WorldFile((a, b, x - (a + b) / 2, d, e, y - (d + e) / 2))
