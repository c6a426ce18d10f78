"""Readers of the pixels that the configuration chooses, and the channel that shows which pixels are valid."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from quadrat.errors import ImageError
from quadrat.images.image import ImageInfo, Level, Reader
from quadrat.images.open import Image
from quadrat.settings import ReadSettings


class ReaderWithValidity(NamedTuple):
    """A reader, and the number of its channel that shows which pixels are valid.

    Attributes
    ----------
    reader : Reader
        A channel of validity may follow the channels of the image.
    info : ImageInfo
        Of the image without such a channel.
    validity : int or None
        The channel that is 0 where a pixel is not valid, counted from 0 among the channels that are read:
        alpha, or the mask in the file. None if the file has neither, or nobody asks.
    """

    reader: Reader
    info: ImageInfo
    validity: int | None = None


def configured_reader(
    image: Image,
    reading: ReadSettings,
    with_mask: bool = False,
    watch: Callable[[Reader, tuple[int, ...] | None], Reader] | None = None,
) -> Reader:
    """Return a reader of what the configuration reads of an image.

    Parameters
    ----------
    image : Image
    reading : ReadSettings
    with_mask : bool, optional
        Whether a channel of the mask follows; see `Image.reader`.
    watch : callable, optional
        See `Image.reader`.

    Returns
    -------
    Reader

    Raises
    ------
    ImageError
        As `Image.level_for` and `Image.reader`.
    MemoryBudgetError
        If the image cannot be read within its memory.
    """
    if isinstance(reading.nodata, list) and not reading.channels:
        given, found = len(reading.nodata), image.info.channels
        if given != found:
            raise ImageError(
                f"nodata has {given} values, but the image has {found} channels (config.yaml: nodata)",
                "give a number for all channels, or choose them with channels in config.yaml",
            )
    level: int | Level = reading.level
    if reading.mpp is not None or reading.gsd is not None:
        level = image.level_for(mpp=reading.mpp, gsd=reading.gsd, default_mpp=reading.default_mpp)
    size = reading.patch_size
    return image.reader(level, reading.channels, with_mask=with_mask, patch_size=size, watch=watch)


def reader_with_validity(
    image: Image,
    reading: ReadSettings,
    watch: Callable[[Reader, tuple[int, ...] | None], Reader] | None = None,
    ignores_nodata: bool = False,
) -> ReaderWithValidity:
    """Return a reader that reads the image's alpha or mask too, where `skip: nodata` or the predictor asks.

    Parameters
    ----------
    image : Image
    reading : ReadSettings
    watch : callable, optional
        See `Image.reader`.
    ignores_nodata : bool, optional
        Whether the predictor asks for it. Default: no.

    Returns
    -------
    ReaderWithValidity

    Raises
    ------
    ImageError, MemoryBudgetError
        As `configured_reader`.
    """
    alpha, has_mask = None, False
    if ignores_nodata or "nodata" in (reading.skip or {}):
        alpha, has_mask = image.alpha, image.mask
    if alpha is None and not has_mask:
        reader = configured_reader(image, reading, watch=watch)
        return ReaderWithValidity(reader, reader.info)
    if alpha is not None:
        channels = reading.channels or [*range(1, image.info.channels + 1)]
        if alpha in channels:
            reader = configured_reader(image, reading, watch=watch)
            return ReaderWithValidity(reader, reader.info, channels.index(alpha))
        reading = replace(reading, channels=[*channels, alpha])
    reader = configured_reader(image, reading, has_mask, watch)
    info = reader.info.without_last()
    return ReaderWithValidity(reader, info, info.channels)
