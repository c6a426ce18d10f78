"""Scenes of a run: which files of the inventory are bands of one image."""

import os
import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

from quadrat.files.scenes import Scene, scene_path
from quadrat.files.text import counted
from quadrat.files.unread import NO_BAND
from quadrat.plan.found import FoundImage
from quadrat.settings import Settings

# Names of files, as their publishers define them. A product has one scene; Sentinel's is a folder.
_LANDSAT = (
    # USGS, Landsat Collection 2 Level-1 and Level-2 products, and its Analysis Ready Data
    r"L[CETOM]\d\d_L[12][A-Z]{2}_\d{6}_\d{8}_\d{8}_\d\d_(?:RT|T1|T2)",
    r"L[CETOM]\d\d_(?:CU|AK|HI)_\d{6}_\d{8}_\d{8}_\d\d",
)
_HLS = r"HLS\.[LS]30\.T\w{5}\.\d{7}T\d{6}\.v\d\.\d"  # NASA, Harmonized Landsat Sentinel-2
# ESA, Sentinel-2 Products Specification: a band of a Level-2A product occurs at several resolutions.
_SENTINEL_2 = (
    r"(?P<scene>(?:.*/)?S2[A-D]_MSIL(?:1C|2A)_[^/]*\.SAFE)/GRANULE/[^/]+/IMG_DATA/"
    r"(?:R(?P<metres>\d\d)m/)?[^/]*_(?P<band>[A-Z][A-Z\d]{2})(?:_\d\dm)?\.jp2"
)
LAYOUTS = {
    "landsat": re.compile(
        rf"(?P<scene>(?:.*/)?(?:{'|'.join(_LANDSAT)}))_(?P<band>[^/]+)\.TIFF?"
        rf"|(?P<hls_scene>(?:.*/)?{_HLS})\.(?P<hls_band>[^/]+)\.TIFF?",
        re.IGNORECASE,
    ),
    "sentinel-2": re.compile(_SENTINEL_2),
}
# The bands of 10 m.
DEFAULT_BANDS = {"sentinel-2": ["B02", "B03", "B04", "B08"]}
SAFE = ".SAFE"

# Files that are named in an error.
MOST_NAMED = 3


class Band(NamedTuple):
    """The place of a file in a scene; of several with the same place, the finest is read."""

    scene: str
    name: str
    metres: int = 0


class SceneNames:
    """Finds scenes by the names of their files.

    Parameters
    ----------
    scenes : str or dict
        The value of the key `scenes`.
    channels : list of str or None
        Names of the bands that are read.
    """

    def __init__(self, scenes: str | dict[str, Any], channels: list[str] | None):
        self.resample = "nearest"
        if isinstance(scenes, str):
            self._form, self.bands = LAYOUTS[scenes], channels or DEFAULT_BANDS[scenes]
        else:
            assert channels is not None
            self._form, self.bands = _compiled(scenes["pattern"], channels), channels
            self.resample = scenes.get("resample", "nearest")

    def place(self, filename: str) -> Band | None:
        """Return the place of a file; None if it is no band."""
        return _place(self._form, filename)


def as_scenes(images: list[FoundImage], settings: Settings, left_out: dict[str, int]) -> list[FoundImage]:
    """Return the scenes that files are bands of, in place of the files.

    Parameters
    ----------
    images : list of FoundImage
        The files.
    settings : Settings
        With the key `scenes`.
    left_out : dict of str to int
        Takes the number of files that are no bands.

    Returns
    -------
    list of FoundImage
        A scene that lacks a band, or has two files of one, has a problem; folders that are not searched, too.
    """
    assert settings.scenes is not None
    names = SceneNames(settings.scenes, settings.channels)
    prefix = _safe_folder(settings.images)
    found: dict[str, dict[str, dict[int, list[FoundImage]]]] = {}
    unread: list[FoundImage] = []
    for image in images:
        place = names.place(prefix + image.filename)
        if place is None and image.filename.endswith("/"):
            unread.append(image)  # a folder that is not searched, which may hold scenes
            continue
        if place is None:
            left_out[NO_BAND] += 1
            continue
        bands = found.setdefault(place.scene, {})
        bands.setdefault(place.name, defaultdict(list))[place.metres].append(image)
    return unread + [_scene(filename, bands, names) for filename, bands in found.items()]


def describe_layouts(filenames: Collection[str]) -> list[str]:
    """Describe the images that are single bands of scenes, and the setting that puts them together."""
    lines = []
    for layout, form in LAYOUTS.items():
        places = [place for filename in filenames if (place := _place(form, filename))]
        if places:
            scenes = len({place.scene for place in places})
            are = "is a single band" if len(places) == 1 else "are single bands"
            lines.append(
                f"{len(places):,} of the images {are} of {counted(scenes, 'scene')}; "
                f"`scenes: {layout}` makes one image of each scene (config.yaml: scenes)"
            )
    return lines


def _place(form: re.Pattern[str], filename: str) -> Band | None:
    if (match := form.fullmatch(filename)) is None:
        return None
    parts = {name.removeprefix("hls_"): text for name, text in match.groupdict().items() if text}
    # The name of a scene becomes the name of its result; `.` and `..` are folders.
    if not os.path.basename(parts["scene"]).strip("."):
        return None
    return Band(parts["scene"], parts["band"], int(parts.get("metres", 0)))


def _compiled(pattern: str, channels: list[str]) -> re.Pattern[str]:
    """Return a pattern as a regular expression; the bands are known, so that it matches in one way."""
    bands = "|".join(map(re.escape, sorted(channels, key=len, reverse=True)))
    forms = {"{scene}": "(?P<scene>.+)", "{band}": f"(?P<band>{bands})", "*": "[^/]*"}
    parts = re.split(r"(\{scene\}|\{band\}|\*)", pattern)
    return re.compile("".join(forms.get(part, re.escape(part)) for part in parts))


def _safe_folder(images: str | list[str]) -> str:
    """Return the start of the names of files if the folder of the images is itself a scene of Sentinel-2."""
    name = os.path.basename(os.path.abspath(images)) if isinstance(images, str) else ""
    return f"{name}/" if name.endswith(SAFE) else ""


def _scene(filename: str, found: dict[str, dict[int, list[FoundImage]]], names: SceneNames) -> FoundImage:
    bands: dict[str, FoundImage] = {}
    problem = hint = ""
    missing = [name for name in names.bands if name not in found]
    if missing:
        problem = f"has no band {', '.join(missing)}; it has {', '.join(sorted(found))}"
        hint = "add the files, or choose others (config.yaml: channels)"
    for name in names.bands:
        if name in found:
            finest = found[name][min(found[name])]
            bands[name] = finest[0]
            if len(finest) > 1:
                listed = ", ".join(image.filename for image in finest[:MOST_NAMED])
                problem = problem or f"has {len(finest)} files of band {name}: {listed}"
                hint = (
                    hint or "leave only one of them, or write a pattern that fits one (config.yaml: scenes)"
                )
            if finest[0].problem:
                problem = problem or f"its band {name}: {finest[0].problem}"
                hint = hint or finest[0].hint
    path = scene_path(Scene({name: image.path for name, image in bands.items()}, names.resample))
    first = next(iter(next(iter(found.values())).values()))[0]
    if problem:
        return FoundImage(filename, path, problem=problem, hint=hint, columns=first.columns)
    files = {path: status for image in bands.values() for path, status in image.files.items()}
    sidecars = list(dict.fromkeys(ending for image in bands.values() for ending in image.sidecars))
    return FoundImage(filename, path, files, columns=first.columns, sidecars=sidecars)
