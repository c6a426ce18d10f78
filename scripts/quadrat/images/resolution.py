"""Resolution: an image opened at the level, or with the size of a pixel, that the configuration asks for."""

from fractions import Fraction
from math import hypot
from typing import Any

from quadrat.errors import ImageError
from quadrat.images.budget import MB
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.open import open_image
from quadrat.images.resampled import ResampledReader
from quadrat.settings import ReadSettings

# A level whose pixels are so near to what is asked for is read as it is: scanners called 40x have 0.2527 mpp
# as well as 0.25, and resampling by such a ratio would only blur.
TOLERANCE = 0.02
# Sides of a pixel that differ by more do not have one size.
SQUARE_TOLERANCE = 0.01
# Positions are exact with ratios of whole numbers, and these are far more exact than any metadata.
LARGEST_DENOMINATOR = 10_000


def open_reading(path: str, reading: ReadSettings, memory_mb: float | None) -> Reader:
    """Open what the configuration reads of an image; only metadata are read.

    Parameters
    ----------
    path : str
    reading : ReadSettings
    memory_mb : float or None
        Memory in megabytes that the reader may take; None for no limit.

    Returns
    -------
    Reader

    Raises
    ------
    ImageError
        As `quadrat.images.open.open_image`; also if the image is coarser than asked for, or its metadata do
        not tell how large its pixels are.
    MemoryBudgetError
        If the image cannot be read within `memory_mb`.
    OSError
        If the disk fails.
    """
    chosen: dict[str, Any] = {
        "channels": tuple(reading.channels) if reading.channels else None,
        "plane": reading.plane,
    }
    wanted = reading.mpp if reading.gsd is None else reading.gsd
    if wanted is None:
        return open_image(path, level=reading.level, memory_mb=memory_mb, **chosen)
    info, ratio = _nearest_finer(path, reading, wanted, chosen)
    if ratio == 1:
        return open_image(path, level=info.level, memory_mb=memory_mb, **chosen)
    if memory_mb is not None:
        memory_mb -= ResampledReader.memory_bytes(info, ratio, reading.patch_size) / MB
    return ResampledReader(open_image(path, level=info.level, memory_mb=memory_mb, **chosen), ratio)


def _nearest_finer(
    path: str, reading: ReadSettings, wanted: float, chosen: dict[str, Any]
) -> tuple[ImageInfo, Fraction]:
    """Return the coarsest level that is fine enough, and the size in its pixels of those asked for."""
    key = "mpp" if reading.gsd is None else "gsd"
    info = _info_of(path, 0, chosen)
    size = _pixel_size(info, reading, key)
    if size > wanted * (1 + TOLERANCE):
        raise ImageError(
            f"has {size:g} {key} at best, asked for {wanted:g} (config.yaml: {key})", _unit_hint(key, info)
        )
    for level in range(1, info.level_count):
        coarser = _info_of(path, level, chosen)
        low, high = sorted(coarser.downsample)
        if high - low > SQUARE_TOLERANCE * high:
            continue  # its pixels are not square
        if size * high > wanted * (1 + TOLERANCE):
            break
        info = coarser
    ratio = wanted / (size * max(info.downsample))
    if ratio < 1 + TOLERANCE:
        return info, Fraction(1)
    if ratio > min(info.height, info.width):
        raise ImageError(
            f"is smaller than a pixel of {wanted:g} {key} (config.yaml: {key})", _unit_hint(key, info)
        )
    return info, Fraction(ratio).limit_denominator(LARGEST_DENOMINATOR)


def _unit_hint(key: str, info: ImageInfo) -> str:
    return f"gsd is in units of its coordinate reference system, {info.crs}" if key == "gsd" else ""


def _info_of(path: str, level: int, chosen: dict[str, Any]) -> ImageInfo:
    with open_image(path, level=level, **chosen) as reader:
        return reader.info


def _pixel_size(info: ImageInfo, reading: ReadSettings, key: str) -> float:
    """Return the size of a level-0 pixel, in micrometres or in units of the CRS."""
    y, x = _sides_um(info, reading) if key == "mpp" else _sides_on_earth(info)
    if abs(y - x) > SQUARE_TOLERANCE * max(y, x):
        raise ImageError(
            f"its pixels are {y:g} high and {x:g} wide: {key} needs square ones (config.yaml: {key})",
            "read it at a level instead, or resample it to square pixels",
        )
    return (y + x) / 2


def _sides_um(info: ImageInfo, reading: ReadSettings) -> tuple[float, float]:
    if info.mpp is not None:
        return info.mpp
    if reading.default_mpp is None:
        raise ImageError(
            "its metadata do not say how many micrometres a pixel is, which mpp needs",
            "if you know it, say it for all such images (config.yaml: default_mpp)",
        )
    return reading.default_mpp, reading.default_mpp


def _sides_on_earth(info: ImageInfo) -> tuple[float, float]:
    if info.transform is None:
        raise ImageError("not georeferenced, which gsd needs", "read it at a level (config.yaml: level)")
    a, b, _, d, e, _ = info.transform
    return hypot(b, e), hypot(a, d)
