"""Peers: other ways to get the mean of each patch of an image.

Each takes a path and a number of threads, gives the means in row-major order, and imports only what it needs.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from layouts import PATCH


class UnreadableError(Exception):
    """A peer cannot read the image, or would not read its true pixels."""


def plain_loop(path: str, _threads: int) -> list[float]:
    """Load the image with Pillow and cut it up: what most would write first."""
    import numpy as np
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as image:
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        if max(bits) > 8:
            raise UnreadableError(f"Pillow reduces {max(bits)} bits to 8")
        pixels = np.asarray(image)
    return _means_of_slices(pixels)


def tifffile_imread(path: str, threads: int) -> list[float]:
    """Load the image with tifffile, which decodes on threads, and cut it up."""
    import numpy as np
    import tifffile

    if not path.endswith(".tif"):
        raise UnreadableError("not a TIFF")
    pixels = tifffile.imread(path, maxworkers=threads)
    is_planar = pixels.shape[0] < pixels.shape[2]
    return _means_of_slices(np.moveaxis(pixels, 0, -1) if is_planar else pixels)


def _means_of_slices(pixels) -> list[float]:
    import numpy as np

    height, width, _ = pixels.shape
    return [
        float(np.mean(pixels[y : y + PATCH, x : x + PATCH]))
        for y in _origins(height)
        for x in _origins(width)
    ]


def rasterio_patches(path: str, threads: int) -> list[float]:
    """Read a window for each patch with rasterio, each thread with a dataset of its own."""

    def means_of_row(dataset, y: int) -> list[float]:
        return [float(_window(dataset, y, x, PATCH).mean()) for x in _origins(dataset.width)]

    return _by_rasterio(path, threads, means_of_row)


def rasterio_rows(path: str, threads: int) -> list[float]:
    """Read a window for each row of patches with rasterio, each thread with a dataset of its own."""

    def means_of_row(dataset, y: int) -> list[float]:
        pixels = _window(dataset, y, 0, dataset.width)
        return [float(pixels[:, :, x : x + PATCH].mean()) for x in _origins(dataset.width)]

    return _by_rasterio(path, threads, means_of_row)


def _window(dataset, y: int, x: int, width: int):
    from rasterio.windows import Window

    return dataset.read(window=Window(x, y, width, PATCH))


def _by_rasterio(path: str, threads: int, means_of_row: Callable) -> list[float]:
    """Share the rows of patches among threads, as neighbours: they may need the same segments."""
    import warnings

    import rasterio

    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    with rasterio.open(path) as dataset:
        ys = _origins(dataset.height)

    def means_of_part(part: range) -> list[float]:
        with rasterio.open(path) as dataset:
            return [mean for y in part for mean in means_of_row(dataset, y)]

    parts = [ys[len(ys) * i // threads : len(ys) * (i + 1) // threads] for i in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return [mean for means in pool.map(means_of_part, parts) for mean in means]


def zarr_patches(path: str, threads: int) -> list[float]:
    """Slice each patch out of zarr over tifffile's store."""
    import numpy as np
    import zarr

    if not path.endswith(".tif"):
        raise UnreadableError("not a TIFF")
    import tifffile

    with tifffile.imread(path, aszarr=True) as store:
        array = zarr.open_array(store, mode="r")
        is_planar = array.shape[0] < array.shape[2]
        height, width = array.shape[1:] if is_planar else array.shape[:2]

        def mean(y: int, x: int) -> float:
            rows, columns = slice(y, y + PATCH), slice(x, x + PATCH)
            pixels = np.asarray(array[:, rows, columns] if is_planar else array[rows, columns])
            return float(pixels.mean())

        return _on_threads(threads, mean, height, width)


def tiffslide_patches(path: str, threads: int) -> list[float]:
    """Read a region for each patch with tiffslide."""
    from tiffslide import TiffSlide

    if not path.endswith(".tif"):
        raise UnreadableError("not a TIFF")
    with TiffSlide(path) as slide:
        width, height = slide.dimensions

        def mean(y: int, x: int) -> float:
            return float(slide.read_region((x, y), 0, (PATCH, PATCH), as_array=True).mean())

        return _on_threads(threads, mean, height, width)


def _on_threads(threads: int, mean: Callable, height: int, width: int) -> list[float]:
    corners = [(y, x) for y in _origins(height) for x in _origins(width)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda corner: mean(*corner), corners))


def _origins(length: int) -> range:
    return range(0, length - PATCH + 1, PATCH)
