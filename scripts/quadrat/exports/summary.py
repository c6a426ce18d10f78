"""Places for the summary tables: the area of each patch, and the patches of each region."""

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from quadrat.grid import PatchGrid, Window
from quadrat.images.image import ImageInfo
from quadrat.results.columns import as_numpy
from quadrat.results.result import Result
from quadrat.results.summary import Region

# Web Mercator's metres are longer than those on the ground: twice as long at 60 degrees.
WEB_MERCATOR = "Popular Visualisation Pseudo Mercator"
SPHEROID = re.compile(r'SPHEROID\["(?:[^"]|"")*",([^,]+),([^,\]]+)')


class _Plane(NamedTuple):
    """A reference system.

    Attributes
    ----------
    unit : float
        Its unit in metres, or in radians.
    ellipsoid : tuple of 2 float, or None
        Half the length of its larger axis in metres, and the square of its eccentricity. None if areas
        are measured in the plane.
    is_mercator : bool
        Whether it is Web Mercator.
    """

    unit: float
    ellipsoid: tuple[float, float] | None
    is_mercator: bool


def patches_of_regions(
    result: Result, task_of: Callable[[str], dict[str, Any]], edge: str
) -> Iterator[Region]:
    """Yield the regions of an image with the rows of its result, by the rule that skips patches outside.

    Parameters
    ----------
    result : Result
    task_of : callable
        Returns the regions of a filename as its job got them; see `quadrat.jobs.task.ImageTask`.
    edge : str
        The key of the configuration.
    """
    from quadrat.patches.regions import patches_by_region  # few runs need it

    image = result.image
    size, grid = (image["height"], image["width"]), result.grid
    info = ImageInfo(
        *("", *size, 1, np.dtype(np.uint8), 1, 1),
        downsample=image["downsample"],
        crs=image["crs"],
        transform=image["transform"],
        bounds=image["bounds"] and Window(*image["bounds"]),
    )
    laid = PatchGrid(*size, grid["patch_size"], grid["stride"], edge)
    assert (laid.rows, laid.cols) == (grid["rows"], grid["cols"])
    for label, patches in patches_by_region(task_of(result.filename), laid, info):
        yield Region(label.number, label.name, label.class_name, patches)


@np.errstate(all="ignore")  # a file may claim any place and size
def cell_areas(
    result: Result, table: pa.Table, default_mpp: float | None = None
) -> tuple[str, np.ndarray] | None:
    """Return the area of each patch inside its image; an overlap is shared equally by its patches.

    Parameters
    ----------
    result : Result
    table : pyarrow.Table
        Its rows.
    default_mpp : float, optional
        Micrometres per level-0 pixel of an image whose metadata lack it.

    Returns
    -------
    column : {'area_m2', 'area_mm2'}
        Square metres of a georeferenced image, square millimetres of one with a size of pixels.
    areas : (n,) float64 array
    """
    image = result.image
    plane = _plane(image["crs"]) if image["transform"] and image["crs"] else None
    mpp = image["mpp"] or (default_mpp and (default_mpp, default_mpp))
    a, b, _, d, e, f = image["transform"] or (1, 0, 0, 0, 1, 0)
    scale: float | None
    if plane is None:
        scale = mpp[0] * mpp[1] / 1e6 if mpp else None
    elif plane.ellipsoid is None:
        scale = abs(a * e - b * d) * plane.unit**2
    else:
        scale = None if b or d else abs(a) * plane.unit / (plane.ellipsoid[0] if plane.is_mercator else 1)
    if scale is None:
        return None
    rows, cols = as_numpy(table["row"]), as_numpy(table["col"])
    top, bottom = _cells(rows, table["y"], table["height"], image["full_size"][0])
    left, right = _cells(cols, table["x"], table["width"], image["full_size"][1])
    if plane is not None and plane.ellipsoid is not None:
        top, bottom = _zone(plane, e * top + f), _zone(plane, e * bottom + f)
    return "area_mm2" if plane is None else "area_m2", scale * (
        abs(bottom - top)[rows] * (right - left)[cols]
    )


def _cells(
    places: np.ndarray, starts: pa.ChunkedArray, sizes: pa.ChunkedArray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the cell of each grid row or column: neighbours that overlap meet in the middle."""
    first, last = np.empty((2, places.max() + 1))
    first[places], last[places] = as_numpy(starts), np.minimum(as_numpy(starts) + as_numpy(sizes), length)
    middles = (first[1:] + last[:-1]) / 2
    first[1:], last[:-1] = np.maximum(first[1:], middles), np.minimum(last[:-1], middles)
    return first, last


@lru_cache(maxsize=64)
def _plane(crs: str) -> _Plane | None:
    """Return what areas depend on in a reference system; None if it cannot be read or has no unit."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        system = CRS.from_string(crs)
        unit, factor = system.units_factor
        method = system.to_dict(projjson=True).get("conversion", {}).get("method", {})
        is_mercator = method.get("name") == WEB_MERCATOR
        if not (system.is_geographic or is_mercator):
            return None if unit == "unknown" else _Plane(factor, None, False)
        # This form of WKT has the larger half axis in metres, and the inverse flattening; 0 for a sphere.
        found = SPHEROID.search(system.to_wkt(version="WKT1_GDAL"))
    except CRSError:
        return None
    if found is None:
        return None
    long, inverse = map(float, found.groups())
    flattening = 1 / inverse if inverse else 0.0
    return _Plane(factor, (long, max(0.0, flattening * (2 - flattening))), is_mercator)


def _zone(plane: _Plane, y: np.ndarray) -> np.ndarray:
    """Return the area between the equator and each parallel, of one radian of longitude, in square metres.

    References
    ----------
    J. P. Snyder, "Map projections: a working manual", 1987, equation 3-12: q of the authalic latitude, for
    which the area is half of q times the square of the larger half axis.
    """
    assert plane.ellipsoid is not None
    long, squared = plane.ellipsoid
    latitude = math.pi / 2 - 2 * np.arctan(np.exp(-y / long)) if plane.is_mercator else plane.unit * y
    sine, e = np.sin(np.clip(latitude, -math.pi / 2, math.pi / 2)), math.sqrt(squared)
    if not squared:
        return long**2 * sine
    q = sine / (1 - squared * sine**2) + np.arctanh(e * sine) / e
    return long**2 * (1 - squared) / 2 * q
