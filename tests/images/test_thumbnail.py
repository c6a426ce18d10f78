import numpy as np
import pytest
import tifffile
from PIL import Image

from quadrat.errors import ImageError, MemoryBudgetError, ResultsError
from quadrat.grid import PatchGrid
from quadrat.images.thumbnail import (
    SIDE,
    AreaMeans,
    WatchedReader,
    blank_thumbnail,
    join_thumbnails,
    load_thumbnail,
    read_thumbnail,
)
from quadrat.patches.stream import stream_patches


def box_means(reader, factor, patch_size, stride=None, completes=True, wanted=None):
    """Return the means of squares of what is read of an image when its patches are streamed."""
    info = reader.info
    shape = (-(-info.height // factor), -(-info.width // factor), info.channels)
    means = AreaMeans(
        np.zeros(shape), np.zeros(shape, np.uint32), np.zeros(shape[:2], bool), factor, (1, 1), False
    )
    watched = WatchedReader(reader, means, [*range(info.channels)])
    watched.completes = completes
    grid = PatchGrid(info.height, info.width, patch_size, stride or patch_size)
    for _ in stream_patches(watched, grid, 1, wanted):
        pass
    return means.means()


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
@pytest.mark.parametrize("patch_size", [13, 32, 90])
def test_squares_that_cross_blocks_and_the_edge_have_their_mean(
    array_reader, noise, segment, factor, patch_size
):
    pixels = noise(90, 130, 3)
    found = box_means(array_reader(pixels, segment), factor, patch_size)
    np.testing.assert_allclose(found, means_of_squares(pixels, factor), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_samples_of_any_type_are_averaged(array_reader, noise, dtype):
    pixels = noise(50, 40, 2, dtype=dtype) * 150 - (90 if dtype != "uint16" else 0)
    found = box_means(array_reader(pixels.astype(dtype)), 8, 32)
    np.testing.assert_allclose(found, means_of_squares(pixels.astype(dtype), 8), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float32", np.nan), ("float32", -9999), ("int16", -9999), ("uint8", 0)]
)
def test_nodata_is_left_out_of_means(array_reader, dtype, nodata):
    pixels = np.full((4, 8, 1), 10, dtype)
    pixels[:2, :2] = pixels[:, 4:] = nodata
    found = box_means(array_reader(pixels, nodata=(nodata,)), 4, 4)
    np.testing.assert_array_equal(found[..., 0], [[10, np.nan]])


def test_patches_that_overlap_are_counted_once(array_reader, noise):
    pixels = noise(90, 130, 3)
    found = box_means(array_reader(pixels), 7, 32, stride=12)
    np.testing.assert_allclose(found, means_of_squares(pixels, 7), rtol=1e-12)


@pytest.mark.parametrize("stride", [8, 16, 24])
def test_of_patches_that_are_not_wanted_nothing_is_counted(array_reader, noise, stride):
    pixels = noise(64, 96, 1)
    grid = PatchGrid(64, 96, 16, stride)
    wanted = np.random.default_rng(5).random((grid.rows, grid.cols)) < 0.4
    found = box_means(array_reader(pixels), 1, 16, stride, completes=False, wanted=wanted)
    expected = np.full(pixels.shape, np.nan)
    for window, is_wanted in zip(grid.windows(), wanted.flat, strict=True):
        if is_wanted:
            part = np.s_[window.y : window.y + window.height, window.x : window.x + window.width]
            expected[part] = pixels[part]
    np.testing.assert_array_equal(found, expected)


def test_sums_of_shards_are_those_of_the_image(array_reader, noise, tmp_path):
    pixels = noise(90, 130, 3)
    paths = []
    for rows in (range(40), range(40, 90)):
        shape = (30, 44, 3)
        means = AreaMeans(
            np.zeros(shape), np.zeros(shape, np.uint32), np.zeros(shape[:2], bool), 3, (3, 3), True
        )
        watched = WatchedReader(array_reader(pixels), means, [0, 1, 2])
        watched.rows = rows
        for _ in stream_patches(watched, PatchGrid(90, 130, 10, 10), 1):
            pass
        paths.append(tmp_path / f"{rows.start}.npz")
        means.save(paths[-1], None)
    expected = np.rint(means_of_squares(pixels, 3))
    np.testing.assert_allclose(join_thumbnails(paths).pixels, expected, atol=0.5)


def test_blocks_that_leave_no_memory_for_more_are_read_alone(array_reader, noise):
    class Tight(array_reader):
        def read_blocks(self, blocks, threads, wanted=None):
            if max(block.x + block.width for block in blocks) > 128:
                raise MemoryBudgetError("too much")
            return super().read_blocks(blocks, threads, wanted)

    pixels = noise(64, 130, 1)
    found = box_means(Tight(pixels), 1, 64)
    np.testing.assert_array_equal(found[:, :128], pixels[:, :128])
    assert np.isnan(found[:, 128:]).all()


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\5\6" + bytes(18)])
def test_file_that_holds_no_thumbnail_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ResultsError, match=r"a\.npz holds no thumbnail"):
        load_thumbnail(tmp_path / "a.npz")


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


def test_given_nodata_takes_no_part_in_a_picture(images):
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20) + 100
    pixels[5:9, 5:9] = 60_000
    for text, given in (("60000", None), ("7", 60_000)):
        tifffile.imwrite(images / f"{text}.tif", pixels, extratags=[(42113, 2, 0, text, True)])
        shown = read_thumbnail(images / f"{text}.tif", None, None, 1, None, given).pixels
        assert not shown[5:9, 5:9].any()
        assert shown[-1, -1, 0] == 255
    assert not np.array_equal(read_thumbnail(images / "7.tif", None, None, 1, None).pixels, shown)


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
