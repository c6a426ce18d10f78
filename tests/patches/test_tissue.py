import colorsys

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from quadrat.errors import ImageError, MemoryBudgetError
from quadrat.grid import PatchGrid
from quadrat.images.open import open_image
from quadrat.patches.tissue import otsu_threshold, saturation, tissue_shares

GLASS, STAIN = (240, 238, 241), (170, 60, 140)


@given(st.tuples(*3 * [st.integers(0, 255)]))
def test_saturation_is_that_of_the_standard_library_and_none_where_it_is_nearly_black(color):
    ((found,),) = saturation(np.array(color, np.uint8).reshape(1, 1, 3)).tolist()
    expected = 255 * colorsys.rgb_to_hsv(*color)[1] if max(color) > 15 else 0
    assert found == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_dark_samples_of_other_types_have_the_saturation_of_their_colour(dtype):
    assert saturation(np.array([[[4, 2, 1]]], dtype)).tolist() == [[191]]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60))
def test_threshold_parts_values_with_the_largest_variance_between_the_parts(values):
    values = np.array(values, np.uint8)

    def between(threshold):
        low, high = values[values <= threshold], values[values > threshold]
        if not len(low) or not len(high):
            return 0.0
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    found = between(otsu_threshold(values))
    assert found == pytest.approx(max(between(threshold) for threshold in range(256)), rel=1e-9)


def test_threshold_of_equal_values_is_their_value():
    assert otsu_threshold(np.full(9, 7, np.uint8)) == 7


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Write a slide whose level 0 is noise: only its coarser levels show the tissue, at the upper left."""
    path = tmp_path_factory.mktemp("slides") / "slide.tif"
    pixels = np.full((512, 768, 3), GLASS, np.uint8)
    pixels[:192, :320] = STAIN
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    with tifffile.TiffWriter(path) as tif:
        options = {"photometric": "rgb", "tile": (64, 64)}
        tif.write(noise, subifds=2, **options)
        tif.write(pixels[::4, ::4], subfiletype=1, **options)
        tif.write(pixels[::16, ::16], subfiletype=1, **options)
    return path


def shares_of(path, grid, level=0, memory_mb=None):
    with open_image(path, memory_mb=memory_mb) as image:
        opened, reader_of = [], image.reader
        image.reader = lambda one: opened.append(one.index) or reader_of(one)
        return tissue_shares(image, grid, image.levels[level].downsample), opened


def test_share_of_each_patch_is_that_of_the_pixels_that_are_stained(slide):
    shares, opened = shares_of(slide, PatchGrid(512, 768, 128, 128))
    rows, cols = (
        np.clip((end - np.arange(0, size, 128)) / 128, 0, 1) for end, size in ((192, 512), (320, 768))
    )
    np.testing.assert_allclose(shares, np.outer(rows, cols))
    assert opened == [2]  # no other level is looked at


def test_grid_of_a_coarser_level_finds_the_same_tissue(slide):
    expected, _ = shares_of(slide, PatchGrid(512, 768, 128, 128))
    shares, _ = shares_of(slide, PatchGrid(128, 192, 32, 32), level=1)
    np.testing.assert_array_equal(shares, expected)


def test_tissue_of_a_narrow_slide_is_where_it_lies(tmp_path):
    pixels = np.full((6000, 140, 3), GLASS, np.uint8)
    stained = np.zeros(6000, bool)
    stained[400:528] = stained[5120:5248] = stained[5700:5828] = True
    pixels[stained] = STAIN
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        options = {"photometric": "rgb", "tile": (64, 64)}
        tif.write(pixels, subifds=2, **options)
        for factor in (4, 16):
            cut = pixels[: 6000 // factor * factor : factor, : 140 // factor * factor : factor]
            tif.write(cut, subfiletype=1, **options)
    grid = PatchGrid(6000, 140, 128, 128)
    shares, opened = shares_of(tmp_path / "a.tif", grid)
    assert opened == [2]
    expected = [stained[y : y + 128].mean() for y in grid.ys]
    np.testing.assert_allclose(shares[:, 0], expected, atol=0.13)  # a pixel of the level is an eighth


def test_finer_level_is_taken_where_a_patch_is_a_few_pixels(slide):
    _, opened = shares_of(slide, PatchGrid(512, 768, 64, 64))
    assert opened == [1]


def test_patches_that_reach_past_the_image_have_the_share_of_what_is_inside(slide):
    shares, _ = shares_of(slide, PatchGrid(512, 768, 500, 500, "pad"))
    assert shares.shape == (2, 2)
    assert shares[1, 1] == 0
    assert shares[0, 0] == pytest.approx(192 * 320 / 512**2, rel=0.02)


def test_image_without_what_shows_tissue_is_refused(slide, tmp_path):
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    with pytest.raises(ImageError, match="no pyramid levels") as caught:
        shares_of(flat, PatchGrid(64, 64, 32, 32))
    assert "std_below" in caught.value.hint
    gray = tmp_path / "gray.tif"
    with tifffile.TiffWriter(gray) as tif:
        tif.write(np.zeros((256, 256), np.uint8), subifds=1, tile=(64, 64))
        tif.write(np.zeros((128, 128), np.uint8), subfiletype=1, tile=(64, 64))
    with pytest.raises(ImageError, match="it has 1 channels, but the saturation of tissue needs three"):
        shares_of(gray, PatchGrid(256, 256, 64, 64))
    with pytest.raises(MemoryBudgetError, match="on which tissue is found"):
        shares_of(slide, PatchGrid(512, 768, 64, 64), memory_mb=0.05)


def write_pyramid(path, pixels, **storage):
    """Write a slide of two coarser levels, in which each pixel is a mean of level 0."""
    storage = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib", "metadata": None} | storage
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, subifds=2, **storage)
        for step in (4, 16):
            height, width = (side // step for side in pixels.shape[:2])
            means = pixels.reshape(height, step, width, step, 3).mean(axis=(1, 3)).round()
            tif.write(means.astype(np.uint8), subfiletype=1, **storage)


def is_tissue(path, patch_size=128):
    """Return which patches of a slide are kept with tissue_below: 0.05."""
    with open_image(path) as image:
        grid = PatchGrid(*image.levels[0].shape, patch_size, patch_size)
    return shares_of(path, grid)[0] >= 0.05


PADDINGS = {
    "black": np.zeros((1024, 512, 3), np.uint8),
    "near_black": np.random.default_rng(0).integers(0, 4, (1024, 512, 3), np.uint8),
    "one_channel": np.random.default_rng(1).integers(0, 16, (1024, 512, 1)) * np.array([0, 0, 1]),
    "white": np.full((1024, 512, 3), 255, np.uint8),
}


@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("stain", [STAIN, (60, 40, 90), (30, 10, 30), (45, 30, 20)], ids=str)
def test_padding_is_no_tissue_and_dark_tissue_is(padding, stain, compression, tmp_path):
    pixels = np.full((1024, 1024, 3), GLASS, np.uint8)
    pixels[256:512, 128:384] = stain
    pixels[:, 512:] = PADDINGS[padding]
    write_pyramid(tmp_path / "a.tif", pixels, compression=compression)
    expected = np.zeros((8, 8), bool)
    expected[2:4, 1:3] = True
    np.testing.assert_array_equal(is_tissue(tmp_path / "a.tif"), expected)


def test_padding_of_most_of_a_slide_does_not_hide_its_tissue(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4, (1024, 1024, 3), np.uint8)
    pixels[:384, :384] = GLASS
    pixels[128:256, 128:256] = STAIN
    write_pyramid(tmp_path / "a.tif", pixels)
    assert np.argwhere(is_tissue(tmp_path / "a.tif")).tolist() == [[1, 1]]


def test_dim_colours_on_black_are_tissue(tmp_path):
    pixels = np.zeros((1024, 1024, 3), np.uint8)
    pixels[:128, :128], pixels[128:256, :128] = (5, 60, 20), (40, 10, 0)
    write_pyramid(tmp_path / "a.tif", pixels)
    assert np.argwhere(is_tissue(tmp_path / "a.tif")).tolist() == [[0, 0], [1, 0]]
