"""GeoPackage: a square for each patch, and a column for each value of its prediction, for GIS programs."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from quadrat.errors import ConfigError, ResultsError
from quadrat.exports.ground import GEOMETRY, Ground, square_batches
from quadrat.results.columns import as_numpy, flat_values
from quadrat.results.result import Result

LAYER = "patches"
# SQLite's default limit is 2,000 columns ("Limits in SQLite", SQLITE_MAX_COLUMN); GDAL's own build has it.
MOST_VALUES = 1900


def write(result: Result, path: Path) -> None:
    """Write the patches of an image as polygons in its coordinate reference system.

    Parameters
    ----------
    result : Result
    path : Path

    Raises
    ------
    ConfigError
        If pyogrio is missing.
    ResultsError
        If a prediction has more values than a GeoPackage has columns.
    """
    try:
        from pyogrio import write_arrow
    except ImportError as error:
        raise ConfigError(
            f"geopackage needs pyogrio, which cannot be imported ({error}); pip install pyogrio"
        ) from error
    if len(result.value_names) > MOST_VALUES:
        raise ResultsError(
            f"{result.filename}: a prediction has {len(result.value_names):,} values, but a GeoPackage has "
            f"at most {MOST_VALUES:,} columns for them; use snakemake geoparquet"
        )
    batches = _with_columns(result)
    first = next(batches)
    crs = Ground.of(result.image).crs
    with warnings.catch_warnings():
        # The file has its ending once it is whole, and not every image has a place on Earth.
        warnings.filterwarnings("ignore", "The filename extension should be|'crs' was not provided")
        write_arrow(
            pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], batches)),
            # By its name in the folder, since pyogrio removes it and makes it anew.
            path.resolve(),
            layer=LAYER,
            driver="GPKG",
            geometry_name=GEOMETRY,
            geometry_type="Polygon",
            crs=crs,
            # Reference system -1 of the GeoPackage standard (OGC 12-128r19, 1.1.2.1.2): undefined Cartesian.
            layer_options={} if crs else {"SRID": "-1"},
        )


def _with_columns(result: Result) -> Iterator[pa.RecordBatch]:
    """Yield patches with a column for each value of an array: GeoPackage has no lists."""
    names = [f"prediction_{name}" for name in result.value_names]
    for batch in square_batches(result):
        if not result.shape:
            yield batch
            continue
        place = batch.schema.get_field_index("prediction")
        columns = {name: batch[name] for name in batch.schema.names if name != "prediction"}
        split = dict(zip(names, _values(batch["prediction"], len(names)), strict=True))
        before = dict(itertools.islice(columns.items(), place))
        yield pa.record_batch(before | split | columns)


def _values(column: pa.Array, count: int) -> Iterator[pa.Array]:
    """Yield, for each value of a prediction, the array of all patches; null where one was skipped."""
    flat, valid = flat_values(column), as_numpy(column.is_valid())
    starts = np.zeros(len(column), np.int64)
    starts[valid] = np.arange(valid.sum()) * count
    for value in range(count):
        yield flat.take(pa.array(starts + value, mask=~valid))
