"""GeoParquet: a square for each patch, with predictions as they are stored, for geopandas and DuckDB."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from quadrat.exports.ground import GEOMETRY, Ground, square_batches
from quadrat.results.result import Result


def write(result: Result, path: Path) -> None:
    """Write the patches of an image as polygons in its coordinate reference system.

    Parameters
    ----------
    result : Result
    path : Path
    """
    batches = square_batches(result)
    first = next(batches)
    metadata = {"geo": json.dumps(_geo(Ground.of(result.image).crs))}
    with pq.ParquetWriter(path, first.schema.with_metadata(metadata)) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def _geo(crs: str | None) -> dict:
    """Return the metadata of the geometry column.

    References
    ----------
    GeoParquet 1.1.0, "Metadata": the file's key `geo`; the coordinate reference system is PROJJSON, and
    null if it is not known.
    """
    from rasterio.crs import CRS

    projjson = CRS.from_user_input(crs).to_dict(projjson=True) if crs else None
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": projjson}
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
