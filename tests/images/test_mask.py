from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.mask import open_mask

PROFILE = {
    "driver": "GTiff",
    "dtype": "uint8",
    "height": 40,
    "width": 50,
    "transform": Affine(10, 0, 0, 0, -10, 0),
}


@pytest.fixture
def write(tmp_path, noise):
    """Return a function that writes a GeoTIFF, with a mask where one is given."""

    def write_tiff(mask=None, inside="YES", count=1, **profile):
        path = tmp_path / "a.tif"
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside),
            rasterio.open(path, "w", count=count, **PROFILE | profile) as image,
        ):
            image.write(noise(count, 40, 50))
            if mask is not None:
                image.write_mask(mask)
        return str(path)

    return write_tiff


@pytest.fixture
def mask():
    mask = np.zeros((40, 50), np.uint8)
    mask[7:20, 30:] = 255
    return mask


def test_mask_is_that_within_the_file_alone(write, mask, tmp_path):
    assert open_mask(write(mask))
    assert not open_mask(write())
    assert not open_mask(write(nodata=0))
    assert not open_mask(write(count=4, photometric="rgb", alpha="yes"))
    assert not open_mask(write(mask, inside="NO"))  # lies beside it, in a file that is not watched
    (tmp_path / "text.tif").write_text("text")
    assert not open_mask(str(tmp_path / "text.tif"))


def test_pixel_of_which_each_band_has_its_value_is_masked(write):
    """GDAL has such a mask where metadata name a value for each band."""
    path = write(count=2)
    with rasterio.open(path, "r+") as image:
        pixels = image.read()
        pixels[:, 5:9, 5:] = [[[3]], [[7]]]
        pixels[0, 20] = 3
        image.write(pixels)
        image.update_tags(NODATA_VALUES="3 7")
    assert open_mask(path)
    reader = open_mask(path).reader(0)
    (block,) = reader.read_blocks([Window(0, 0, 40, 50)], 1)
    np.testing.assert_array_equal(block[..., 0] == 0, (pixels[0] == 3) & (pixels[1] == 7))


def test_mask_of_declared_values_is_none_where_other_values_are_given(write, mask):
    path = write(nodata=0, photometric="palette")
    with rasterio.open(path, "r+") as image:
        image.write_colormap(1, {0: (255, 0, 0, 255), 1: (0, 0, 255, 255)})
    assert open_mask(path)
    assert not open_mask(path, with_values=False)
    path = write(count=2)
    with rasterio.open(path, "r+") as image:
        image.update_tags(NODATA_VALUES="3 7")
    assert not open_mask(path, with_values=False)
    assert open_mask(write(mask), with_values=False)


def test_mask_is_0_where_there_is_no_data_and_outside(write, mask):
    reader = open_mask(write(mask)).reader(0)
    windows = [Window(0, 10, 16, 50), Window(10, 10, 16, 50), Window(30, 10, 16, 50)]
    filled = np.pad(mask, ((0, 20), (0, 20)))
    for window, block in zip(windows, reader.read_blocks(windows, 1), strict=True):
        np.testing.assert_array_equal(block[..., 0], filled[window.y : window.y + 16, 10:60])


def test_broken_mask_is_refused(write, noise):
    path = Path(write(noise(40, 50) // 100 * 255))
    content = path.read_bytes()
    start = content.rindex(b"\x78\x9c")  # of the mask's deflate stream, which comes last
    path.write_bytes(content[:start] + bytes(len(content) - start))
    reader = open_mask(path).reader(0)
    with pytest.raises(ImageError, match="of its mask cannot be decoded"):
        list(reader.read_blocks([Window(0, 0, 40, 50)], 1))
