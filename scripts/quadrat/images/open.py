"""Open images: from a file to its levels and their pixels.

The file's content, never its extension, chooses the kind of image; each imports its decoder only when needed.
Slides of several files are the only exception: their names choose, as they choose their other files.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quadrat.errors import ImageError, MissingReaderError
from quadrat.files.scenes import Scene, as_scene
from quadrat.files.sources import DICOM_ENDING, HAMAMATSU_ENDINGS, MRXS_ENDING
from quadrat.grid import Window
from quadrat.images import dicom
from quadrat.images.budget import MB
from quadrat.images.image import HeldFiles, ImageFile, ImageInfo, Level, Reader
from quadrat.images.nodata import with_nodata
from quadrat.images.place import placed, world_file_of
from quadrat.images.resampled import ResampledReader
from quadrat.images.resolution import level_of_size
from quadrat.images.selection import refuse_planes
from quadrat.settings import NO_NODATA

if TYPE_CHECKING:
    from quadrat.files.world_files import WorldFile
    from quadrat.images.mask import MaskFile

# Byte order mark, then 42 (TIFF) or 43 (BigTIFF) in that order.
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# The file of such a slide contains a preview or no pixels: they are in folders that are not watched.
UNWATCHED_SLIDE = ".vsi"
STREAMED_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

# Memory that GDAL takes to read a mask beside the image.
MASK_MB = 100


def open_image(
    path: str | os.PathLike,
    plane: dict[str, int] | None = None,
    memory_mb: float | None = None,
    nodata: float | str | dict[int, float | str] | None = None,
) -> "Image":
    """Open an image file; only metadata are read.

    Parameters
    ----------
    path : str or os.PathLike
        The image file, or a scene of several files; see `quadrat.files.scenes`.
    plane : dict of str to int, optional
        Which plane of a stack to read: its 'z', 't' and 'series', each counted from 1. Default: the first.
    memory_mb : float, optional
        Memory in megabytes that a reader may take for buffers and decoding. Default: no limit.
    nodata : int, float, str or dict, optional
        The value of samples without data: of all channels, or of each channel, counted from 1. 'none' is no
        value, no alpha and no mask. Default: what the file declares.

    Returns
    -------
    Image
        A context manager, which closes the file.

    Raises
    ------
    ImageError
        If the file is not an image, is broken, or lacks the plane. The message does not name the file.
    MissingReaderError
        If the library that reads it is not installed.
    OSError
        If the disk fails.

    Examples
    --------
    >>> from quadrat import open_image
    >>> with open_image("examples/first_run/images/survey/elevation.tif") as image:
    ...     print(image.info.crs, len(image.levels))
    ...     print(image.read((0, 1024, 512, 512)).shape)
    ...     print(image.read((0, 0, 100, 100), level=image.level_for(gsd=40)).shape)
    EPSG:32612 1
    (512, 512, 1)
    (100, 100, 1)
    """
    path = os.fspath(path)
    scene = as_scene(path)
    file = _open_scene(scene, plane) if scene else _open_file(path, plane)
    return Image(path, file, memory_mb, nodata)


class Image(HeldFiles):
    """An open image: its levels, and the pixels of each. It is made by `open_image`.

    It is used by one thread at a time.

    Parameters
    ----------
    path : str
    file : ImageFile
        Closed with the image.
    memory_mb : float or None
        Memory in megabytes that each reader may take; None for no limit.
    nodata : int, float, str, dict or None
        See `open_image`.
    """

    def __init__(
        self,
        path: str,
        file: ImageFile,
        memory_mb: float | None = None,
        nodata: float | str | dict[int, float | str] | None = None,
    ):
        self.path, self.memory_mb, self._nodata = path, memory_mb, nodata
        self._file, self._held = file, ExitStack()
        self._held.callback(file.close)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels that the file stores, level 0, which is full resolution, first."""
        return self._file.levels

    @cached_property
    def info(self) -> ImageInfo:
        """Metadata of the image, and of level 0 with all its channels."""
        return self._stored(0, None).info

    @cached_property
    def _metadata(self) -> ImageInfo:
        # One channel alone: the others may have another type, and may be left out.
        return self._stored(0, (1,)).info

    @cached_property
    def _world_file(self) -> "WorldFile | None":
        return world_file_of(self.path)

    def _stored(self, level: int, channels: tuple[int, ...] | None, memory_mb: float | None = None) -> Reader:
        """Return a reader of a level that the file stores."""
        reader = self._file.reader(level, channels, memory_mb)
        reader.info = placed(reader.info, self._world_file if reader.info.transform is None else None)
        if self._nodata is not None:
            reader.info = with_nodata(reader.info, self._nodata, channels)
        return reader

    @property
    def alpha(self) -> int | None:
        """The channel, counted from 1, that is 0 where a pixel is transparent; None if the image has none."""
        return self._metadata.alpha

    @property
    def mask(self) -> bool:
        """Whether the file has a mask of valid pixels that is not a channel of the image."""
        return self._mask is not None

    @cached_property
    def _mask(self) -> "MaskFile | None":
        if self.alpha is not None or not self._metadata.is_first or self._nodata == NO_NODATA:
            return None
        # Imported here, since it imports GDAL, which other formats do not need.
        from quadrat.images.mask import open_mask

        mask = open_mask(self.path, with_values=self._nodata is None)
        return mask and self._held.enter_context(mask)

    def level_for(
        self, *, mpp: float | None = None, gsd: float | None = None, default_mpp: float | None = None
    ) -> Level:
        """Return the level whose pixels have a size: one that is stored, or one averaged from it.

        Parameters
        ----------
        mpp, gsd : float, optional
            Size of a pixel, in micrometres or in units of the image's CRS; one of them.
        default_mpp : float, optional
            Size of a level-0 pixel in micrometres, where the metadata do not contain it.

        Returns
        -------
        Level
            The coarsest stored level that is fine enough. Its pixels are averaged where they differ from the
            wanted size by more than 2 percent.

        Raises
        ------
        ImageError
            If the image is coarser than wanted, smaller than such a pixel, or its metadata do not contain the
            size of its pixels.
        """
        given = [(key, size) for key, size in (("mpp", mpp), ("gsd", gsd)) if size is not None]
        if len(given) != 1:
            raise ValueError(f"mpp is {mpp} and gsd is {gsd}; set one of them")
        return level_of_size(self.levels, self._metadata, *given[0], default_mpp)

    def reader(
        self,
        level: int | Level = 0,
        channels: Sequence[int] | None = None,
        *,
        with_mask: bool = False,
        patch_size: int = 512,
        watch: Callable[[Reader, tuple[int, ...] | None], Reader] | None = None,
    ) -> Reader:
        """Return a reader of a level, which shares the open file and reads until the image is closed.

        Parameters
        ----------
        level : int or Level, optional
            Pyramid level, or what `level_for` returned. Default: full resolution.
        channels : sequence of int, optional
            Counted from 1, in the order of the result. Default: all.
        with_mask : bool, optional
            Whether to add a last channel that is 1 where a pixel is valid by the file's mask, otherwise 0.
        patch_size : int, optional
            Height in pixels of the blocks that will be read, for which the memory of averaging is reckoned.
        watch : callable, optional
            Takes the reader of the stored level and its channels, and returns a reader to use in its place.

        Returns
        -------
        Reader

        Raises
        ------
        ImageError
            If the image lacks the level, a channel or the mask, or stores its pixels in a way that cannot be
            decoded.
        MemoryBudgetError
            If it cannot be read within the memory.
        """
        index, ratio = (level.index, level.ratio) if isinstance(level, Level) else (level, Fraction(1))
        picked, memory_mb = tuple(channels) if channels else None, self.memory_mb
        # Alpha or the mask is read for averaging too: pixels that are not valid do not count.
        mask = self._mask if with_mask or ratio != 1 else None
        if with_mask and mask is None:
            raise ImageError("has no mask")
        alpha, read = self.alpha if ratio != 1 else None, picked
        if picked and alpha is not None and alpha not in picked:
            read = (*picked, alpha)
        if memory_mb is not None and mask is not None:
            memory_mb -= MASK_MB
        if memory_mb is not None and ratio != 1:
            info = self._stored(index, read).info
            has_gaps = alpha is not None or mask is not None
            memory_mb -= ResampledReader.memory_bytes(info, ratio, patch_size, has_gaps) / MB
        reader = self._stored(index, read, memory_mb)
        if watch is not None:
            reader = watch(reader, read)
        validity = None if alpha is None else read.index(alpha) if read else alpha - 1
        if mask is not None:
            from quadrat.images.mask import MaskedReader

            reader, validity = MaskedReader(reader, mask.reader(index)), reader.info.channels
        if ratio == 1:
            return reader
        drops_last = read != picked or (mask is not None and not with_mask)
        return ResampledReader(reader, ratio, validity, drops_last)

    def read(
        self,
        window: Sequence[int] | None = None,
        level: int | Level = 0,
        channels: Sequence[int] | None = None,
        threads: int = 1,
    ) -> np.ndarray:
        """Return the pixels of a window.

        Parameters
        ----------
        window : tuple of 4 int, optional
            Its y, x, height and width in pixels of the level; it may reach past the bottom and right of the
            image. Default: the whole level.
        level : int or Level, optional
            Pyramid level, or what `level_for` returned. Default: full resolution.
        channels : sequence of int, optional
            Counted from 1, in the order of the result. Default: all.
        threads : int, optional
            Threads that decode. Default: 1.

        Returns
        -------
        (height, width, channel) array
            The file's nodata value, or 0, outside the image.

        Raises
        ------
        ImageError
            As `reader`, and if the pixels cannot be decoded.
        ValueError
            If the window is empty, or begins outside the image.
        """
        height = sys.maxsize if window is None else window[2]
        reader = self.reader(level, channels, patch_size=height)
        info = reader.info
        wanted = Window(*window or (0, 0, info.height, info.width))
        if not (0 <= wanted.y < info.height and 0 <= wanted.x < info.width and min(wanted[2:]) > 0):
            size = f"{info.height:,} x {info.width:,} px"
            raise ValueError(f"{wanted} is empty or begins outside the level, which is {size}")
        with closing(reader.read_blocks([wanted], threads)) as blocks:
            return next(blocks).copy()


def _open_scene(scene: Scene, plane: dict[str, int] | None) -> ImageFile:
    from quadrat.images.scene import SceneImage, of_band

    with ExitStack() as held:
        bands: dict[str, ImageFile] = {}
        for name, path in scene.bands.items():
            with of_band(name):
                bands[name] = held.enter_context(_open_file(path, plane))
        world_files = {name: world_file_of(path) for name, path in scene.bands.items()}
        held.pop_all()
        return SceneImage(bands, scene.resample, world_files)


def _open_file(path: str, plane: dict[str, int] | None) -> ImageFile:
    magic = _magic(path)
    reader = next(reader for reader in READERS if reader.matches(path, magic))
    if not reader.has_planes:
        refuse_planes(plane)
    return reader.open(path, plane)


def _open_tiff(path: str, plane: dict[str, int] | None) -> ImageFile:
    from quadrat.images.tiff.reader import TiffImage

    with ExitStack() as held:
        tiff = held.enter_context(TiffImage(path, plane))
        # A series of the configuration is a single image of the slide.
        if tiff.vendor is None or (tiff.vendor == "leica" and "series" in (plane or {})):
            held.pop_all()
            return tiff
        refuse_planes(plane)
        return _open_slide(path, tiff.vendor, tiff.largest_tile)


def _open_slide(path: str, vendor: str, largest_tile: int | None = None) -> ImageFile:
    try:
        from quadrat.images.openslide import OpenSlideImage
    except ImportError as error:
        reason = "a slide that OpenSlide reads, which is not installed"
        raise MissingReaderError(reason, "pip install openslide-python openslide-bin") from error
    return OpenSlideImage(path, vendor, largest_tile)


def _open_streamed(path: str, plane: dict[str, int] | None) -> ImageFile:
    from quadrat.images.vips import VipsImage

    return VipsImage(path)


def _open_gdal(path: str, plane: dict[str, int] | None) -> ImageFile:
    from quadrat.images.gdal import GdalImage

    return GdalImage(path)


def _magic(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            magic = file.read(dicom.PREAMBLE + len(dicom.MAGIC))
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise ImageError(f"cannot be opened: {error.strerror}") from error
    if not magic:
        raise ImageError("empty file")
    return magic


class _Reader(NamedTuple):
    """A kind of image: which files are of it, by path and first bytes, and what opens them."""

    matches: Callable[[str, bytes], bool]
    open: Callable[[str, dict[str, int] | None], ImageFile]
    has_planes: bool = False


def _begins(*magics: bytes) -> Callable[[str, bytes], bool]:
    return lambda path, magic: magic.startswith(magics)


def _is_called(*endings: str) -> Callable[[str, bytes], bool]:
    return lambda path, magic: path.lower().endswith(endings)


def _slide(vendor: str) -> Callable[[str, dict[str, int] | None], ImageFile]:
    return lambda path, plane: _open_slide(path, vendor)


def _refusal(reason: str, hint: str) -> Callable[[str, dict[str, int] | None], ImageFile]:
    def refuse(path: str, plane: dict[str, int] | None) -> ImageFile:
        raise ImageError(reason, hint)

    return refuse


# The first that matches reads a file. A new format is an entry here and a module.
READERS = (
    _Reader(
        _is_called(UNWATCHED_SLIDE),
        _refusal(
            "the pixels of this slide are in a folder beside it, which quadrat does not read",
            "convert it to OME-TIFF, such as with QuPath",
        ),
        has_planes=True,
    ),
    _Reader(_is_called(DICOM_ENDING), _slide("dicom")),
    _Reader(_begins(*TIFF_MAGICS), _open_tiff, has_planes=True),
    _Reader(_is_called(MRXS_ENDING), _slide("mirax")),
    _Reader(
        lambda path, magic: magic[dicom.PREAMBLE :] == dicom.MAGIC,
        _refusal("a DICOM file by another ending", "let the names of all files of the slide end in .dcm"),
    ),
    _Reader(_is_called(*HAMAMATSU_ENDINGS), _slide("hamamatsu")),
    _Reader(_begins(b"SQLite format 3\0"), _slide("sakura")),
    _Reader(_begins(b"ZISRAWFILE"), _slide("zeiss")),
    _Reader(_begins(*STREAMED_MAGICS), _open_streamed),
    _Reader(lambda path, magic: True, _open_gdal),
)
