import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from comparison import open_configured, open_reader
from quadrat.errors import ImageError, MemoryBudgetError
from quadrat.grid import Window
from quadrat.images.budget import MB, estimates
from quadrat.settings import ReadSettings

LEVELS = (1, 4, 16)


@pytest.fixture(scope="module")
def pixels(noise):
    return noise(640, 960, 3)


@pytest.fixture(scope="module")
def slide(tmp_path_factory, pixels):
    """Write a slide of 0.25 micrometres per pixel with three levels, each of its own noise, as CMU-1 has."""
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, subifds=2, resolution=(40_000, 40_000), **options)
        for factor in LEVELS[1:]:
            tif.write(pixels[::factor, ::factor], subfiletype=1, **options)
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory, pixels):
    """Return a function that writes a georeferenced image."""
    folder = tmp_path_factory.mktemp("scenes")

    def write(name, x_size=10.0, y_size=10.0, nodata=None):
        path = folder / name
        transform = Affine(x_size, 0, 500_000, 0, -y_size, 4_000_000)
        profile = {
            "driver": "GTiff",
            "crs": "EPSG:32612",
            "transform": transform,
            "dtype": "uint8",
            "nodata": nodata,
        }
        with rasterio.open(path, "w", height=640, width=960, count=3, **profile) as image:
            image.write(pixels.transpose(2, 0, 1))
        return path

    return write


def read_whole(path, **reading):
    with open_configured(path, ReadSettings(patch_size=64, **reading)) as reader:
        info = reader.info
        (block,) = reader.read_blocks([Window(0, 0, info.height, info.width)], 1)
        return info, block.copy()


def block_means(pixels, ratio):
    height, width = (length // ratio for length in pixels.shape[:2])
    blocks = pixels[: height * ratio, : width * ratio].reshape(height, ratio, width, ratio, 3)
    return np.rint(blocks.mean(axis=(1, 3)))


@pytest.mark.parametrize(
    ("mpp", "level", "ratio"),
    [
        (0.25, 0, 1),
        (0.5, 0, 2),
        (0.75, 0, 3),
        (0.99, 1, 1),
        (2.0, 1, 2),
        (4.0, 2, 1),
        (12, 2, 3),
    ],
)
def test_nearest_finer_level_is_read_and_averaged(slide, pixels, mpp, level, ratio):
    info, found = read_whole(slide, mpp=float(mpp))
    stored = pixels[:: LEVELS[level], :: LEVELS[level]]
    assert info.level == level
    assert info.downsample == (LEVELS[level] * ratio,) * 2
    np.testing.assert_array_equal(found, stored if ratio == 1 else block_means(stored, ratio))


@pytest.mark.parametrize(("mpp", "downsample"), [(0.2455, 1), (0.2545, 1), (0.26, 1.04)])
def test_level_within_two_percent_of_what_is_asked_for_is_read_as_it_is(slide, pixels, mpp, downsample):
    info, found = read_whole(slide, mpp=mpp)
    assert info.downsample == pytest.approx((downsample, downsample))
    assert np.array_equal(found, pixels) == (downsample == 1)


def test_level_whose_pixels_are_not_square_is_passed_over(tmp_path, pixels):
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    resolution = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, ome=True) as tif:
        size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        tif.write(pixels, subifds=1, **options | resolution | {"metadata": size | {"axes": "YXS"}})
        tif.write(pixels[::2, ::4], subfiletype=1, **options)
    info, found = read_whole(path, mpp=1.0)
    assert (info.level, info.downsample) == (0, (4, 4))
    np.testing.assert_array_equal(found, block_means(pixels, 4))
    assert read_whole(path, level=1)[0].downsample == (2, 4)


def test_gsd_is_the_size_of_a_pixel_in_units_of_the_crs(scene, pixels):
    info, found = read_whole(scene("a.tif"), gsd=40.0)
    assert (info.height, info.width, info.downsample) == (160, 240, (4.0, 4.0))
    np.testing.assert_array_equal(found, block_means(pixels, 4))


@pytest.mark.parametrize("gsd", [15.0, 23.0])
@pytest.mark.parametrize("nodata", [None, 7])
def test_resampled_image_is_the_average_of_gdal(scene, pixels, gsd, nodata):
    path = scene(f"average_{gsd}_{nodata}.tif", nodata=nodata)
    _, found = read_whole(path, gsd=gsd)
    expected = np.full(found.shape[2:] + found.shape[:2], nodata or 0, np.uint8)
    places = {"src_transform": Affine(10, 0, 0, 0, -10, 0), "dst_transform": Affine(gsd, 0, 0, 0, -gsd, 0)}
    values = {"src_nodata": nodata, "dst_nodata": nodata, "resampling": Resampling.average}
    for channel in range(3):
        reproject(
            pixels[..., channel],
            expected[channel],
            src_crs="EPSG:32612",
            dst_crs="EPSG:32612",
            **places,
            **values,
        )
    differences = np.abs(expected.transpose(1, 2, 0).astype(int) - found)
    assert differences.max() <= 1  # GDAL rounds halves up
    assert (differences > 0).mean() < 0.1


def test_gsd_in_other_units_than_those_of_the_crs_is_told_with_its_name(scene):
    for gsd in (0.001, 100_000.0):
        with pytest.raises(ImageError, match="gsd") as caught:
            read_whole(scene("metres.tif"), gsd=gsd)
        assert caught.value.hint == "gsd is in units of its coordinate reference system, EPSG:32612"


def test_decimals_that_binary_fractions_cannot_hold_make_whole_ratios(scene, pixels):
    info, found = read_whole(scene("tenth.tif", 0.1, 0.1), gsd=0.3)
    assert (info.height, info.width) == (213, 320)
    np.testing.assert_array_equal(found, block_means(pixels, 3))


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        ({"mpp": 0.2445}, r"finest pixels have 0\.25 mpp, coarser than 0\.2445 "),
        ({"mpp": 0.2}, r"finest pixels have 0\.25 mpp, coarser than 0\.2 \(config\.yaml: mpp\)"),
        ({"mpp": 200.0}, r"smaller than a pixel of 200 mpp"),
        ({"gsd": 10.0}, r"has no georeference"),
    ],
)
def test_what_the_image_cannot_give_is_told(slide, reading, told):
    with pytest.raises(ImageError, match=told):
        read_whole(slide, **reading)


def test_image_without_its_resolution_says_how_to_give_it(scene, pixels):
    with pytest.raises(ImageError, match="do not contain the micrometres per pixel") as caught:
        read_whole(scene("plain.tif"), mpp=0.5)
    assert "default_mpp" in caught.value.hint
    _, found = read_whole(scene("plain.tif"), mpp=0.5, default_mpp=0.25)
    np.testing.assert_array_equal(found, block_means(pixels, 2))


def test_image_that_says_its_resolution_has_not_the_default_one(slide):
    assert read_whole(slide, mpp=0.5, default_mpp=0.125)[0].downsample == (2, 2)


def test_pixels_that_are_not_square_are_refused(scene):
    assert read_whole(scene("nearly_square.tif", 10.0, 10.09), gsd=40.0)[0].channels == 3
    with pytest.raises(ImageError, match="needs square"):
        read_whole(scene("hardly_square.tif", 10.0, 10.15), gsd=40.0)
    with pytest.raises(ImageError, match="30 high and 10 wide, but gsd needs square"):
        read_whole(scene("flat.tif", 10.0, 30.0), gsd=60.0)


def test_memory_of_resampling_is_not_the_readers(slide):
    reading, windows = ReadSettings(patch_size=64, mpp=0.5), [Window(0, 0, 64, 480)]
    with estimates() as needed, open_configured(slide, reading) as reader:
        reader.read_blocks(windows, 1)
    with open_reader(slide, memory_mb=max(needed) / MB) as reader:
        assert len(list(reader.read_blocks([Window(0, 0, 2 * 64, 960)], 1))) == 1
    with pytest.raises(MemoryBudgetError), open_configured(slide, reading, max(needed) / MB) as reader:
        reader.read_blocks(windows, 1)
