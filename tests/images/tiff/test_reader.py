import itertools
import tracemalloc
import zlib
from collections import deque

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comparison import assert_reads, load_tiff, open_reader, row_blocks, slice_of
from quadrat.errors import ImageError, MemoryBudgetError
from quadrat.grid import PatchGrid, Window
from quadrat.images.budget import MB
from quadrat.images.tiff.reader import STREAM_BYTES
from quadrat.patches.stream import stream_patches
from traps import GRAY, HEIGHT, RGB, TIFF_TRAPS, TILE, WIDTH, X, Y

GRIDS = list(itertools.product((256, 512), (512, 300, 700), ("drop", "pad", "partial", "shift")))

NO_COLORS = np.zeros((3, 256), np.uint16)

BLOCKS = {"blockxsize": 16, "blockysize": 16}

# Uncompressed segments are read a few rows at a time, whatever their size.
UNCOMPRESSED = {"bilevel_miniswhite", "u8_miniswhite", "4_bit", "12_bit"}
CODED = [name for name in TIFF_TRAPS if not name.startswith("raw") and name not in UNCOMPRESSED]


def touched_segments(reader, windows):
    """Count the stored segments of one plane that hold a pixel of a window."""
    info = reader.info
    tops, lefts = range(0, info.height, info.segment_height), range(0, info.width, info.segment_width)
    return sum(
        any(
            top < window.y + window.height
            and left < window.x + window.width
            and top + info.segment_height > window.y
            and left + info.segment_width > window.x
            for window in windows
        )
        for top in tops
        for left in lefts
    )


def test_every_block_equals_a_slice_of_the_fully_loaded_image(tiff_trap):
    image = load_tiff(tiff_trap)
    with open_reader(tiff_trap) as reader:
        assert (reader.info.height, reader.info.width, reader.info.channels) == image.shape
        for grid in GRIDS:
            assert_reads(reader, image, row_blocks(reader.info, *grid))


@pytest.mark.parametrize("name", [name for name in TIFF_TRAPS if "deflate" in name and "bilevel" not in name])
def test_segments_decoded_row_by_row_hold_the_same_pixels(name, tiff_trap_path, monkeypatch):
    monkeypatch.setattr("quadrat.images.tiff.reader.STREAM_BYTES", 0)
    path = tiff_trap_path(name)
    image = load_tiff(path)
    with open_reader(path) as reader:
        for grid in ((256, 256, "pad"), (256, 100, "shift"), (128, 300, "partial")):
            assert_reads(reader, image, row_blocks(reader.info, *grid))
        assert reader.segments_decoded == 0


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize(("patch_size", "stride"), [(256, 100), (256, 700), (100, 37)])
def test_every_segment_that_a_block_needs_is_decoded_exactly_once(name, patch_size, stride, tiff_trap_path):
    with open_reader(tiff_trap_path(name)) as reader:
        windows = row_blocks(reader.info, patch_size, stride, "drop")
        planes = reader.info.channels if "planar" in name else 1
        assert len(list(reader.read_blocks(windows, 2))) == len(windows)
        assert reader.segments_decoded == planes * touched_segments(reader, windows)


@pytest.mark.parametrize(
    "name", ["deflate_tiles", "deflate_strips_of_16", "deflate_planar_tiles", "raw_one_strip"]
)
@pytest.mark.parametrize(("patch_size", "stride"), [(128, 128), (100, 37), (64, 150)])
def test_segments_that_no_wanted_window_touches_are_not_decoded(name, patch_size, stride, tiff_trap_path):
    path = tiff_trap_path(name)
    image = load_tiff(path)
    with open_reader(path) as reader:
        grid = PatchGrid(reader.info.height, reader.info.width, patch_size, stride)
        wanted = np.random.default_rng(0).random((grid.rows, grid.cols)) < 0.05
        wanted[0, 0] = True
        windows = list(itertools.compress(grid.windows(), wanted.flat))
        read = [
            (window, patch.copy())
            for run in stream_patches(reader, grid, 2, wanted)
            for (_, _, window), patch in zip(run.positions, run.patches, strict=True)
        ]
        assert [window for window, _ in read] == windows
        for window, patch in read:
            np.testing.assert_array_equal(patch, slice_of(image, window, 0))
        if "raw" not in name:  # whose pieces are not the segments of the file
            planes = 3 if "planar" in name else 1
            assert reader.segments_decoded == planes * touched_segments(reader, windows)
        assert reader.segments_decoded > 0


def test_column_blocks_that_meet_the_tiles_decode_each_tile_once(tiff_trap_path):
    path = tiff_trap_path("deflate_tiles")
    windows = [Window(y, x, 128, 224) for y in range(0, HEIGHT, 128) for x in range(0, WIDTH, 224)]
    with open_reader(path) as reader:
        assert_reads(reader, RGB, windows)
        assert reader.segments_decoded == touched_segments(reader, windows)


def test_column_blocks_that_do_not_meet_the_tiles_are_right_too(tiff_trap_path):
    windows = [Window(y, x, 150, 200) for y in range(0, HEIGHT, 90) for x in range(0, WIDTH, 130)]
    with open_reader(tiff_trap_path("deflate_planar_tiles")) as reader:
        assert_reads(reader, RGB, windows)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_changes_nothing(threads, tiff_trap_path):
    for name in ("deflate_strips_of_37", "deflate_tall_strips", "deflate_planar_strips", "deflate_one_tile"):
        with open_reader(tiff_trap_path(name)) as reader:
            assert_reads(reader, RGB, row_blocks(reader.info, 256, 100, "pad"), threads)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_segment_and_grid_gives_slices_of_the_image(data, tmp_path):
    height, width, patch_size, stride = (data.draw(st.integers(1, 150)) for _ in range(4))
    channels = data.draw(st.sampled_from([1, 3]))
    edge = data.draw(st.sampled_from(["drop", "pad", "partial", "shift"]))
    image = ((Y[:height, :width, None] * 150 + X[:height, :width, None]) * 2 + np.arange(channels)).astype(
        "u2"
    )
    is_planar = channels > 1 and data.draw(st.booleans())
    storage = {"compression": data.draw(st.sampled_from([None, "zlib", "lzw"]))}
    if data.draw(st.booleans()):
        storage["tile"] = tuple(16 * data.draw(st.integers(1, 6)) for _ in range(2))
    else:
        storage["rowsperstrip"] = data.draw(st.integers(1, 160))
    if channels > 1:
        storage["planarconfig"] = "separate" if is_planar else "contig"
    stored = image.transpose(2, 0, 1) if is_planar else image.squeeze(2) if channels == 1 else image
    path = tmp_path / "any.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", metadata=None, **storage)
    with open_reader(path) as reader:
        assert_reads(reader, image, row_blocks(reader.info, patch_size, stride, edge), threads=2)


def test_channels_are_read_in_the_order_asked_for(tiff_trap_path):
    for name in ("deflate_tiles", "deflate_planar_tiles", "raw_planar_strips", "raw_one_strip", "palette"):
        path = tiff_trap_path(name)
        image = load_tiff(path)
        with open_reader(path, channels=(3, 1, 3)) as reader:
            assert_reads(reader, image[..., [2, 0, 2]], row_blocks(reader.info, 256, 200, "pad"))


def test_planar_files_decode_only_the_planes_of_wanted_channels(tiff_trap_path):
    with open_reader(tiff_trap_path("deflate_planar_tiles"), channels=(2,)) as reader:
        windows = row_blocks(reader.info, 256, 256, "drop")
        assert_reads(reader, RGB[..., 1:2], windows)
        assert reader.segments_decoded == touched_segments(reader, windows)


@pytest.mark.parametrize("name", ["pyramid_in_subifds", "gdal_jpeg_with_overviews_and_mask"])
def test_levels_of_a_pyramid_are_read(name, tiff_trap_path):
    path = tiff_trap_path(name)
    for level, step in enumerate((1, 2, 4)):
        image = load_tiff(path, level)
        assert image.shape[:2] == (-(-HEIGHT // step), -(-WIDTH // step))
        with open_reader(path, level=level) as reader:
            assert (reader.info.level, reader.info.level_count) == (level, 3)
            assert reader.info.downsample == (step, step)
            assert_reads(reader, image, row_blocks(reader.info, 128, 100, "pad"))
    with pytest.raises(ImageError, match="level 3 does not exist; the image has levels 0 to 2"):
        open_reader(path, level=3)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_scale_of_the_levels_of_a_narrow_image_is_that_of_gdal(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", "GTiff", 23, 3001, 1, dtype="uint8", tiled=True, **BLOCKS) as image:
        image.write(np.zeros((1, 3001, 23), np.uint8))
        image.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
    with rasterio.open(path) as image:
        factors = image.overviews(1)
    for level, factor in enumerate(factors, start=1):
        with open_reader(path, level=level) as reader:
            assert reader.info.downsample == (factor, factor)
            assert reader.info.full_size == (3001, 23)


def test_channels_stored_as_pages_are_channels(tmp_path):
    stack = np.stack([np.stack([GRAY + z + 10 * c for c in range(3)]) for z in range(2)])
    for name, options in {
        "imagej": {"imagej": True, "metadata": {"axes": "ZCYX"}},
        "ome": {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "zlib"},
    }.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
        with open_reader(path, channels=(3, 1)) as reader:
            assert_reads(
                reader, stack[0, [2, 0]].transpose(1, 2, 0), row_blocks(reader.info, 256, 256, "pad")
            )
            assert "axis Z has 2 planes: the first is read" in reader.info.notes


def test_blocks_can_be_read_again(tiff_trap_path):
    with open_reader(tiff_trap_path("deflate_tiles")) as reader:
        for _ in range(2):
            assert_reads(reader, RGB, row_blocks(reader.info, 256, 256, "drop"))


def test_a_consumer_may_stop_early(tiff_trap_path):
    with open_reader(tiff_trap_path("deflate_tiles")) as reader:
        blocks = reader.read_blocks(row_blocks(reader.info, 128, 128, "drop"), 2)
        next(blocks)
        blocks.close()


def test_pixels_outside_the_image_are_its_nodata_value(tiff_trap_path):
    with open_reader(tiff_trap_path("sparse_with_nodata")) as reader:
        (block,) = reader.read_blocks([Window(HEIGHT - 1, WIDTH - 1, 4, 4)], 1)
        assert reader.info.fill == (-9999,)
        assert (block[1:] == -9999).all()
        assert (block[:, 1:] == -9999).all()


def test_what_was_done_to_the_pixels_is_noted(tiff_trap_path):
    notes = {
        "palette": "palette expanded to RGB",
        "u8_miniswhite": "MINISWHITE samples are as stored: 0 is white",
        "stack_of_pages": "planes: the first is read",
        "ome_z_stack": "axis Z has 3 planes: the first is read",
        "sparse_with_nodata": "segments are not in the file: they are -9999",
        "gdal_jpeg_with_overviews_and_mask": "YCbCr converted to RGB",
    }
    for name, note in notes.items():
        with open_reader(tiff_trap_path(name)) as reader:
            assert any(note in one for one in reader.info.notes), name


def test_little_memory_costs_look_ahead_and_threads_but_not_pixels(tiff_trap_path):
    for name in ("deflate_tall_strips", "lzw_strips", "jpeg2000_tiles"):
        path = tiff_trap_path(name)
        with open_reader(path, memory_mb=8) as reader:
            assert_reads(reader, load_tiff(path), row_blocks(reader.info, 256, 200, "pad"), threads=8)


def test_blocks_that_do_not_fit_the_memory_are_refused(tiff_trap_path):
    with (
        open_reader(tiff_trap_path("lzw_strips"), memory_mb=1) as reader,
        pytest.raises(MemoryBudgetError, match="the reader may use 1 MB"),
    ):
        reader.read_blocks(row_blocks(reader.info, 1000, 1000, "pad"), 2)


@pytest.mark.parametrize(
    "layout",
    [
        {"compression": "zlib", "photometric": "rgb", "rowsperstrip": 1},
        {"compression": "lzw", "photometric": "rgb", "rowsperstrip": 1},
        {"compression": "zstd", "photometric": "rgb", "tile": (16, 16)},
        {"compression": "zlib", "photometric": "palette", "rowsperstrip": 1, "colormap": NO_COLORS},
    ],
    ids=["deflate strips", "LZW strips", "ZSTD tiles", "deflate strips of a palette"],
)
def test_small_segments_that_are_read_together_stay_within_the_memory(layout, tmp_path):
    shape = (1024, 1500) if "colormap" in layout else (1024, 1500, 3)
    path = tmp_path / "small.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 256, shape, np.uint8), **layout)
    for memory_mb in itertools.count(1):
        with open_reader(path, memory_mb=memory_mb) as reader:
            try:
                arrays = reader.read_blocks(row_blocks(reader.info, 512, 512, "drop"), 1)
            except MemoryBudgetError:
                continue
            tracemalloc.start()
            deque(arrays, maxlen=0)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            break
    assert peak < memory_mb * MB


def test_a_deflate_strip_that_does_not_fit_is_decoded_row_by_row(tmp_path):
    path, image = tmp_path / "tall.tif", np.tile(RGB, (3, 2, 1))
    tifffile.imwrite(path, image, photometric="rgb", compression="zlib", rowsperstrip=len(image))
    with open_reader(path, memory_mb=14) as reader:
        assert_reads(reader, image, row_blocks(reader.info, 128, 128, "pad"), threads=1)
        assert reader.segments_decoded == 0


def test_another_codec_in_a_segment_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "lzw.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", compression="lzw", rowsperstrip=HEIGHT)
    with pytest.raises(
        MemoryBudgetError, match="decoding one LZW strip of 619 x 1,061 px needs about"
    ) as error:
        open_reader(path, memory_mb=3)
    assert "gdal_translate" in error.value.hint


def test_files_of_one_layout_but_other_order_of_bytes_are_native(tmp_path):
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, GRAY.astype(">u2"), byteorder=">", photometric="minisblack", **TILE)
    with open_reader(path) as reader:
        assert reader.info.dtype == np.dtype("=u2")
        assert reader.info.dtype.isnative


@pytest.mark.parametrize(
    ("name", "height"),
    [
        ("deflate_strips_of_37", 37),
        ("deflate_tiles", TILE["tile"][0]),
        ("deflate_one_strip", HEIGHT),
        ("raw_one_strip", 2**20 // (3 * WIDTH)),
        ("raw_tiles", TILE["tile"][0]),
    ],
)
def test_height_that_is_decoded_at_once_is_told(name, height, tiff_trap_path):
    with open_reader(tiff_trap_path(name)) as reader:
        assert reader.info.seek_height == height


@pytest.mark.parametrize("most", [0, STREAM_BYTES])
def test_blocks_that_begin_halfway_equal_slices_too(tiff_trap_path, monkeypatch, most):
    monkeypatch.setattr("quadrat.images.tiff.reader.STREAM_BYTES", most)
    for name in (
        "deflate_tiles",
        "deflate_strips_of_37",
        "deflate_tall_strips",
        "raw_one_strip",
        "lzw_strips",
    ):
        with open_reader(tiff_trap_path(name)) as reader:
            assert_reads(reader, RGB, row_blocks(reader.info, 256, 100, "pad")[3:6])


@pytest.fixture
def tall_strips(tmp_path):
    """Write an image of two deflate strips; give its path, and place and size of the second strip."""
    path = tmp_path / "tall.tif"
    storage = {"compression": "zlib", "rowsperstrip": 600, "metadata": None}
    tifffile.imwrite(path, RGB, photometric="rgb", **storage)
    with tifffile.TiffFile(path) as tif:
        return path, tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]


def test_segment_that_is_not_in_the_file_is_filled_row_by_row(tall_strips, monkeypatch):
    monkeypatch.setattr("quadrat.images.tiff.reader.STREAM_BYTES", 0)
    path, _, count = tall_strips
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[279].overwrite((0, count))
    expected = RGB.copy()
    expected[:600] = 0
    with open_reader(path) as reader:
        assert_reads(reader, expected, row_blocks(reader.info, 256, 200, "pad"))


TOO_EARLY = r"^broken: segment 2 of 2 ends [\d,]+ bytes of pixels too early$"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda data: b"\xff" * len(data), "segment 2 of 2 cannot be decoded as DEFLATE"),
        (lambda data: zlib.compress(bytes(1000)).ljust(len(data), b"\0"), TOO_EARLY),
        (lambda data: data[: len(data) // 2], TOO_EARLY),
    ],
)
def test_broken_segment_is_refused_row_by_row_too(broken, reason, tall_strips, monkeypatch):
    monkeypatch.setattr("quadrat.images.tiff.reader.STREAM_BYTES", 0)
    path, offset, count = tall_strips
    content = path.read_bytes()
    data = broken(content[offset : offset + count])
    path.write_bytes(content[:offset] + data + content[offset + count :])
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[279].overwrite((tif.pages[0].databytecounts[0], len(data)))
    with open_reader(path) as reader, pytest.raises(ImageError, match=reason):
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "pad"), 1))
