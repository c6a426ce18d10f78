"""GeoJSON of the tissue of slides: the mask of `tissue_below` as an annotation that QuPath opens."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from quadrat._version import __version__
from quadrat.errors import ImageError
from quadrat.exports import keep_current
from quadrat.files.hashing import digest
from quadrat.images.image import ImageInfo
from quadrat.images.open import open_image
from quadrat.images.reading import configured_reader
from quadrat.patches.tissue import tissue_mask
from quadrat.processes.limits import Ended
from quadrat.results.links import plain_name
from quadrat.settings import ReadSettings


class Slide(NamedTuple):
    """A slide whose tissue is asked for.

    Attributes
    ----------
    filename, path : str
    token : list of int
        Changes when one of its files does.
    """

    filename: str
    path: str
    token: list[int]


def export_tissue(
    slides: Iterable[Slide],
    reading: ReadSettings,
    results: str,
    ask: Callable[[list[Any]], Iterator[Any]],
    log: Callable[[str], None],
) -> None:
    """Write the masks that the folder `tissue` lacks, so that it holds one per slide.

    Parameters
    ----------
    slides : iterable of Slide
    reading : ReadSettings
        The size of a patch chooses the level that is read.
    results : str
        The results folder.
    ask : callable
        Yields the result of `answer` for each question, or `Ended`; see `quadrat.processes.limits.answers`.
    log : callable
        Takes the lines that a person should read.
    """
    settings = reading.as_dict()
    named = {f"{plain_name(slide.filename)}.geojson": slide for slide in slides}
    marks = {name: digest([slide.token, settings, __version__]) for name, slide in named.items()}

    def write(name: str, path: Path) -> None:
        (answered,) = ask([{"path": named[name].path, "reading": settings}])
        if isinstance(answered, Ended):
            raise ImageError(f"cannot be read: {answered.why}")
        if "problem" in answered:
            raise ImageError(answered["problem"])
        path.write_bytes(orjson.dumps(answered))

    keep_current("tissue", marks, write, results, log)


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return the mask of a slide as GeoJSON, or the `problem` of the slide."""
    reading = ReadSettings(**question["reading"])
    try:
        with open_image(question["path"], reading.plane) as image:
            downsample = configured_reader(image, reading).info.downsample
            return _as_geojson(*tissue_mask(image, reading.patch_size * min(downsample)))
    except ImageError as error:
        return {"problem": str(error)}
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror}"}


def _as_geojson(is_tissue: np.ndarray, info: ImageInfo) -> dict[str, Any]:
    """Return the pixels of a mask as one annotation, in the level-0 pixels that QuPath counts.

    References
    ----------
    See `quadrat.exports.qupath.write`.
    """
    from rasterio.features import shapes

    (down, across), (height, width) = info.downsample, info.full_size
    y, x, *_ = info.bounds or (0, 0)

    def at_level_0(ring: list[tuple[float, float]]) -> list[list[float]]:
        # A level whose size was rounded up covers more than the image.
        places = np.minimum(np.array(ring) * (across, down), (width, height)) - (x, y)
        return places.round(2).tolist()

    polygons = [
        [at_level_0(ring) for ring in shape["coordinates"]]
        for shape, _ in shapes(is_tissue.astype(np.uint8), mask=is_tissue)
    ]
    feature = {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": polygons},
        "properties": {"objectType": "annotation", "classification": {"name": "Tissue"}},
    }
    return {"type": "FeatureCollection", "features": [feature] if polygons else []}
