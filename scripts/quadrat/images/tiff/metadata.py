"""TIFF metadata: where an image lies on Earth, and what its samples mean."""

import os
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from tifffile import TiffPage

from quadrat.files.unread import NO_PLACE
from quadrat.images.nodata import declared_nodata
from quadrat.images.place import CONTROL_POINTS
from quadrat.images.tiff.pages import JPEG_2000, JPEG_FAMILY, PALETTE
from quadrat.images.tiff.tags import GDAL_NODATA

YCBCR_CONVERTED, YCBCR_STORED = "YCbCr converted to RGB", "YCbCr samples are as stored, not RGB"
MODEL_TYPE, RASTER_TYPE, GEOGRAPHIC_CRS, PROJECTED_CRS = 1024, 1025, 2048, 3072
PROJECTED, GEOGRAPHIC = 1, 2
MODEL_SCALE, TIE_POINTS, MODEL_MATRIX = 33550, 33922, 34264
PIXEL_IS_POINT, USER_DEFINED = 2, 32767
PROJECTED_UNIT, METRE = 3076, 9001
EPSG_CODES = range(1024, USER_DEFINED)


def geo_keys(page: TiffPage) -> dict[int, int]:
    """Return the numeric GeoTIFF keys of a page.

    References
    ----------
    OGC GeoTIFF 1.1 (19-008r4), 7.1: a directory of (key, location, count, value) after a header of four.
    """
    directory = _numbers(page, 34735)
    entries = (directory[i : i + 4] for i in range(4, len(directory) - 3, 4))
    return {int(key): int(value) for key, location, _, value in entries if location == 0}


def crs_of(page: TiffPage) -> str | None:
    """Return the coordinate reference system as 'EPSG:n' if the keys name one, otherwise None."""
    keys = geo_keys(page)
    # Some programs leave out the type; a projected system may also name the geographic one below it.
    written = PROJECTED if PROJECTED_CRS in keys else GEOGRAPHIC
    key = {PROJECTED: PROJECTED_CRS, GEOGRAPHIC: GEOGRAPHIC_CRS}.get(keys.get(MODEL_TYPE, written))
    code = USER_DEFINED if key is None else keys.get(key, USER_DEFINED)
    has_own_unit = keys.get(PROJECTED_UNIT, METRE) != METRE
    return f"EPSG:{code}" if code in EPSG_CODES and not has_own_unit else None


def has_own_crs(page: TiffPage) -> bool:
    """Return whether only GDAL can read which coordinate reference system the keys describe."""
    has_keys = not geo_keys(page).keys().isdisjoint((MODEL_TYPE, GEOGRAPHIC_CRS, PROJECTED_CRS))
    return has_keys and crs_of(page) is None


def gdal_crs(path: str) -> str | None:
    """Return the coordinate reference system that GDAL composes of keys, with its code or as WKT."""
    # Few images need GDAL.
    import rasterio

    from quadrat.images.drivers import open_local

    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        try:
            with open_local(os.path.abspath(path)) as image:
                crs = image.crs or image.gcps[1]
                return crs.to_string() if crs else None
        except rasterio.errors.RasterioError:
            return None


def transform_of(page: TiffPage) -> tuple[float, ...] | None:
    """Return the affine transform of pixel corners to the CRS, as (a, b, c, d, e, f).

    References
    ----------
    OGC GeoTIFF 1.1 (19-008r4), 7.3 and Annex B.6: a tie point and a scale, or ModelTransformation. In
    PixelIsPoint rasters both refer to the pixels' centres. GDAL takes the first of several tie points, and
    leaves out the sign of the scale along y.
    """
    matrix, scale, tie = (_numbers(page, tag) for tag in (MODEL_MATRIX, MODEL_SCALE, TIE_POINTS))
    if len(tie) >= 6 and len(scale) >= 2 and scale[0] and scale[1]:
        a, b, c = scale[0], 0.0, tie[3] - tie[0] * scale[0]
        d, e, f = 0.0, -abs(scale[1]), tie[4] + tie[1] * abs(scale[1])
    elif len(matrix) == 16:
        a, b, _, c, d, e, _, f = matrix[:8]
    else:
        return None
    if geo_keys(page).get(RASTER_TYPE) == PIXEL_IS_POINT:
        c, f = c - (a + b) / 2, f - (d + e) / 2
    return tuple(float(value) for value in (a, b, c, d, e, f))


def _numbers(page: TiffPage, tag: int) -> tuple[float, ...]:
    """Return the numbers of a tag; tifffile returns a single number as it is."""
    values = np.ravel(page.tags.valueof(tag, ()))
    return tuple(values.tolist()) if values.dtype.kind in "iuf" else ()


def place_notes(page: TiffPage) -> list[str]:
    """Return a note if a page has control points, or the size of its pixels, in place of a transform."""
    if transform_of(page) is not None:
        return []
    if len(_numbers(page, TIE_POINTS)) >= 6:
        return [CONTROL_POINTS]
    return [f"{NO_PLACE}: it has a scale without a tie point"] if any(_numbers(page, MODEL_SCALE)) else []


def nodata_of(page: TiffPage, dtype: np.dtype) -> int | float | None:
    """Return the value that a page declares for samples without data; in a palette image it is an index."""
    text = page.tags.valueof(GDAL_NODATA)
    return declared_nodata(text, dtype) if isinstance(text, str) else None


def alpha_of(page: TiffPage) -> int | None:
    """Return the channel, counted from 1, that a page declares to be its opacity.

    References
    ----------
    TIFF 6.0, section 18: ExtraSamples 1 is associated alpha, 2 is unassociated.
    """
    extra = page.extrasamples
    colors = 3 if page.photometric == PALETTE else page.samplesperpixel - len(extra)
    return next((colors + place for place, kind in enumerate(extra, start=1) if kind in (1, 2)), None)


def scaling_of(page: TiffPage, channels: tuple[int, ...]) -> dict[str, Any]:
    """Return the scales and offsets of channels, counted from 0; empty if the file has neither.

    References
    ----------
    GDAL, "GTiff -- GeoTIFF File Format": tag 42112 holds XML with <Item name sample role>, where roles are
    "scale" and "offset"; missing items are 1 and 0.
    """
    try:
        items = ElementTree.fromstring(page.tags.valueof(42112) or "<none/>").iter("Item")
        stored = {(item.get("role"), int(item.get("sample", 0))): item.text for item in items}
        scales, offsets = (
            tuple(float(stored.get((role, channel)) or default) for channel in channels)
            for role, default in (("scale", 1), ("offset", 0))
        )
    except (ElementTree.ParseError, LookupError, ValueError):
        return {}
    if page.photometric == PALETTE or not {"scale", "offset"} & {role for role, _ in stored}:
        return {}
    return {"scales": scales, "offsets": offsets}


def sample_notes(page: TiffPage) -> list[str]:
    """Return notes on the samples of a page for a reader of the results."""
    notes = []
    if page.photometric == PALETTE:
        notes.append("palette expanded to RGB")
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        notes.append("MINISWHITE samples are as stored: 0 is white")
    if page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression not in JPEG_2000:
        decoded = page.compression in JPEG_FAMILY
        notes.append(YCBCR_CONVERTED if decoded else YCBCR_STORED)
    if page.photometric in (5, 8, 9, 10, 32803, 34892):
        notes.append(f"{tifffile.PHOTOMETRIC(page.photometric).name} samples are as stored")
    if page.imagedepth > 1:
        notes.append(f"the image is {page.imagedepth} planes deep: the first is read")
    if page.tags.valueof(274, 1) in range(2, 9):
        notes.append("the orientation tag is not applied")
    return notes
