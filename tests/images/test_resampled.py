from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.transform import Affine

from comparison import assert_reads, open_reader, row_blocks
from quadrat.grid import EDGES, Window
from quadrat.images import resampled
from quadrat.images.open import open_image
from quadrat.images.resampled import ResampledReader

sizes = st.integers(1, 40)


def shares(length, ratio):
    """Return what each pixel shares with each resampled one in units, as (resampled, original) array."""
    size, unit = ratio.numerator, ratio.denominator
    at, pixel = np.ogrid[: int(length / ratio), :length]
    return np.clip(
        np.minimum(size * (at + 1), unit * (pixel + 1)) - np.maximum(size * at, unit * pixel), 0, None
    )


def area_means(image, ratio):
    """Resample by matrices, which hold all shares at once."""
    down, across = (shares(length, ratio).astype(float) for length in image.shape[:2])
    return np.einsum("ty,yxc,sx->tsc", down, image.astype(float), across, optimize=True) / ratio.numerator**2


def read_whole(reader):
    info = reader.info
    (block,) = reader.read_blocks(row_blocks(info, max(info.height, info.width), 10**6, "partial"), 1)
    return block.copy()


@pytest.fixture
def resample(array_reader):
    """Return a function from pixels to the whole resampled image."""

    def whole(pixels, ratio, **options):
        return read_whole(ResampledReader(array_reader(pixels, **options), Fraction(ratio)))

    return whole


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("ratio", [2, 3, 8])
def test_whole_ratio_gives_the_mean_of_each_block(noise, resample, ratio, dtype):
    pixels = noise(50, 67, 3, dtype=dtype)
    height, width = 50 // ratio, 67 // ratio
    blocks = pixels[: height * ratio, : width * ratio].reshape(height, ratio, width, ratio, 3)
    means = blocks.mean(axis=(1, 3), dtype=float)
    expected = means.astype(dtype) if dtype == np.float32 else np.rint(means).astype(dtype)
    found = resample(pixels, ratio)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@given(sizes, sizes, st.fractions(1, 6, max_denominator=50), st.sampled_from([1, 100, 4096]))
def test_pixels_covered_in_part_count_in_part(array_reader, height, width, ratio, strip_bytes):
    height, width = max(height, ceil(ratio)), max(width, ceil(ratio))
    pixels = np.random.default_rng(0).random((height, width, 2))
    reader = ResampledReader(array_reader(pixels), ratio)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampled, "STRIP_BYTES", strip_bytes)
        np.testing.assert_allclose(read_whole(reader), area_means(pixels, ratio), rtol=1e-12)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("patch_size", "stride"), [(16, 16), (16, 7), (10, 23)])
def test_blocks_are_slices_of_the_whole_resampled_image(noise, array_reader, edge, patch_size, stride):
    pixels, ratio = noise(130, 171, 3), Fraction(7, 3)
    reader = ResampledReader(array_reader(pixels), ratio)
    whole = np.rint(area_means(pixels, ratio)).astype(np.uint8)
    assert (reader.info.height, reader.info.width) == whole.shape[:2]
    assert_reads(reader, whole, row_blocks(reader.info, patch_size, stride, edge))


def test_how_the_image_is_cut_into_strips_changes_no_bit(noise, resample, monkeypatch):
    pixels = noise(90, 110, 3, dtype=np.float32) / np.float32(7)
    whole = resample(pixels, Fraction(31, 9))
    monkeypatch.setattr(resampled, "STRIP_BYTES", 1)
    np.testing.assert_array_equal(resample(pixels, Fraction(31, 9)), whole)


@pytest.mark.parametrize("nodata", [-9999.0, np.nan])
def test_nodata_does_not_count_and_stays_where_there_is_nothing_else(noise, resample, nodata):
    pixels = noise(12, 12, 1, dtype=np.float32)
    pixels[0:4, 0:4] = nodata
    pixels[0, 4:8] = nodata
    found = resample(pixels, 4, nodata=(nodata,))[..., 0]
    np.testing.assert_array_equal(found[0, 0], np.float32(nodata))
    assert found[0, 1] == pixels[1:4, 4:8].mean(dtype=float).astype(np.float32)
    assert found[1, 1] == pixels[4:8, 4:8].mean(dtype=float).astype(np.float32)


@pytest.mark.parametrize("ratio", [Fraction(2), Fraction(17, 5), Fraction(9)])
@pytest.mark.parametrize("strip_bytes", [1, 1 << 22])
def test_pixels_that_are_not_valid_do_not_count_whatever_they_hold(
    array_reader, noise, ratio, strip_bytes, monkeypatch
):
    monkeypatch.setattr(resampled, "STRIP_BYTES", strip_bytes)
    pixels = noise(50, 67, 3, dtype=np.float64)
    pixels[..., 2] *= noise(50, 67, seed=1) < 60
    pixels[10:30, 20:40, 2] = 0
    is_valid, colours = pixels[..., 2:] != 0, pixels[..., :2]
    covered = area_means(is_valid, ratio)
    with np.errstate(invalid="ignore"):
        means = area_means(colours * is_valid, ratio) / covered
    means = np.concatenate([np.nan_to_num(means), area_means(pixels[..., 2:], ratio)], axis=2)
    found = read_whole(ResampledReader(array_reader(pixels), ratio, validity=2))
    np.testing.assert_allclose(found, means, rtol=1e-12)
    assert (covered == 0).any()
    without = ResampledReader(array_reader(pixels), ratio, validity=2, drops_last=True)
    assert without.info.channels == 2
    np.testing.assert_array_equal(read_whole(without), found[..., :2])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
def test_averaged_validity_is_0_only_where_no_pixel_is_valid(array_reader, dtype):
    pixels = np.zeros((32, 64, 2), dtype)
    pixels[..., 0] = 1
    pixels[3, 40] = 1
    found = read_whole(ResampledReader(array_reader(pixels), Fraction(32), validity=1))
    assert (found != 0).tolist() == [[[False, False], [True, True]]]
    alone = read_whole(ResampledReader(array_reader(pixels[..., 1:]), Fraction(32), validity=0))
    assert (alone != 0).tolist() == [[[False], [True]]]


@pytest.fixture
def write_georeferenced(tmp_path):
    """Return a function that writes a GeoTIFF of pixels of 10 units, and returns its path."""

    def write(pixels, mask=None, **profile):
        count, height, width = pixels.shape
        place = {"crs": "EPSG:32612", "transform": Affine(10, 0, 5e5, 0, -10, 4e6), "dtype": pixels.dtype}
        profile |= place | {"driver": "GTiff", "height": height, "width": width, "count": count}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(tmp_path / "a.tif", "w", **profile) as image,
        ):
            image.write(pixels)
            if mask is not None:
                image.write_mask(mask)
        return tmp_path / "a.tif"

    return write


def average_of_gdal(path, gsd):
    """Return an image averaged by GDAL, as (height, width, channel) array."""
    with rasterio.open(path) as image:
        shape = (image.count, image.height * 10 // gsd, image.width * 10 // gsd)
        return image.read(out_shape=shape, resampling=Resampling.average).transpose(1, 2, 0)


@pytest.mark.parametrize("gsd", [20, 40, 80])
@pytest.mark.parametrize("alpha", ["unspecified", "premultiplied", "mask", None])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_gsd_averages_the_pixels_that_gdal_averages(noise, write_georeferenced, gsd, alpha, dtype):
    pixels = noise(4, 80, 120, dtype=dtype)
    holes = np.kron(noise(20, 30, seed=1) < 60, np.ones((4, 4), bool))
    pixels[3] = np.where(holes, 0, pixels[3] + 30)
    pixels[3, 0:40, 40:80] = 0
    options = {"photometric": "rgb", "alpha": {"unspecified": "yes"}.get(alpha, alpha)}
    if alpha == "mask":
        path = write_georeferenced(pixels[:3], (pixels[3] > 0).astype(np.uint8) * 255)
    elif alpha is None:
        path = write_georeferenced(pixels, photometric="rgb", alpha="no")
    else:
        path = write_georeferenced(pixels, **options)
    expected = average_of_gdal(path, gsd).astype(int)
    with open_image(path) as image:
        level = image.level_for(gsd=gsd)
        found = image.read(level=level)
        # GDAL rounds halves up.
        assert np.abs(found - expected).max() <= 1
        for channels in ([1], [3, 1], [2, 2]):
            picked = image.read(level=level, channels=channels)
            np.testing.assert_array_equal(picked, found[..., np.array(channels) - 1])


def test_image_without_alpha_and_its_copy_with_opaque_alpha_have_the_same_means(noise, write_georeferenced):
    pixels = noise(4, 80, 120)
    pixels[3] = 255
    found = []
    for count, alpha in ((3, "no"), (4, "yes")):
        path = write_georeferenced(pixels[:count], photometric="rgb", alpha=alpha)
        with open_image(path) as image:
            found.append(image.read(level=image.level_for(gsd=30), channels=[1, 2, 3]))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("ratio", [Fraction(2), Fraction(17, 5)])
def test_every_segment_is_decoded_exactly_once(noise, tmp_path, ratio):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(500, 700, 3), photometric="rgb", tile=(64, 64), compression="zlib")
    with open_reader(path) as source:
        reader = ResampledReader(source, ratio)
        height, width = reader.info.height, reader.info.width
        assert len(list(reader.read_blocks(row_blocks(reader.info, 50, 30, "partial"), 2)))
        covered = ceil(height * ratio / 64), ceil(width * ratio / 64)
        assert source.segments_decoded == covered[0] * covered[1]


def test_image_is_read_in_strips_of_a_few_megabytes_however_large_the_ratio(array_reader):
    pixels = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (8_000, 10_000, 3))
    source = array_reader(pixels)
    reader = ResampledReader(source, Fraction(32))
    next(iter(reader.read_blocks(row_blocks(reader.info, 512, 512, "pad"), 1)))
    assert max(window.height * window.width * 3 for window in source.blocks) < 1.3 * resampled.STRIP_BYTES


def test_image_in_which_no_patch_fits_gives_no_block(array_reader, noise):
    source = array_reader(noise(20, 20, 1))
    assert list(ResampledReader(source, Fraction(4)).read_blocks([], 1)) == []
    assert source.blocks == []


def test_segments_that_no_wanted_window_covers_are_not_decoded(noise, tmp_path):
    path, pixels = tmp_path / "a.tif", noise(512, 512, 3)
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), compression="zlib")
    with open_reader(path) as source:
        reader = ResampledReader(source, Fraction(4))
        blocks, wanted = row_blocks(reader.info, 32, 32, "drop"), [Window(32, 64, 32, 32)]
        read = [block.copy() for block in reader.read_blocks(blocks, 1, wanted)]
        means = pixels[128:256, 256:384].reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
        np.testing.assert_array_equal(read[1][:, 64:96], np.rint(means).astype(np.uint8))
        assert source.segments_decoded == 4
