"""Palettes with alpha, held against Pillow, libvips and GDAL."""

import numpy as np
import pytest
import pyvips
import rasterio
import rasterio.shutil
import tifffile
from PIL import Image

from comparison import open_reader, open_with_validity
from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.patches.skips import PatchRules
from quadrat.settings import ReadSettings
from traps import written_by_gdal

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SHAPE = 40, 50


def read_whole(reader):
    (block,) = reader.read_blocks([Window(0, 0, reader.info.height, reader.info.width)], 1)
    return block.copy()


@pytest.fixture
def write_palette(tmp_path, noise):
    """Return a function that writes a palette TIFF with GDAL, with alpha if it is given, and its colours."""

    def write(alpha=None, bits=8, **options):
        colors = noise(1 << bits, 3).astype(np.uint8)
        indices = noise(*SHAPE) & ((1 << bits) - 1)
        count = 1 if alpha is None else 2
        options |= {"photometric": "palette", "NBITS": bits} | ({} if alpha is None else {"alpha": "yes"})
        with written_by_gdal(tmp_path / "a.tif", count, "uint8", SHAPE, **options) as image:
            image.write_colormap(1, {number: tuple(color) for number, color in enumerate(colors.tolist())})
            image.write(indices, 1)
            if alpha is not None:
                image.write(alpha, 2)
        return tmp_path / "a.tif", indices, colors

    return write


@pytest.fixture
def alpha(noise):
    alpha = noise(*SHAPE)
    alpha[:9] = 0
    return alpha


@pytest.mark.parametrize(
    "options", [{}, {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}]
)
def test_palette_with_alpha_is_rgba_as_pillow_and_libvips_read_it(write_palette, alpha, options):
    path, *_ = write_palette(alpha, **options)
    with Image.open(path) as image:
        expected = np.array(image.convert("RGBA"))
    np.testing.assert_array_equal(pyvips.Image.new_from_file(str(path)).numpy(), expected)
    with open_reader(path) as reader:
        assert reader.info.alpha == 4
        np.testing.assert_array_equal(read_whole(reader), expected)
    with open_reader(path, channels=(4, 2)) as reader:
        np.testing.assert_array_equal(read_whole(reader), expected[..., [3, 1]])


def test_patch_of_a_palette_with_alpha_is_nodata_where_alpha_is_0(write_palette, alpha):
    path, *_ = write_palette(alpha)
    read = ReadSettings(channels=[1, 2, 3], skip={"nodata": 1.0})
    with open_with_validity(str(path), read, None) as opened:
        block, rules = read_whole(opened.reader), PatchRules({"nodata": 1.0}, opened.info, opened.validity)
    found = [[rules.reason(pixel[None, None]) == "nodata" for pixel in row] for row in block]
    np.testing.assert_array_equal(found, alpha == 0)


def test_alpha_of_few_bits_has_the_range_of_the_colours(write_palette, noise):
    alpha = noise(*SHAPE) % 16
    path, indices, colors = write_palette(alpha, bits=4)
    with open_reader(path) as reader:
        np.testing.assert_array_equal(read_whole(reader), np.dstack([colors[indices], alpha * 17]))


@pytest.mark.parametrize(("step", "bits"), [(257, 8), (1, 16), (257, 16)])
def test_sample_of_no_meaning_beside_a_palette_is_a_channel_in_its_range(step, bits, tmp_path, noise):
    """A palette of 16 bit stays so where the other sample has 16 bit too."""
    colors = (noise(3, 1 << bits).astype(int) * step).astype(np.uint16)
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels = noise(*SHAPE, 2).astype(dtype)
    tags = [(320, 3, colors.size, colors.ravel().tolist(), True)]
    options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [0], "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=tags, **options)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        tif.pages[0].tags[262].overwrite(3)
    with open_reader(tmp_path / "a.tif") as reader:
        assert (reader.info.channels, reader.info.alpha) == (4, None)
        assert reader.info.dtype == dtype
        shown = colors.T[pixels[..., 0]] // (257 if bits == 8 else 1)
        np.testing.assert_array_equal(read_whole(reader), np.dstack([shown, pixels[..., 1]]))


def test_palette_and_alpha_in_planes_of_their_own_are_refused(write_palette, alpha):
    path, *_ = write_palette(alpha, interleave="band")
    with pytest.raises(ImageError, match="a palette and other samples in separate planes"):
        open_reader(path)


def test_vrt_of_a_palette_with_alpha_is_rgba_too(write_palette, alpha, tmp_path):
    path, indices, colors = write_palette(alpha)
    with rasterio.open(path) as image:
        rasterio.shutil.copy(image, tmp_path / "a.vrt", driver="VRT")
    expected = np.dstack([colors[indices], alpha])
    for channels in (None, (4, 1), (2,)):
        with open_reader(tmp_path / "a.vrt", channels=channels) as reader:
            wanted = [channel - 1 for channel in channels or (1, 2, 3, 4)]
            assert reader.info.alpha == 4
            np.testing.assert_array_equal(read_whole(reader), expected[..., wanted])


def test_index_that_is_nodata_of_a_palette_is_skipped_as_gdal_masks_it(write_palette):
    path, *_ = write_palette(bits=2, nodata=3)
    with rasterio.open(path) as image:
        mask = image.read_masks(1)
    with open_with_validity(str(path), ReadSettings(skip={"nodata": 1.0}), None) as opened:
        assert opened.info.channels == 3
        np.testing.assert_array_equal(read_whole(opened.reader)[..., opened.validity] == 0, mask == 0)


@pytest.mark.parametrize(
    ("name", "transparency"), [("a.png", 3), ("a.gif", 3), ("a.png", bytes(range(0, 160, 10)))]
)
def test_transparent_colours_of_a_palette_are_those_of_pillow(name, transparency, tmp_path, noise):
    picture = Image.fromarray(noise(*SHAPE, 3)).quantize(16)
    picture.save(tmp_path / name, transparency=transparency)
    with Image.open(tmp_path / name) as image, open_reader(tmp_path / name) as reader:
        assert reader.info.alpha == 4
        np.testing.assert_array_equal(read_whole(reader), np.array(image.convert("RGBA")))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_gray_with_alpha_is_two_channels(name, tmp_path, noise):
    pixels = noise(*SHAPE, 2)
    Image.fromarray(pixels, "LA").save(tmp_path / name)
    with open_reader(tmp_path / name) as reader:
        assert reader.info.alpha == 2
        np.testing.assert_array_equal(read_whole(reader), pixels)
