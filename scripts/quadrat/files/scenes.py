"""Scenes: images whose channels are files of their own, each one a band."""

from typing import NamedTuple

import orjson

from quadrat.files.records import fits

# The inventory has no file whose path begins so.
SCENE_START = '{"bands":'
_FORM = {"bands": {str: str}, "resample": str}


class Scene(NamedTuple):
    """The files of a scene.

    Attributes
    ----------
    bands : dict of str to str
        Path of each band by its name, in the order of the channels.
    resample : {'nearest', 'bilinear'}
        How coarser bands are brought to the pixels of the finest.
    """

    bands: dict[str, str]
    resample: str = "nearest"


def scene_path(scene: Scene) -> str:
    """Return the text that is used for a scene in place of the path of an image."""
    return orjson.dumps(scene._asdict()).decode()


def as_scene(path: str) -> Scene | None:
    """Return the scene that a path describes; None for the path of a file."""
    if not path.startswith(SCENE_START):
        return None
    try:
        parts = orjson.loads(path)
    except ValueError:
        return None
    is_scene = fits(parts, _FORM) and len(parts["bands"]) > 0
    return Scene(parts["bands"], parts["resample"]) if is_scene else None


def named_files(path: str) -> list[str]:
    """Return the files that a path names: one, or the bands of a scene."""
    scene = as_scene(path)
    return [path] if scene is None else list(scene.bands.values())
