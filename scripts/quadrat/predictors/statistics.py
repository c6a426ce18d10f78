"""The predictor `statistics`: numpy's own statistics of each patch, or of each of its channels."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from quadrat.images.image import ImageInfo
from quadrat.predictors.exact import count_values, histogram, means, percentiles, samples


class StatisticsPredictor:
    """Predicts statistics over the pixels of a patch, as float64.

    Each has exactly numpy's value in float64, such as ``numpy.mean(patch, dtype=float64)``.

    Parameters
    ----------
    of : str or list of str
        `mean`, `std`, `min`, `max`, percentiles such as `p5`, `p50` or `p99.9`, and `histogram`.
    per_channel : bool
        Whether each channel has its own statistics; otherwise they are over all pixels of all channels.
    bins : int, optional
        Number of bins of the histogram, which are equally wide.
    range : list of 2 numbers, optional
        Lower end of the first bin and upper end of the last; values outside are not counted.
    ignore_nodata : bool, optional
        Whether patches are masked arrays, whose masked samples do not count. Statistics of no sample are NaN,
        and a histogram of none has counts of 0. Default: no.
    """

    def __init__(
        self,
        of: str | list[str] = "mean",
        per_channel: bool = False,
        bins: int | None = None,
        range: list[float] | None = None,
        ignore_nodata: bool = False,
    ):
        self._of = [of] if isinstance(of, str) else list(of)
        self._per_channel = per_channel
        self._bins, self._range, self._ignores_nodata = bins, range, ignore_nodata
        self._percents = {name: float(name[1:]) for name in self._of if name[1].isdigit()}
        self._bands: tuple[str, ...] = ()

    def check(self, info: ImageInfo) -> None:
        """Take every image; the bands of a scene name the values."""
        self._bands = info.names

    def batch_size(self, patch_bytes: int) -> None:
        """Accept any number of patches, since the statistics of a patch depend on it alone."""

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Return the statistics of each patch.

        Parameters
        ----------
        patches : (n, height, width, channel) array
            Masked, if nodata are ignored.

        Returns
        -------
        (n,) or (n, k) float64 array
            A number for a single statistic without `per_channel`. Otherwise the values in the order of `of`,
            a histogram as the counts of its bins; with `per_channel`, all values of the first channel first.
        """
        is_masked = np.ma.is_masked(patches)
        masks = np.ma.getmaskarray(patches) if is_masked else [None] * len(patches)
        patches = np.ma.getdata(patches)
        values = means(patches, self._per_channel)
        if self._of != ["mean"] or is_masked:
            # Infinite pixels make a deviation NaN; the counts of the result show it.
            with np.errstate(invalid="ignore"):
                each = zip(patches, values, masks, strict=True)
                values = np.array([self._of_patch(*one) for one in each])
        return values if self._per_channel or values.shape[1] > 1 else values[:, 0]

    def describe(self) -> dict[str, Any]:
        """Return the statistics in the order of their values."""
        described = {"kind": "statistics", "of": self._of, "per_channel": self._per_channel}
        if self._bins is not None:
            described |= {"bins": self._bins, "range": self._range}
        if self._ignores_nodata:
            described["ignore_nodata"] = True
        if self._per_channel and self._bands:
            bins = [f"histogram {number + 1}" for number in range(self._bins or 0)]
            names = [name for of in self._of for name in (bins if of == "histogram" else [of])]
            described["values"] = [f"{band} {name}" for band in self._bands for name in names]
        return described

    def _of_patch(self, patch: np.ndarray, of_patch: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Return the statistics of a patch, whose means over all samples are known."""
        rows: Iterable[np.ndarray] = samples(patch, self._per_channel)
        if mask is not None and mask.any():
            hidden = samples(mask, self._per_channel)
            rows = [row[~of_row] for row, of_row in zip(rows, hidden, strict=True)]
            of_patch = np.array([np.mean(row, dtype=np.float64) if row.size else np.nan for row in rows])
        return np.concatenate([self._of_sample(row, mean) for row, mean in zip(rows, of_patch, strict=True)])

    def _of_sample(self, sample: np.ndarray, mean: float) -> np.ndarray:
        """Return the statistics of a row of values, whose mean is known."""
        if not sample.size:
            sizes = [self._bins if name == "histogram" else None for name in self._of]
            return np.hstack([np.nan if size is None else np.zeros(size) for size in sizes])
        found: dict[str, Any] = {"mean": mean}
        if "std" in self._of:
            found["std"] = np.std(sample, dtype=np.float64)
        if "min" in self._of or "max" in self._of:
            found |= {"min": np.min(sample), "max": np.max(sample)}
        if self._percents or "histogram" in self._of:
            counts = count_values(sample)
        if self._percents:
            of_percents = percentiles(sample, counts, list(self._percents.values()))
            found |= dict(zip(self._percents, of_percents, strict=True))
        if "histogram" in self._of and self._bins is not None and self._range is not None:
            low, high = self._range
            found["histogram"] = histogram(sample, counts, self._bins, (low, high))
        return np.hstack([found[name] for name in self._of]).astype(np.float64, copy=False)
