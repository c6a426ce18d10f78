import numpy as np
import pytest
import tifffile
from PIL import Image

from quadrat.errors import ImageError
from quadrat.views.thumbnail import SIDE, blank_thumbnail, box_means, read_thumbnail


def means_of_squares(pixels, factor):
    """Return the means of all squares, one by one."""
    starts = [range(0, length, factor) for length in pixels.shape[:2]]
    return np.array(
        [
            [pixels[y : y + factor, x : x + factor].mean(axis=(0, 1), dtype=np.float64) for x in starts[1]]
            for y in starts[0]
        ]
    )


@pytest.mark.parametrize("segment", [(16, 16), (7, 130), (90, 130), (32, 48)])
@pytest.mark.parametrize("factor", [1, 3, 36, 200])
def test_squares_that_cross_blocks_and_the_edge_have_their_mean(array_reader, noise, segment, factor):
    pixels = noise(90, 130, 3)
    found = box_means(array_reader(pixels, segment), factor, threads=1)
    np.testing.assert_allclose(found, means_of_squares(pixels, factor), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_samples_of_any_type_are_averaged(array_reader, noise, dtype):
    pixels = noise(50, 40, 2, dtype=dtype) * 150 - (90 if dtype != "uint16" else 0)
    found = box_means(array_reader(pixels.astype(dtype)), 8, threads=1)
    np.testing.assert_allclose(found, means_of_squares(pixels.astype(dtype), 8), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float32", np.nan), ("float32", -9999), ("int16", -9999), ("uint8", 0)]
)
def test_nodata_is_left_out_of_means(array_reader, dtype, nodata):
    pixels = np.full((4, 8, 1), 10, dtype)
    pixels[:2, :2] = pixels[:, 4:] = nodata
    found = box_means(array_reader(pixels, nodata=(nodata,)), 4, threads=1)
    np.testing.assert_array_equal(found[..., 0], [[10, np.nan]])


def test_small_image_is_shown_as_it_is(write_tiff):
    image = write_tiff("a.tif")
    thumbnail = read_thumbnail(image.path, None, None, 1, None)
    np.testing.assert_array_equal(thumbnail.pixels, image.pixels)
    assert thumbnail.steps == (1, 1)


def test_picture_of_a_large_image_has_at_most_so_many_pixels(images, noise):
    pixels = np.repeat(noise(3, 2345, 3), 400, axis=0)
    Image.fromarray(pixels).save(images / "a.png")
    thumbnail = read_thumbnail(images / "a.png", None, None, 1, None)
    assert thumbnail.pixels.shape == (400, 782, 3)
    assert max(thumbnail.pixels.shape) <= SIDE
    assert thumbnail.steps == (3, 3)
    np.testing.assert_allclose(thumbnail.pixels, means_of_squares(pixels, 3), atol=0.5)


def test_coarsest_level_that_is_large_enough_is_read(images):
    with tifffile.TiffWriter(images / "a.tif") as tif:
        options = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
        tif.write(np.full((2000, 4000, 3), 10, np.uint8), subifds=3, **options)
        for level, value in [(2, 20), (4, 40), (8, 80)]:
            tif.write(np.full((2000 // level, 4000 // level, 3), value, np.uint8), subfiletype=1, **options)
    thumbnail = read_thumbnail(images / "a.tif", None, None, 1, None)
    assert np.unique(thumbnail.pixels).tolist() == [40]
    assert (thumbnail.pixels.shape, thumbnail.steps) == ((500, 1000, 3), (4, 4))


def test_level_that_cannot_be_decoded_is_passed_over(images):
    with tifffile.TiffWriter(images / "a.tif") as tif:
        options = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
        tif.write(np.full((2000, 4000, 3), 10, np.uint8), subifds=2, **options)
        tif.write(np.full((1000, 2000, 3), 20, np.uint8), subfiletype=1, **options)
        tif.write(np.full((500, 1000, 3), 40, np.uint8), subfiletype=1, **options)
    with tifffile.TiffFile(images / "a.tif", mode="r+b") as tif:
        tif.series[0].levels[2].pages[0].tags[259].overwrite(34676)  # SGILOG
    thumbnail = read_thumbnail(images / "a.tif", None, None, 1, None)
    assert np.unique(thumbnail.pixels).tolist() == [20]


def test_image_of_one_tall_strip_is_read_in_parts(images, noise):
    pixels = noise(5000, 60, 3)
    tifffile.imwrite(images / "a.tif", pixels, photometric="rgb", compression="zlib", rowsperstrip=5000)
    thumbnail = read_thumbnail(images / "a.tif", None, None, 1, None)
    np.testing.assert_allclose(thumbnail.pixels, means_of_squares(pixels, 5), atol=0.5)


def test_sixteen_bits_are_spread_over_what_eyes_can_see(images):
    pixels = np.linspace(1000, 1400, 10_000).reshape(100, 100).astype(np.uint16)
    tifffile.imwrite(images / "a.tif", pixels)
    shown = read_thumbnail(images / "a.tif", None, None, 1, None).pixels
    assert (shown[..., 0] == shown[..., 1]).all()
    assert (shown[0, 0, 0], shown[-1, -1, 0]) == (0, 255)
    assert 120 < shown[50, 0, 0] < 135


def test_chosen_channels_are_red_green_and_blue(images, noise):
    pixels = noise(60, 60, 6, dtype=np.uint16)
    tifffile.imwrite(images / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    shown = read_thumbnail(images / "a.tif", [4, 3, 2], None, 1, None).pixels
    for place, channel in enumerate([3, 2, 1]):
        order = np.argsort(pixels[..., channel].ravel(), kind="stable")
        assert (np.diff(shown[..., place].ravel()[order].astype(int)) >= 0).all()


@pytest.mark.filterwarnings("error")
def test_image_of_nothing_but_nodata_is_black(images):
    for pixels, tags in (
        (np.full((20, 20), np.nan, np.float32), []),
        (np.full((20, 20), 255, np.uint8), [(42113, 2, 0, "255", True)]),
    ):
        tifffile.imwrite(images / "a.tif", pixels, extratags=tags)
        assert not read_thumbnail(images / "a.tif", None, None, 1, None).pixels.any()


def test_overview_and_label_of_a_slide_are_not_shown(images):
    with tifffile.TiffWriter(images / "a.tif") as tif:
        tif.write(np.full((64, 64, 3), 10, np.uint8), photometric="rgb")
        tif.write(np.full((900, 900, 3), 200, np.uint8), photometric="rgb", metadata={"Name": "label"})
    assert np.unique(read_thumbnail(images / "a.tif", None, None, 1, None).pixels).tolist() == [10]


def test_what_is_not_an_image_has_no_picture(images):
    (images / "a.tif").write_bytes(b"nothing")
    with pytest.raises(ImageError):
        read_thumbnail(images / "a.tif", None, None, 1, None)


def test_blank_picture_has_the_proportions_of_the_image():
    blank = blank_thumbnail(5000, 10_000, "why")
    assert blank.pixels.shape == (500, 1000, 3)
    assert (blank.steps, blank.problem) == ((10, 10), "why")
