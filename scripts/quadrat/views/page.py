"""The page of an image: its picture and predictions, where pointing at a patch shows its prediction."""

import base64
import html
import json
import os
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from quadrat.files.atomic import replace_file
from quadrat.images.thumbnail import Thumbnail
from quadrat.results.display import class_colours
from quadrat.views.map import panels
from quadrat.views.packages import package_folder
from quadrat.views.patch_map import PatchMap
from quadrat.views.scale import VIRIDIS

# A page of so many takes 2 MB. Lines between them hide them when there are many.
MOST_PATCHES, MOST_OUTLINED = 100_000, 2500
JPEG_QUALITY = 85
LONGEST_SIDE = 720  # of the drawing on the screen, in pixels


def write_page(
    patch_map: PatchMap,
    thumbnail: Thumbnail,
    path: str | os.PathLike,
    results: str | os.PathLike | None = None,
) -> None:
    """Write a page that needs no other file and no network.

    For an image of more than 100,000 patches it shows the picture only, with a note.

    Parameters
    ----------
    patch_map : PatchMap
    thumbnail : Thumbnail
        Of the same image.
    path : path
        The HTML file to write.
    results : path, optional
        The results folder that it is in; see `quadrat.files.atomic.replacing`.
    """
    before, between, after = _template()
    image = _picture(patch_map, thumbnail) | _patches(patch_map)
    facts = [patch_map.size_text, f"{patch_map.skipped.size:,} patches", thumbnail.problem]
    facts.append(
        "point at a patch to read its prediction; drag and scroll to look closer"
        if image["grid"]
        else "too many to point at: see the map"
    )
    image |= {"name": patch_map.name, "facts": " · ".join(fact for fact in facts if fact)}
    # A "<" in a script might end it.
    text = json.dumps(image, separators=(",", ":")).replace("<", "\\u003c")
    replace_file(path, "".join([before, html.escape(patch_map.name), between, text, after]).encode(), results)


@lru_cache(1)
def _template() -> list[str]:
    """Return what is the same in all pages: the parts before the name, before the image, and after it."""
    script = package_folder("bokeh") / "server/static/js/bokeh.min.js"
    packed = base64.b64encode(zlib.compress(script.read_bytes())).decode()
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return re.split("{{name}}|{{image}}", page.replace("{{bokeh}}", packed))


def _picture(patch_map: PatchMap, thumbnail: Thumbnail) -> dict[str, Any]:
    """Return the picture, its size on the screen, and what it covers of the image, in pixels."""
    height, width = thumbnail.pixels.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    picture = imagecodecs.jpeg8_encode(thumbnail.pixels, level=JPEG_QUALITY)
    return {
        "picture": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}",
        "covered": [width * thumbnail.steps[1], height * thumbnail.steps[0]],
        "width": patch_map.width,
        "height": patch_map.height,
        "frame": [max(120, round(width * scale)), max(120, round(height * scale))],
    }


def _patches(patch_map: PatchMap) -> dict[str, Any]:
    """Return the places of patches, why some are skipped, and the predictions of the others."""
    if patch_map.skipped.size > MOST_PATCHES:
        return {"grid": None, "numbers": [], "classes": None}
    is_labels, names = patch_map.is_labels, patch_map.names
    shown = panels(patch_map)
    reasons, skipped = np.unique(np.append("", patch_map.skipped), return_inverse=True)  # "" is the first
    return {
        "grid": {
            "ys": patch_map.ys.tolist(),
            "xs": patch_map.xs.tolist(),
            "rows": patch_map.row_spans.tolist(),
            "cols": patch_map.col_spans.tolist(),
        },
        "reasons": reasons.tolist(),
        "skipped": skipped[1:].tolist(),
        "numbers": [
            {
                "place": place,
                "name": "" if is_labels else names[place],
                "values": base64.b64encode(patch_map.values[..., place].astype("<f8").tobytes()).decode(),
            }
            for place in (range(patch_map.values.shape[2]) if is_labels else shown)
        ],
        "first": _first(patch_map, shown),
        "classes": list(zip(class_colours(len(names)), names, strict=True)) if is_labels else None,
        "limits": (-0.5, len(names) - 0.5) if is_labels else patch_map.limits,
        "palette": class_colours(len(names)) if is_labels else [f"#{bytes(rgb).hex()}" for rgb in VIRIDIS],
        "outline": 0.5 if patch_map.skipped.size <= MOST_OUTLINED else 0,
    }


def _first(patch_map: PatchMap, shown: list[int]) -> int:
    """Return the number that is shown at first: the one that differs most between patches."""
    finite = np.where(np.isfinite(patch_map.values), patch_map.values, 0)
    return max(shown, key=lambda place: finite[..., place].std())
