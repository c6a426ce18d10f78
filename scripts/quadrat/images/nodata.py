"""Nodata: the value that a file declares for samples without data, and which samples have it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from quadrat.images.image import ImageInfo
from quadrat.settings import NO_NODATA

# A number at the start of a text; old Windows writers have 1.#QNAN, 1.#IND and 1.#INF.
NUMBER = re.compile(r"[+-]?(?:nan|inf|1\.#(?:[qs]?nan|ind|inf)|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,9})?)", re.I)


def declared_nodata(text: str, dtype: np.dtype) -> int | float | None:
    """Return the sample that a text names, as GDAL reads it: the number it begins with, cut to a whole one.

    Parameters
    ----------
    text : str
        Of GDAL's TIFF tag 42113, or of NoDataValue in a VRT.
    dtype : numpy.dtype
        Of the samples.

    Returns
    -------
    int, float or None
        A value of the dtype. None if the text does not begin with a number, or the dtype cannot represent it.
    """
    found = NUMBER.match(text.strip().replace(",", "."))
    if found is None:
        return None
    number = found[0].lower().replace("1.#inf", "inf")
    value = Decimal("nan" if "#" in number else number)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(float(value)))
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return int(value) if value == value and low <= value <= high else None


def is_nodata(samples: np.ndarray, value: float) -> np.ndarray:
    """Return which samples have the nodata value, as GDAL's mask has it.

    Parameters
    ----------
    samples : array
    value : int or float
        Of their dtype.

    Returns
    -------
    bool array
        Of the shape of the samples.
    """
    if value != value:
        return np.isnan(samples)
    if samples.dtype.kind == "f" and samples.dtype.itemsize >= 4:
        limits = np.finfo(samples.dtype)
        if limits.tiny <= abs(value) < np.inf:
            low, high = _range(value, float(limits.max))
            return (samples > low) & (samples < high)
    return samples == value


def nodata_mask(pixels: np.ndarray, nodata: Iterable[float | None]) -> np.ndarray:
    """Return which samples of pixels have the nodata value of their channel, as bool array of their shape.

    Parameters
    ----------
    pixels : (..., channel) array
    nodata : iterable of int, float or None
        Of each channel; None for a channel without a value. May be empty.
    """
    mask = np.zeros(pixels.shape, bool)
    for channel, value in enumerate(nodata):
        if value is not None:
            mask[..., channel] = is_nodata(pixels[..., channel], value)
    return mask


def with_nodata(
    info: ImageInfo, given: float | str | Mapping[int, float | str], channels: Sequence[int] | None
) -> ImageInfo:
    """Return metadata with other nodata values than the file declares; alpha has none.

    Parameters
    ----------
    info : ImageInfo
    given : int, float, str or mapping
        The value of all channels, or of each channel, counted from 1; 'nan', or 'none' for no value and no
        alpha.
    channels : sequence of int or None
        The channels that are read, counted from 1; None for all.
    """
    if given == NO_NODATA:
        return replace(info, nodata=None, alpha=None)
    read = channels or range(1, info.channels + 1)
    wanted = [
        None if one == info.alpha else given.get(one) if isinstance(given, Mapping) else given for one in read
    ]
    values = [None if value is None else declared_nodata(str(value), info.dtype) for value in wanted]
    lost = [value for value, found in zip(wanted, values, strict=True) if value is not None and found is None]
    notes = [f"no pixel is nodata {value}: {info.dtype} has no such value" for value in dict.fromkeys(lost)]
    is_none = set(values) == {None}
    return replace(info, nodata=None if is_none else tuple(values), notes=(*info.notes, *notes))


def _range(value: float, most: float) -> tuple[float, float]:
    """Return between which floats samples count as equal to a value; `most` is the largest of their type.

    GDAL allows for texts of too few digits: a sample x is nodata where |x - value| < 2 epsilon |x + value|,
    with the epsilon of float32. If that sum overflows, all large samples of the same sign are nodata.
    """
    size, near = abs(value), 2.0**-22
    low, high = size * (1 - near) / (1 + near), size * (1 + near) / (1 - near)
    if size > most / 2:
        low, high = min(low, most - size + most * 2.0**-25), np.inf
    return (low, high) if value > 0 else (-high, -low)
