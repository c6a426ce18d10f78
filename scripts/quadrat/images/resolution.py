"""Resolution: the level that is read for a wanted size of a pixel, and how far its pixels are averaged."""

from fractions import Fraction
from math import hypot

from quadrat.errors import ImageError
from quadrat.images.image import ImageInfo, Level
from quadrat.images.place import way_out

# A level whose pixels are so near to the wanted size is read as it is: scanners called 40x have 0.2527 mpp as
# well as 0.25, and resampling by such a ratio would only blur.
TOLERANCE = 0.02
# A pixel whose sides differ by more is not square.
SQUARE_TOLERANCE = 0.01
# Ratios of whole numbers make positions exact. Denominators up to this are far finer than any metadata.
LARGEST_DENOMINATOR = 10_000


def level_of_size(
    levels: tuple[Level, ...],
    info: ImageInfo,
    key: str,
    wanted: float,
    default_mpp: float | None,
) -> Level:
    """Return the coarsest level that is fine enough, averaged where its pixels are smaller than wanted.

    Parameters
    ----------
    levels : tuple of Level
        The stored levels.
    info : ImageInfo
        Of level 0.
    key : {'mpp', 'gsd'}
        Unit of the wanted size: micrometres, or that of the image's CRS.
    wanted : float
        Size of a pixel.
    default_mpp : float or None
        Size of a level-0 pixel in micrometres, where the metadata do not contain it.

    Returns
    -------
    Level

    Raises
    ------
    ImageError
        If the image is coarser than wanted, or smaller than such a pixel, or its metadata do not contain the
        size of its pixels.
    """
    size = _pixel_size(info, key, default_mpp)
    if size > wanted * (1 + TOLERANCE):
        raise ImageError(
            f"its finest pixels have {size:g} {key}, coarser than {wanted:g} (config.yaml: {key})",
            _unit_hint(key, info),
        )
    chosen = levels[0]
    for level in levels[1:]:
        low, high = sorted(level.downsample)
        if high - low > SQUARE_TOLERANCE * high:
            continue  # its pixels are not square
        if size * high > wanted * (1 + TOLERANCE):
            break
        chosen = level
    ratio = wanted / (size * max(chosen.downsample))
    if ratio < 1 + TOLERANCE:
        return chosen
    if ratio > min(chosen.shape):
        raise ImageError(
            f"the image is smaller than a pixel of {wanted:g} {key} (config.yaml: {key})",
            _unit_hint(key, info),
        )
    return chosen.averaged(Fraction(ratio).limit_denominator(LARGEST_DENOMINATOR))


def _unit_hint(key: str, info: ImageInfo) -> str:
    if key != "gsd":
        return ""
    if info.crs is None:
        return "gsd is in the unit of its coordinates, which its files do not name"
    return f"gsd is in units of its coordinate reference system, {info.crs}"


def _pixel_size(info: ImageInfo, key: str, default_mpp: float | None) -> float:
    """Return the size of a level-0 pixel, in micrometres or in units of the CRS."""
    y, x = _sides_um(info, default_mpp) if key == "mpp" else sides_on_earth(info)
    if abs(y - x) > SQUARE_TOLERANCE * max(y, x):
        raise ImageError(
            f"its pixels are {y:g} high and {x:g} wide, but {key} needs square pixels (config.yaml: {key})",
            "read it at a level instead, or resample it to square pixels",
        )
    return (y + x) / 2


def _sides_um(info: ImageInfo, default_mpp: float | None) -> tuple[float, float]:
    if info.mpp is not None:
        return info.mpp
    if default_mpp is None:
        raise ImageError(
            "its metadata do not contain the micrometres per pixel that mpp needs",
            "set the value for all such images (config.yaml: default_mpp)",
        )
    return default_mpp, default_mpp


def sides_on_earth(info: ImageInfo) -> tuple[float, float]:
    """Return height and width of a level-0 pixel in units of the coordinates of an image with a place."""
    if info.transform is None:
        hint = way_out(info, "read it at a level (config.yaml: level)")
        raise ImageError("it has no georeference, which gsd needs", hint)
    a, b, _, d, e, _ = info.transform
    return hypot(b, e), hypot(a, d)
