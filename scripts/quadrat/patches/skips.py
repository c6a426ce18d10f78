"""Skips: patches that are not predicted, because of their place or their pixels."""

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from typing import Any

import numpy as np

from quadrat.grid import PatchGrid, Window
from quadrat.images.image import ImageInfo
from quadrat.images.nodata import is_nodata, nodata_mask
from quadrat.images.open import Image
from quadrat.patches.stream import BLOCK_BYTES, PatchBatch
from quadrat.settings import ReadSettings

# If two reasons apply, the first one that is found is recorded: places are known before pixels are read.
REASONS = ("unscanned", "outside", "background", "nodata")

# Rows of a patch are looked at for nodata with so many between them, until its share of nodata is certain.
STEP = 32

NO_PATCHES = np.empty((0, 0, 0, 0))


class PatchRules:
    """The rules by which a patch is skipped because of its pixels.

    Parameters
    ----------
    skip : dict
        The key `skip` of the configuration.
    info : ImageInfo
        Of what the predictor gets.
    validity : int or None
        The channel of a patch, counted from 0, that is 0 where a pixel is not valid; None if there is none.
    masks : bool, optional
        Whether patches become masked arrays, whose samples without data are masked. Default: no.
    """

    def __init__(self, skip: dict[str, Any], info: ImageInfo, validity: int | None, masks: bool = False):
        background = skip.get("background", {})
        self._nodata_share = skip.get("nodata")
        self._std_below, self._mean_above = background.get("std_below"), background.get("mean_above")
        self._info, self._validity, self._masks = info, validity, masks
        nodata = {channel: value for channel, value in enumerate(info.nodata or ()) if value is not None}
        # Alpha is no colour: it need not have a value.
        lacking = {*range(info.channels)} - {*nodata, validity}
        self._nodata = nodata if not lacking else {}

    def reason(self, patch: np.ndarray) -> str | None:
        """Return why a patch is skipped; None if it is not.

        Parameters
        ----------
        patch : (height, width, channel) array
            As it is read: a channel of validity may follow the channels of the image.

        Returns
        -------
        {'nodata', 'background'} or None
        """
        pixels = patch[..., : self._info.channels]
        if self._nodata_share is not None and self._is_nodata(patch, pixels, self._nodata_share):
            return "nodata"
        if self._std_below is not None and np.std(pixels, dtype=np.float64) < self._std_below:
            return "background"
        if self._mean_above is not None and np.mean(pixels, dtype=np.float64) > self._mean_above:
            return "background"
        return None

    def _is_nodata(self, patch: np.ndarray, pixels: np.ndarray, share: float) -> bool:
        size = pixels.shape[0] * pixels.shape[1]
        empty, left = 0, size
        for first in range(min(STEP, len(patch))):
            rows = slice(first, None, STEP)
            found = self._empty(patch[rows], pixels[rows])
            empty, left = empty + int(np.count_nonzero(found)), left - found.size
            if empty >= share * size:
                return True
            if empty + left < share * size:
                return False
        return False

    def _empty(self, patch: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Return which pixels are nodata: each channel has its value, or they are not valid."""
        empty = np.full(patch.shape[:2], bool(self._nodata))
        for channel, value in self._nodata.items():
            empty &= is_nodata(pixels[..., channel], value)
        if self._validity is not None:
            empty |= patch[..., self._validity] == 0
        return empty

    def applied(self, runs: Iterator[PatchBatch]) -> Iterator[PatchBatch]:
        """Yield patches; the ones that a rule skips have a reason in place of pixels.

        Parameters
        ----------
        runs : iterator of PatchBatch
            None of whose patches is skipped.

        Yields
        ------
        PatchBatch
            Predicted or skipped as a whole. Its patches lack the channel of validity, unless it is one of the
            image's.
        """
        for run in runs:
            reasons = [self.reason(patch) for patch in run.patches]
            for reason, group in groupby(range(len(reasons)), key=reasons.__getitem__):
                first, *others = group
                end = first + len(others) + 1
                step = max(1, BLOCK_BYTES // run.patches[0].nbytes) if self._masks else len(reasons)
                for start in range(first, end, step):
                    part = slice(start, min(start + step, end))
                    patches = run.patches[slice(0) if reason else part, ..., : self._info.channels]
                    if self._masks and not reason:
                        patches = self._masked(patches, run, part)
                    yield PatchBatch(run.positions[part], patches, reasons[part])

    def _masked(self, patches: np.ndarray, run: PatchBatch, part: slice) -> np.ndarray:
        """Return patches of a run as a masked array: nodata, pixels that are not valid, and padding."""
        mask = nodata_mask(patches, self._info.nodata or ())
        if self._validity is not None:
            mask |= run.patches[part, ..., self._validity, np.newaxis] == 0
        for hidden, (_, _, window) in zip(mask, run.positions[part], strict=True):
            hidden[max(0, self._info.height - window.y) :] = True
            hidden[:, max(0, self._info.width - window.x) :] = True
        return np.ma.MaskedArray(patches, mask)


def known_skips(
    image: Image,
    reading: ReadSettings,
    grid: PatchGrid,
    info: ImageInfo,
    regions: dict[str, Any] | None = None,
) -> np.ndarray:
    """Find the patches that are known to be skipped without reading them.

    Parameters
    ----------
    image : Image
    reading : ReadSettings
    grid : PatchGrid
    info : ImageInfo
        Of the image, as the grid was laid over it.
    regions : dict, optional
        Where patches are predicted; see `quadrat.jobs.task.ImageTask`. Default: everywhere.

    Returns
    -------
    (rows, cols) object array
        'unscanned', 'outside', 'background', or None for a patch that is not skipped.

    Raises
    ------
    ImageError
        If the image lacks data that a rule needs.
    """
    found = {}
    if info.scanned:
        found["unscanned"] = ~_is_scanned(grid, info)
    if regions is not None:
        from quadrat.patches.regions import lies_inside

        found["outside"] = ~lies_inside(regions, grid, info)
    tissue_below = ((reading.skip or {}).get("background") or {}).get("tissue_below")
    if tissue_below is not None:
        from quadrat.patches.tissue import tissue_shares

        found["background"] = tissue_shares(image, grid, info.downsample) < tissue_below
    known = np.full((grid.rows, grid.cols), None)
    for reason, where in reversed(found.items()):
        known[where] = reason
    return known


def with_known_skips(
    runs: Iterator[PatchBatch], grid: PatchGrid, known: np.ndarray, rows: range
) -> Iterator[PatchBatch]:
    """Yield patches, and between them, in row-major order, the ones that are known to be skipped.

    Parameters
    ----------
    runs : iterator of PatchBatch
        The other patches of the grid rows; each run lies in one row.
    grid : PatchGrid
    known : (rows, cols) object array
        See `known_skips`.
    rows : range
        The grid rows of the image, or of a shard.
    """
    return merge(runs, _skipped_runs(grid, known, rows), key=lambda run: run.positions[0][:2])


def _skipped_runs(grid: PatchGrid, known: np.ndarray, rows: range) -> Iterator[PatchBatch]:
    xs, ys = grid.xs, grid.ys
    for row in rows:
        height = grid.extent(ys[row], grid.height)
        for reason, group in groupby(range(grid.cols), key=known[row].__getitem__):
            if reason:
                positions = [
                    (row, col, Window(ys[row], xs[col], height, grid.extent(xs[col], grid.width)))
                    for col in group
                ]
                yield PatchBatch(positions, NO_PATCHES, [reason] * len(positions))


def _is_scanned(grid: PatchGrid, info: ImageInfo) -> np.ndarray:
    """Return whether any pixel of each patch was scanned, as (rows, cols) bool array."""
    down, across = info.downsample
    found = np.zeros((grid.rows, grid.cols), bool)
    for part in info.scanned:
        rows = _overlaps(grid, grid.ys, grid.height, down, part.y, part.height)
        cols = _overlaps(grid, grid.xs, grid.width, across, part.x, part.width)
        found |= rows[:, np.newaxis] & cols
    return found


def _overlaps(
    grid: PatchGrid, origins: list[int], length: int, scale: float, start: int, size: int
) -> np.ndarray:
    """Return the patches along one axis that overlap a span of level-0 pixels."""
    starts = scale * np.array(origins)
    ends = starts + scale * np.array([grid.extent(origin, length) for origin in origins])
    return (starts < start + size) & (ends > start)
