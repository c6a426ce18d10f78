"""Resampled reader: the pixels of another reader, averaged over the areas of larger pixels."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import NamedTuple

import numpy as np

from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid
from quadrat.images.image import ImageInfo, Level, Reader
from quadrat.images.nodata import nodata_mask
from quadrat.images.rows import StripePipeline, blocks_made_of, fresh_rows

# Bytes of pixels of the image that are read at a time, however large the resampled pixels are.
STRIP_BYTES = 1 << 22

# Integers up to this one are exact as float32, which takes half the time.
EXACT_FLOAT32 = 2**24


class ResampledReader:
    """Reads an image as if its pixels were larger.

    Each of its pixels is the mean of the image over the area that it covers; a pixel that it covers in part
    counts in part. Samples with the image's nodata value do not count, and samples of pixels that are not
    valid; if no sample counts, the result is the nodata value, or 0. Validity itself is the mean over all
    pixels, and 0 only where no pixel is valid. Means of integers are rounded to the nearest, half to even:
    the dtype stays, so that a predictor gets the range of values that it expects. A remainder at the bottom
    and right of the image that is less than a pixel is not read.

    Parameters
    ----------
    reader : Reader
    ratio : Fraction
        Size of a resampled pixel in pixels of the image, at least 1; its denominator at most 10,000.
    validity : int, optional
        The channel, counted from 0, that is 0 where a pixel is not valid. Default: all are.
    drops_last : bool, optional
        Whether to leave out the last channel of the reader, which was read for its validity alone.

    Attributes
    ----------
    ratio : Fraction
    info : ImageInfo
        Sizes and downsample count resampled pixels.
    """

    def __init__(
        self, reader: Reader, ratio: Fraction, validity: int | None = None, drops_last: bool = False
    ):
        self._reader, self.ratio = reader, ratio
        self._validity = None if validity is None else slice(validity, validity + 1)
        info = _resampled(reader.info, ratio)
        self.info = info.without_last() if drops_last else info

    @staticmethod
    def memory_bytes(source: ImageInfo, ratio: Fraction, patch_size: int, has_gaps: bool) -> int:
        """Return the memory that resampling takes besides the memory of the reader."""
        info = _resampled(source, ratio)
        samples = info.width * info.channels
        stripes = 2 * min(patch_size, info.height) * samples * info.dtype.itemsize
        sums = _strip_rows(source, ratio) * (source.width * source.channels + samples) * 8
        return stripes + 3 * sums * (2 if has_gaps or info.nodata is not None else 1)

    def read_blocks(
        self, blocks: Iterable[Window], threads: int, wanted: Iterable[Window] | None = None
    ) -> Generator[np.ndarray, None, None]:
        """Yield the pixels of each block while the next ones are read; see `Reader.read_blocks`."""
        grid = BlockGrid.from_windows(blocks)
        if not len(grid):
            none: list[np.ndarray] = []
            return (array for array in none)
        left, right = grid.cols.starts[0], min(grid.cols.stops[-1], self.info.width)
        strips = self._strips(grid)
        windows = [self._source_window(top, bottom, left, right) for top, bottom in strips]
        if wanted is not None:
            wanted = [self._source_window(y, y + height, x, x + width) for y, x, height, width in wanted]
        arrays = self._reader.read_blocks(windows, threads, wanted)
        rows = _Rows(zip(strips, arrays, strict=True), self.ratio, self.info.nodata, self._validity)
        return blocks_made_of(arrays, StripePipeline(rows, grid, self.info))

    def _strips(self, grid: BlockGrid) -> list[tuple[int, int]]:
        """List (top, bottom) of the strips that are read one after the other."""
        step = _strip_rows(self._reader.info, self.ratio)
        return [
            (top, min(top + step, rows.stop))
            for rows in fresh_rows(grid.rows, self.info.height)
            for top in range(rows.start, rows.stop, step)
        ]

    def _source_window(self, top: int, bottom: int, left: int, right: int) -> Window:
        """Return the window of the image that a rectangle of resampled pixels covers."""
        y, x = int(top * self.ratio), int(left * self.ratio)
        return Window(y, x, ceil(bottom * self.ratio) - y, ceil(right * self.ratio) - x)


class _Rows:
    """Resampled rows, from top to bottom."""

    def __init__(
        self,
        strips: Iterator[tuple[tuple[int, int], np.ndarray]],
        ratio: Fraction,
        nodata: tuple[float | None, ...] | None,
        validity: slice | None,
    ):
        self._strips, self._ratio, self._nodata, self._validity = strips, ratio, nodata, validity

    def read_rows(self, top: int, bottom: int, left: int, right: int, out: np.ndarray) -> None:
        """Write the pixels of a rectangle to `out`; the strips must have been cut for such rectangles."""
        across = _shares(left, right, self._ratio)
        done = top
        while done < bottom:
            (done, strip_bottom), pixels = next(self._strips)
            down = _shares(done, strip_bottom, self._ratio)
            part = out[done - top : strip_bottom - top]
            _write_means(pixels, down, across, self._nodata, self._validity, part)
            done = strip_bottom


class _Shares(NamedTuple):
    """The pixels along an axis from which each resampled pixel is made, and their weights.

    Attributes
    ----------
    places : (n, taps) int array
        For each resampled pixel, the pixels that it covers, counted from the first pixel of the axis.
    weights : (n, taps) float64 array
        How much of each it covers, in units that make them whole numbers.
    """

    places: np.ndarray
    weights: np.ndarray


def _shares(start: int, stop: int, ratio: Fraction) -> _Shares:
    size, unit = ratio.numerator, ratio.denominator
    lows = np.arange(start, stop, dtype=np.int64)[:, None] * size
    first = lows // unit
    places = first + np.arange(-(-size // unit) + 1)
    weights = np.minimum(lows + size, (places + 1) * unit) - np.maximum(lows, places * unit)
    last = -(-stop * size // unit) - 1
    return _Shares(np.minimum(places, last) - first[0], np.maximum(weights, 0).astype(np.float64))


def _write_means(
    pixels: np.ndarray,
    down: _Shares,
    across: _Shares,
    nodata: tuple[float | None, ...] | None,
    validity: slice | None,
    out: np.ndarray,
) -> None:
    """Write the mean of each resampled pixel to a (height, width, channel) array, of its channels alone."""
    is_valid = None if validity is None else pixels[..., validity] != 0
    pixels = pixels[..., : out.shape[2]]
    is_data = None
    if nodata is not None or not (is_valid is None or is_valid.all()):
        is_data = ~nodata_mask(pixels, nodata or ())
        if is_valid is not None:
            is_data &= is_valid
            is_data[..., validity] = True
    if is_data is None:
        whole = down.weights[0].sum() * across.weights[0].sum()
        means = _sums(pixels, down, across) / np.float64(whole)
    else:
        sums = _sums(np.where(is_data, pixels, 0), down, across)
        covered = _sums(is_data, down, across)
        means = np.divide(sums, covered, out=np.zeros(sums.shape), where=covered > 0, dtype=np.float64)
    out[...] = np.rint(means, out=means) if out.dtype.kind in "iub" else means
    for channel, value in enumerate(nodata or ()):
        # Not by way of float64, which cannot represent all integers.
        if value is not None:
            out[..., channel][covered[..., channel] == 0] = value
    if is_valid is not None and not (found := out[..., validity]).all():
        found[(found == 0) & (_sums(is_valid, down, across) > 0)] = 1


def _sums(pixels: np.ndarray, down: _Shares, across: _Shares) -> np.ndarray:
    """Return the weighted sum of each resampled pixel.

    Weights are whole numbers, so that sums of integers are exact, and do not depend on how the image is cut.
    """
    whole = down.weights[0].sum() * across.weights[0].sum()
    dtype = np.float32 if _largest(pixels.dtype) * whole <= EXACT_FLOAT32 else np.float64
    return _sums_along(_sums_along(pixels, 0, down, dtype), 1, across, dtype)


def _sums_along(pixels: np.ndarray, axis: int, shares: _Shares, dtype: type) -> np.ndarray:
    parts = (
        np.multiply(
            np.take(pixels, places, axis), weights.astype(dtype).reshape(-1, *[1] * (2 - axis)), dtype=dtype
        )
        for places, weights in zip(shares.places.T, shares.weights.T, strict=True)
        if weights.any()
    )
    sums = next(parts)
    for part in parts:
        np.add(sums, part, out=sums)
    return sums


def _largest(dtype: np.dtype) -> float:
    """Return the largest magnitude of an integer type; infinity for other types."""
    if dtype.kind == "b":
        return 1
    if dtype.kind not in "iu":
        return np.inf
    return max(-float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))


def _strip_rows(source: ImageInfo, ratio: Fraction) -> int:
    row_bytes = ratio * source.width * source.channels * source.dtype.itemsize
    return max(1, int(STRIP_BYTES / row_bytes))


def _resampled(source: ImageInfo, ratio: Fraction) -> ImageInfo:
    stored = Level(source.level, (source.height, source.width), source.downsample)
    level = stored.averaged(ratio)
    height, width = level.shape
    return replace(
        source,
        height=height,
        width=width,
        segment_height=1,
        segment_width=width,
        downsample=level.downsample,
        notes=(*source.notes, f"each pixel is the mean of {float(ratio):g} x {float(ratio):g} px as stored"),
    )
