"""Drivers: which of GDAL's formats are read, and from which files."""

import os
import warnings

import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

from quadrat.errors import ImageError
from quadrat.files.sources import LOCAL_HINT, find_sources, is_vrt
from quadrat.images.image import CONVERT

# Files of these formats contain all their pixels. GDAL's other drivers may not open a file: it could name
# more files or servers, or GDAL would write it anew to read it (BIGGIF).
DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "BMP", "GIF", "WEBP")
VRT = "VRT"

# Files that GDAL opens beside a BMP, with any of its drivers and whatever its options are.
BESIDE_BMP = (".ovr", ".msk", ".aux")

# First bytes of files in formats that GDAL reads and quadrat does not.
REFUSED = {
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"CDF": "netCDF",
    b"<VRTDataset": "VRT",
    b"<GDAL_WMS": "WMS",
    b"<GDAL_WMTS": "WMTS",
    b"<WCS_GDAL": "WCS",
    b"<MRF_META": "MRF",
    b"<GDALTileIndexDataset": "GTI",
    b"SQLite format 3": "SQLite",
    b"EHFA_HEADER_TAG": "HFA",
    b"PCIDSK": "PCIDSK",
    b"NITF": "NITF",
    b"GRIB": "GRIB",
    b"%PDF": "PDF",
}


def open_local(path: str, **options: int) -> DatasetReader:
    """Open an image with GDAL in a format that contains its pixels, or a VRT whose sources do.

    Parameters
    ----------
    path : str
        Absolute.
    **options : int
        Options of GDAL's drivers.

    Returns
    -------
    rasterio.io.DatasetReader

    Raises
    ------
    ImageError
        If the file is of a format that GDAL reads and quadrat does not, or names a file that is not watched.
    rasterio.errors.RasterioIOError
        If the file has none of these formats, or is broken.
    """
    drivers = _drivers(path)
    with rasterio.Env(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # most images are not
        # rasterio.open takes one driver.
        dataset = DatasetReader(path, driver=drivers)
        # Asked for overviews or a mask, GDAL would open the file that this item names, on any disk or server.
        if "OVERVIEW_FILE" in {key.upper() for key in dataset.tags(ns="OVERVIEWS")}:
            dataset.close()
            raise ImageError("its overviews are in another file, which quadrat does not read", CONVERT)
        if not options:
            return dataset
        dataset.close()
        return DatasetReader(path, driver=drivers, **options)


def _drivers(path: str) -> list[str]:
    """Return the drivers that may open a file: VRT only after a check of all files that the VRT names."""
    if is_vrt(path):
        problem = find_sources(path).problem
        if problem:
            raise ImageError(problem, LOCAL_HINT)
        return [VRT]
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip()
    except PermissionError as error:
        raise ImageError(f"cannot be opened: {error.strerror}") from error
    if start.startswith(b"BM"):
        _refuse_beside(path)
    for magic, name in REFUSED.items():
        if start.lower().startswith(magic.lower()):
            if name == VRT:
                raise ImageError("it is a VRT, but its name does not end in .vrt", "rename it")
            raise ImageError(f"{name} is not read, since such files may name other files or servers", CONVERT)
    return list(DRIVERS)


def _refuse_beside(path: str) -> None:
    for name in {path, os.path.splitext(path)[0]}:
        for ending in BESIDE_BMP:
            for beside in (name + ending, name + ending.upper()):
                if os.path.lexists(beside):
                    found = os.path.basename(beside)
                    raise ImageError(
                        f"GDAL would also read {found}, which is not watched for changes", CONVERT
                    )
