"""Drivers: which of GDAL's formats are read."""

from functools import cache

import rasterio
from rasterio.io import DatasetReader

# Small files of these formats, whatever their ending, name servers that GDAL would ask, or other images.
ELSEWHERE = {
    *("DAAS", "EEDA", "EEDAI", "HTTP", "OGCAPI", "PLMOSAIC", "STACIT", "STACTA", "WCS", "WMS", "WMTS"),
    *("GTI", "MRF"),
}


def open_local(path: str, **options: int) -> DatasetReader:
    """Open an image with GDAL, in a format that holds its pixels or names local files.

    Parameters
    ----------
    path : str
        Absolute.
    **options : int
        What GDAL's drivers are told.

    Returns
    -------
    rasterio.io.DatasetReader

    Raises
    ------
    rasterio.errors.RasterioIOError
        If none of these formats is the file's.
    """
    with rasterio.Env():
        # rasterio.open takes one driver.
        return DatasetReader(path, driver=_local_drivers(), **options)


@cache
def _local_drivers() -> list[str]:
    """List them in GDAL's order; called in an environment of rasterio's."""
    with rasterio.Env() as environment:
        return [name for name in environment.drivers() if name not in ELSEWHERE]
