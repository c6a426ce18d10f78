import os
import shutil

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.transform import Affine

from comparison import open_with_validity, row_blocks, slice_of
from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images import mask
from quadrat.settings import ReadSettings

SKIP = {"nodata": 1.0}


@pytest.fixture(scope="module")
def pixels(noise):
    return noise(200, 310, 3)


@pytest.fixture(scope="module")
def opacity():
    """Return an alpha channel or mask with holes."""
    alpha = np.full((200, 310), 255, np.uint8)
    alpha[:70, 100:] = 0
    alpha[150:, :37] = 0
    return alpha


@pytest.fixture(scope="module")
def masked(tmp_path_factory, pixels, opacity):
    """Write a GeoTIFF with a mask in the file, and an overview of both."""
    path = tmp_path_factory.mktemp("masked") / "a.tif"
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "dtype": "uint8"}
    profile |= {"crs": "EPSG:32612", "transform": Affine(10, 0, 0, 0, -10, 0)}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        with rasterio.open(path, "w", height=200, width=310, count=3, **profile) as image:
            image.write(pixels.transpose(2, 0, 1))
            image.write_mask(opacity)
        with rasterio.open(path, "r+") as image:
            image.build_overviews([2], rasterio.enums.Resampling.nearest)
    return path


def read_all(opened, patch_size=64, stride=50):
    """Return the blocks of an open image, and their windows."""
    windows = row_blocks(opened.info, patch_size, stride, "pad")
    return windows, [block.copy() for block in opened.reader.read_blocks(windows, 2)]


def assert_validity(opened, pixels, is_data):
    windows, blocks = read_all(opened)
    for window, block in zip(windows, blocks, strict=True):
        shown = block[..., : opened.info.channels]
        np.testing.assert_array_equal(shown, slice_of(pixels, window, 0))
        np.testing.assert_array_equal(block[..., opened.validity] != 0, slice_of(is_data, window, 0)[..., 0])


def test_mask_in_the_file_is_read_beside_the_pixels(masked, pixels, opacity):
    with open_with_validity(str(masked), ReadSettings(skip=SKIP), None) as opened:
        assert (opened.info.channels, opened.validity) == (3, 3)
        assert_validity(opened, pixels, opacity[..., None] > 0)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_mask_of_the_first_image_of_a_file_is_not_that_of_another(masked, pixels, tmp_path):
    path = tmp_path / "a.tif"
    shutil.copy(masked, path)
    profile = {"driver": "GTiff", "height": 200, "width": 310, "count": 3, "dtype": "uint16"}
    with rasterio.open(path, "w", APPEND_SUBDATASET=True, **profile) as image:
        image.write(pixels.transpose(2, 0, 1))
    with rasterio.open(path) as image:
        last = image.subdatasets[-1]
    with rasterio.open(last) as image:
        assert image.mask_flag_enums[0] == [rasterio.enums.MaskFlags.all_valid]
    with tifffile.TiffFile(path) as tif:
        series = len(tif.series)
    with open_with_validity(str(path), ReadSettings(plane={"series": series}, skip=SKIP), None) as opened:
        assert (opened.info.channels, opened.info.dtype, opened.validity) == (3, np.uint16, None)


def test_mask_of_chosen_channels_and_of_a_level_is_theirs(masked):
    with rasterio.open(masked, overview_level=0) as image:
        mask, second = image.dataset_mask(), image.read(2)
    with open_with_validity(str(masked), ReadSettings(channels=[2], level=1, skip=SKIP), 200) as opened:
        assert (opened.info.channels, opened.validity) == (1, 1)
        assert_validity(opened, second[..., None], mask[..., None] > 0)


def test_resampled_pixel_is_data_where_one_that_it_covers_is(masked, opacity):
    with open_with_validity(str(masked), ReadSettings(gsd=50.0, skip=SKIP), None) as opened:
        (block,) = opened.reader.read_blocks([Window(0, 0, opened.info.height, opened.info.width)], 1)
        with rasterio.open(masked, overview_level=0) as image:
            mask = image.dataset_mask()
        assert opened.info.downsample == (5, 5)
        # Of the overview, in pixels of 2.5: those that are covered wholly or in part.
        for y, x in np.ndindex(block.shape[:2]):
            covered = mask[int(y * 2.5) : -(-(y + 1) * 5 // 2), int(x * 2.5) : -(-(x + 1) * 5 // 2)]
            assert bool(block[y, x, 3]) == covered.any()


def test_alpha_of_a_tiff_is_read_with_the_channels_that_are_asked_for(tmp_path, pixels, opacity):
    path = tmp_path / "a.tif"
    extra = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(path, np.dstack([pixels, opacity]), tile=(64, 64), **extra)
    with open_with_validity(str(path), ReadSettings(channels=[3, 1], skip=SKIP), None) as opened:
        assert (opened.info.channels, opened.validity) == (2, 2)
        assert_validity(opened, pixels[..., [2, 0]], opacity[..., None] > 0)
        assert opened.reader.segments_decoded == 4 * 5
    with open_with_validity(str(path), ReadSettings(skip=SKIP), None) as opened:
        assert (opened.info.channels, opened.validity) == (4, 3)
    with open_with_validity(str(path), ReadSettings(channels=[3, 1]), None) as opened:
        assert (opened.reader.info.channels, opened.validity) == (2, None)


def test_alpha_of_a_png_is_read(tmp_path, pixels, opacity):
    path = tmp_path / "a.png"
    Image.fromarray(np.dstack([pixels, opacity])).save(path)
    with open_with_validity(str(path), ReadSettings(channels=[1], skip=SKIP), None) as opened:
        assert_validity(opened, pixels[..., :1], opacity[..., None] > 0)


@pytest.mark.parametrize("name", ["plain.tif", "plain.png"])
def test_image_without_alpha_or_mask_has_no_validity(tmp_path, pixels, name):
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    with open_with_validity(str(path), ReadSettings(skip=SKIP), None) as opened:
        assert opened.validity is None
        assert opened.reader.info.channels == 3


def test_image_whose_mask_cannot_be_opened_is_closed(masked, monkeypatch):
    def refuse(*_):
        raise ImageError("its mask is broken")

    monkeypatch.setattr(mask, "MaskReader", refuse)
    opened = len(os.listdir("/dev/fd"))
    refused = pytest.raises(ImageError, match="its mask is broken")
    with refused, open_with_validity(str(masked), ReadSettings(skip=SKIP), None):
        pass
    assert len(os.listdir("/dev/fd")) == opened


def test_image_and_mask_are_closed_together(masked):
    opened = len(os.listdir("/dev/fd"))
    with open_with_validity(str(masked), ReadSettings(skip=SKIP), None) as opened_mask:
        assert opened_mask.reader.info.channels == 4
        assert len(os.listdir("/dev/fd")) > opened
    assert len(os.listdir("/dev/fd")) == opened
