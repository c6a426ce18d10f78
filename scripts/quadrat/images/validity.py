"""Validity: an image opened together with what tells which of its pixels are data."""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np

from quadrat.grid import Window
from quadrat.images.image import ImageInfo, Reader
from quadrat.images.open import open_image
from quadrat.images.resampled import ResampledReader
from quadrat.images.resolution import open_reading
from quadrat.settings import ReadSettings

# What GDAL takes to read a mask beside the image.
MASK_MB = 100


class Opened(NamedTuple):
    """An open image.

    Attributes
    ----------
    reader : Reader
        A channel of validity may follow the channels of the image.
    info : ImageInfo
        Of the image without such a channel.
    validity : int or None
        The channel of what is read, counted from 0, that is 0 where a pixel is no data: alpha, or the mask
        in the file. None where the file has neither, or nobody asks.
    """

    reader: Reader
    info: ImageInfo
    validity: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info) -> None:
        self.reader.close()


def open_with_validity(path: str, reading: ReadSettings, memory_mb: float | None) -> Opened:
    """Open what the configuration reads of an image, and its alpha or mask where `skip: nodata` asks for it.

    Parameters
    ----------
    path : str
    reading : ReadSettings
    memory_mb : float or None
        Memory in megabytes that may be taken; None for no limit.

    Returns
    -------
    Opened
        A context manager.

    Raises
    ------
    ImageError, OSError
        As `quadrat.images.resolution.open_reading`.
    """
    if reading.skip is None or "nodata" not in reading.skip:
        reader = open_reading(path, reading, memory_mb)
        return Opened(reader, reader.info)
    with open_image(path, plane=reading.plane) as image:
        alpha, channels = image.info.alpha, reading.channels or [*range(1, image.info.channels + 1)]
    if alpha is None and image.info.is_first:
        return _open_with_mask(path, reading, memory_mb)
    if alpha is None or alpha in channels:
        reader = open_reading(path, reading, memory_mb)
        return Opened(reader, reader.info, None if alpha is None else channels.index(alpha))
    reader = open_reading(path, replace(reading, channels=[*channels, alpha]), memory_mb)
    return Opened(reader, _without_last(reader.info), len(channels))


def _without_last(info: ImageInfo) -> ImageInfo:
    return replace(
        info,
        channels=info.channels - 1,
        nodata=info.nodata and info.nodata[:-1],
        scales=info.scales and info.scales[:-1],
        offsets=info.offsets and info.offsets[:-1],
    )


def _open_with_mask(path: str, reading: ReadSettings, memory_mb: float | None) -> Opened:
    # Imported here: it takes GDAL, which other formats do without.
    from quadrat.images.mask import MaskReader, has_mask

    if not has_mask(path):
        reader = open_reading(path, reading, memory_mb)
        return Opened(reader, reader.info)
    reader = open_reading(path, reading, None if memory_mb is None else memory_mb - MASK_MB)
    try:
        mask: Reader = MaskReader(path, reader.info.level)
        if isinstance(reader, ResampledReader):
            mask = ResampledReader(mask, reader.ratio)
    except BaseException:
        reader.close()
        raise
    return Opened(MaskedReader(reader, mask), reader.info, reader.info.channels)


class MaskedReader:
    """Reads an image and its mask as one more channel.

    Parameters
    ----------
    reader : Reader
    mask : Reader
        Of the same size, with one channel. Both are closed with this one.

    Attributes
    ----------
    info : ImageInfo
        With the channel of the mask, which is 1 where a pixel is data and 0 where it is not.
    """

    def __init__(self, reader: Reader, mask: Reader):
        self._reader, self._mask = reader, mask
        nodata = reader.info.nodata and (*reader.info.nodata, None)
        self.info = replace(reader.info, channels=reader.info.channels + 1, nodata=nodata)

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        blocks = list(blocks)
        wanted = wanted if wanted is None else list(wanted)
        pixels, masks = (one.read_blocks(blocks, threads, wanted) for one in (self._reader, self._mask))
        return self._joined(pixels, masks)

    def _joined(
        self, pixels: Generator[np.ndarray, None, None], masks: Generator[np.ndarray, None, None]
    ) -> Generator[np.ndarray, None, None]:
        buffer = np.empty((0, 0, 0), self.info.dtype)
        with closing(pixels), closing(masks):
            for block, mask in zip(pixels, masks, strict=True):
                shape = (*block.shape[:2], self.info.channels)
                if buffer.shape != shape:
                    buffer = np.empty(shape, self.info.dtype)
                buffer[..., :-1] = block
                buffer[..., -1] = mask[..., 0] != 0
                yield buffer

    def close(self) -> None:
        """Close both."""
        self._reader.close()
        self._mask.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()
