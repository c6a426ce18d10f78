"""Skips: patches that are not predicted, because of their place or their pixels."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo
from quadrat.images.nodata import is_nodata
from quadrat.images.open import Image
from quadrat.patches.stream import PatchBatch
from quadrat.settings import ReadSettings

# If two reasons apply, the first one that is found is recorded: places are known before pixels are read.
REASONS = ("unscanned", "outside", "background", "nodata")


class Skips:
    """The patches of a grid that are skipped, as far as is known.

    Parameters
    ----------
    grid : PatchGrid
    rows : range, optional
        Grid rows of a shard, which takes no part in the others; all by default.
    """

    def __init__(self, grid: PatchGrid, rows: range | None = None):
        self.rows = range(grid.rows) if rows is None else rows
        # 0 where a patch is predicted, otherwise the number of its reason.
        self._reasons = np.zeros((grid.rows, grid.cols), np.uint8)

    @property
    def wanted(self) -> np.ndarray:
        """Patches of the shard that are not skipped, as (rows, cols) bool array."""
        wanted = np.zeros(self._reasons.shape, bool)
        part = slice(self.rows.start, self.rows.stop)
        wanted[part] = self._reasons[part] == 0
        return wanted

    def add(self, reason: str, where: np.ndarray) -> None:
        """Skip patches, unless they are already skipped.

        Parameters
        ----------
        reason : {'unscanned', 'outside', 'background', 'nodata'}
        where : (rows, cols) bool array
        """
        self._reasons[where & self.wanted] = REASONS.index(reason) + 1

    def skip(self, reason: str, row: int, col: int) -> None:
        """Skip a patch."""
        self._reasons[row, col] = REASONS.index(reason) + 1

    def reasons(self, cells: range) -> list[str | None]:
        """Return why each of some patches, counted in row-major order, is skipped; None if it is not."""
        found = self._reasons.reshape(-1)[cells.start : cells.stop]
        return [REASONS[reason - 1] if reason else None for reason in found.tolist()]

    def counts(self) -> dict[str, int]:
        """Count the skipped patches, of all reasons and of each."""
        of_each = {
            f"skipped_{reason}": int((self._reasons == number).sum())
            for number, reason in enumerate(REASONS, start=1)
        }
        return {"skipped": sum(of_each.values())} | of_each


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
    """

    def __init__(self, skip: dict[str, Any], info: ImageInfo, validity: int | None):
        background = skip.get("background", {})
        self._nodata_share = skip.get("nodata")
        self._std_below, self._mean_above = background.get("std_below"), background.get("mean_above")
        self._info, self._validity = info, validity

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
        declared = self._info.nodata or (None,)
        nodata = [value for value in declared if value is not None]
        is_complete = len(nodata) == len(declared)
        empty = np.full(patch.shape[:2], is_complete)
        for channel, value in enumerate(nodata if is_complete else ()):
            empty &= is_nodata(pixels[..., channel], value)
        if self._validity is not None:
            empty |= patch[..., self._validity] == 0
        return bool(np.count_nonzero(empty) >= share * empty.size)

    def predicted(self, runs: Iterator[PatchBatch], skips: Skips) -> Iterator[PatchBatch]:
        """Yield the patches that no rule skips, and add the others to the skips.

        Parameters
        ----------
        runs : iterator of PatchBatch
        skips : Skips

        Yields
        ------
        PatchBatch
            Without the channel of validity, unless it is one of the image's.
        """
        for run in runs:
            reasons = [self.reason(patch) for patch in run.patches]
            for (row, col, _), reason in zip(run.positions, reasons, strict=True):
                if reason:
                    skips.skip(reason, row, col)
            patches, kept = run.patches[..., : self._info.channels], [reason is None for reason in reasons]
            for is_kept, group in groupby(range(len(kept)), key=kept.__getitem__):
                if is_kept:
                    first, *others = group
                    part = slice(first, first + len(others) + 1)
                    yield PatchBatch(run.positions[part], patches[part])


def known_skips(
    image: Image,
    reading: ReadSettings,
    grid: PatchGrid,
    info: ImageInfo,
    *,
    regions: dict[str, Any] | None = None,
    grid_rows: range | None = None,
) -> Skips:
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
    grid_rows : range, optional
        The grid rows to look at. Default: all.

    Returns
    -------
    Skips

    Raises
    ------
    ImageError
        If the image lacks data that a rule needs.
    """
    skips = Skips(grid, grid_rows)
    if info.scanned:
        skips.add("unscanned", ~_is_scanned(grid, info))
    if regions is not None:
        from quadrat.patches.regions import lies_inside

        skips.add("outside", ~lies_inside(regions, grid, info))
    tissue_below = ((reading.skip or {}).get("background") or {}).get("tissue_below")
    if tissue_below is not None:
        from quadrat.patches.tissue import tissue_shares

        skips.add("background", tissue_shares(image, grid, info.downsample) < tissue_below)
    return skips


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
