"""GeoTIFF: one pixel for each patch, which lies on top of the image in GIS programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from quadrat.errors import ResultsError
from quadrat.exports.ground import Ground
from quadrat.results.result import PredictionBatch, Result

# Value of skipped patches, where predictions are booleans or labels.
NO_BOOLEAN, NO_LABEL = 255, 0
# GDAL's own limit (GDALCheckBandCount).
MOST_BANDS = 65_535
# GDAL would take a twentieth of the machine's memory.
CACHE_BYTES = 1 << 26


def write(result: Result, path: Path) -> None:
    """Write the predictions of an image as a raster in its coordinate reference system.

    Each value of a prediction is a band. Labels become codes, counted from 1 in the order of
    `result.labels`, which the tags of each band name.

    Parameters
    ----------
    result : Result
    path : Path

    Raises
    ------
    ResultsError
        If a prediction has more values than a raster has bands.
    """
    import rasterio
    from rasterio.transform import Affine
    from rasterio.windows import Window

    names = result.value_names
    if len(names) > MOST_BANDS:
        raise ResultsError(
            f"{result.filename}: a prediction has {len(names):,} values, but a GeoTIFF has at most "
            f"{MOST_BANDS:,} bands; use snakemake geoparquet"
        )
    ground = Ground.of(result.image)
    dtype, nodata = _storage(result)
    profile = {
        "driver": "GTiff",
        "height": result.grid["rows"],
        "width": result.grid["cols"],
        "count": len(names),
        "dtype": dtype,
        "nodata": nodata,
        "crs": ground.crs,
        "transform": Affine(*ground.of_raster(result.grid, result.image["downsample"])),
        "compress": "deflate",
        "interleave": "pixel",
        "blockysize": 1,
        "bigtiff": "if_safer",
    }
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(path, "w", **profile) as raster:
        for band, name in enumerate(names, start=1):
            raster.set_band_description(band, name)
            if result.is_text:
                raster.update_tags(band, **{f"CLASS_{n + 1}": label for n, label in enumerate(result.labels)})
        for batch in result.batches():
            codes = _coded(batch, result).astype(dtype).reshape(len(batch.rows), len(names))
            for row, run in _grid_rows(batch.rows):
                window = Window(batch.cols[run.start], row, run.stop - run.start, 1)
                raster.write(codes[run].T[:, None, :], window=window)


def _storage(result: Result) -> tuple[str, Any]:
    """Return the dtype of the raster, and its nodata value, which marks skipped patches."""
    if result.is_text:
        return np.min_scalar_type(len(result.labels)).name, NO_LABEL
    if pa.types.is_boolean(result.value_type):
        return "uint8", NO_BOOLEAN
    kind = np.dtype(result.value_type.to_pandas_dtype())
    if kind.kind == "f":
        return kind.name, np.nan
    # No integer is free to mean nodata.
    return ("float64", np.nan) if result.has_skipped() else (kind.name, None)


def _coded(batch: PredictionBatch, result: Result) -> np.ndarray:
    """Return predictions as numbers."""
    if result.is_text:
        codes = {label: code for code, label in enumerate(result.labels, start=1)} | {None: NO_LABEL}
        return np.vectorize(codes.__getitem__, otypes=[np.int64])(batch.values)
    if pa.types.is_boolean(result.value_type):
        return np.where(np.isnan(batch.values.astype(float)), NO_BOOLEAN, batch.values)
    return batch.values


def _grid_rows(rows: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield each grid row of a batch with where it is."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield int(rows[start]), slice(int(start), int(stop))
