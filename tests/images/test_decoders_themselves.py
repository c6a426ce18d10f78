"""What decoders do that decides which of them reads a format; docs/how_it_works.md shows what follows."""

import warnings

import numpy as np
import pytest
import pyvips
import rasterio
import tifffile
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from traps import RGB


@pytest.mark.parametrize("compression", ["zstd", "lzma", "lerc"])
def test_libvips_gives_zeros_of_a_tiff_whose_codec_it_lacks_and_no_error(compression, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.maximum(RGB, 1), tile=(128, 128), photometric="rgb", compression=compression)
    image = pyvips.Image.new_from_file(str(path), fail_on="error")
    assert not image.numpy().any()


def read_by_gdal(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as image:
            return image.read().transpose(1, 2, 0)


def test_gdal_gives_other_colours_of_a_jpeg_than_pillow_and_libvips(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path, quality=90)
    of_pillow = np.asarray(Image.open(path))
    assert np.array_equal(pyvips.Image.new_from_file(str(path)).numpy(), of_pillow)
    assert abs(read_by_gdal(path).astype(int) - of_pillow).max() > 10


def test_gdal_gives_cmyk_of_a_tiff_as_other_numbers_with_an_opaque_alpha(tmp_path):
    path = tmp_path / "a.tif"
    cmyk = np.full((64, 64, 4), (10, 20, 30, 40), np.uint8)
    tifffile.imwrite(path, cmyk, photometric="separated")
    pixel = read_by_gdal(path)[0, 0]
    assert pixel[3] == 255
    assert not np.array_equal(pixel[:3], cmyk[0, 0, :3])
