import os

import imagecodecs
import numpy as np
import pytest
import tifffile

from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError, MemoryBudgetError
from traps import GRAY, RGB, TILE, written_by_gdal


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a TIFF, then replaces values of its tags."""

    def write(array=RGB, change=None, photometric="rgb", **options):
        path = tmp_path / "written.tif"
        tifffile.imwrite(path, array, photometric=photometric, metadata=None, **options)
        with tifffile.TiffFile(path, mode="r+b") as tif:
            page = tif.pages[0]
            for code, value in (change(page) if change else {}).items():
                page.tags[code].overwrite(value)
        return path

    return write


def refused(path, match, **options):
    with pytest.raises(ImageError, match=match), open_reader(path, **options) as reader:
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "pad"), 2))


@pytest.mark.parametrize(
    "options",
    [{"compression": "zlib", **TILE}, {"compression": "lzw", "rowsperstrip": 10}, {"rowsperstrip": 10}, TILE],
)
def test_a_truncated_file_is_refused_when_it_is_opened(options, written):
    path = written(**options)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        ends = np.add(page.dataoffsets, page.databytecounts)
    size = int(ends[-1]) - 1000
    path.write_bytes(path.read_bytes()[:size])
    first = int(np.flatnonzero(ends > size)[0])
    reason = f"truncated: segment {first + 1} of {len(ends)} ends {ends[first] - size:,} bytes past the end"
    with pytest.raises(ImageError, match=reason):
        open_reader(path)


def test_a_truncated_single_strip_is_refused_when_it_is_opened(written):
    path = written()
    path.write_bytes(path.read_bytes()[:-1234])
    with pytest.raises(ImageError, match=r"truncated: .* 1,234 bytes past the end of the file"):
        open_reader(path)


@pytest.mark.parametrize(
    "compression", ["zlib", "lzw", "zstd", "jpeg", "jpeg2000", "webp", "lzma", "packbits"]
)
def test_broken_data_are_refused_by_the_segment_that_holds_them(compression, written):
    path = written(compression=compression, **({"rowsperstrip": 100} if compression == "packbits" else TILE))
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[2], tif.pages[0].databytecounts[2]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(range(1, 256)) * (count // 255) + bytes(count % 255)
    path.write_bytes(data)
    refused(path, r"segment 3 of \d+")


def test_a_segment_of_other_size_than_its_neighbours_is_refused(written):
    path = written(compression="zlib", **TILE, change=lambda page: {322: 128})
    refused(path, "segment|expected")


@pytest.mark.parametrize("shape", [(100, 112, 3), (128, 100, 3), (128, 112), (128, 112, 4)])
def test_a_tile_that_decodes_to_another_size_is_refused(shape, tmp_path):
    path, sizes = tmp_path / "tiles.tif", [(128, 112, 3), shape, (128, 112, 3), (128, 112, 3)]
    tiles = (imagecodecs.png_encode(np.zeros(size, np.uint8)) for size in sizes)
    layout = {"shape": (256, 224, 3), "dtype": "uint8", "compression": "png", **TILE}
    tifffile.imwrite(path, tiles, photometric="rgb", metadata=None, **layout)
    refused(path, "^segment 2 of 4 cannot be decoded as PNG$")


def test_too_few_segments_are_refused(written):
    path = written(compression="zlib", rowsperstrip=100, change=lambda page: {257: 2000})
    refused(path, "broken: it lists 11 offsets and 11 byte counts of segments, 20 expected")


def test_a_segment_without_place_is_refused(written):
    def forget(page):
        return {273: (0, *page.dataoffsets[1:])}

    refused(
        written(compression="zlib", rowsperstrip=100, change=forget), "segment 1 of 11 has no valid offset"
    )


def test_an_uncompressed_segment_that_is_too_short_is_refused(written):
    def shorten(page):
        return {279: (page.databytecounts[0], 77, *page.databytecounts[2:])}

    refused(written(rowsperstrip=100, change=shorten), "segment 2 of 11 has 77 bytes, 185,700 expected")


def test_a_file_without_any_segment_is_refused(written):
    path = written(compression="zlib", **TILE, change=lambda page: {325: (0,) * len(page.databytecounts)})
    refused(path, "none of its 54 segments contains data")


def test_an_empty_scene_with_nodata_is_read(tmp_path):
    path = tmp_path / "empty.tif"
    with written_by_gdal(path, 1, "int16", nodata=-1, SPARSE_OK="TRUE", tiled=True, compress="deflate"):
        pass
    with open_reader(path) as reader:
        for block in reader.read_blocks(row_blocks(reader.info, 256, 256, "drop"), 2):
            assert (block == -1).all()


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_a_claim_that_the_data_cannot_hold_is_refused_before_it_is_allocated(compression, written):
    path = written(
        GRAY[:16, :16],
        photometric="minisblack",
        compression=compression,
        change=lambda page: {256: 2**31 - 1, 257: 2**31 - 1, 278: 2**31 - 1},
    )
    refused(path, r"broken: segment 1 of 1 claims 4,611,686,\d{3},\d{3},\d{3},\d{3} bytes")


def test_a_claim_of_a_codec_without_limit_is_refused_by_the_memory(written):
    path = written(
        GRAY[:16, :16],
        photometric="minisblack",
        compression="zstd",
        change=lambda page: {256: 6000, 257: 6000, 278: 6000},
    )
    with pytest.raises(MemoryBudgetError, match="decoding one ZSTD strip of 6,000 x 6,000 px"):
        open_reader(path, memory_mb=50)


def test_a_raw_strip_whose_count_is_wrong_is_read_by_its_size(written):
    with open_reader(written(change=lambda page: {279: 0})) as reader:
        (block,) = reader.read_blocks(row_blocks(reader.info, 1000, 1000, "partial")[:1], 1)
        assert np.array_equal(block, RGB[:1000])


COLORS = np.random.default_rng(1).integers(0, 256, (3, 256)).astype(np.uint16)


def without_first_segment(page):
    return {325: (0, *page.databytecounts[1:])}


def test_segment_that_a_palette_image_leaves_out_has_the_first_colour(written):
    storage = {"colormap": COLORS * 257, "compression": "zlib", **TILE}
    path = written(GRAY, without_first_segment, "palette", **storage)
    expected = COLORS.T.astype(np.uint8)[GRAY]
    expected[: TILE["tile"][0], : TILE["tile"][1]] = COLORS[:, 0]
    with open_reader(path) as reader:
        assert_reads(reader, expected, row_blocks(reader.info, 256, 256, "pad"))


def test_palette_of_an_old_writer_whose_values_are_bytes_is_read(written):
    with open_reader(written(GRAY, None, "palette", colormap=COLORS)) as reader:
        assert_reads(reader, COLORS.T.astype(np.uint8)[GRAY], row_blocks(reader.info, 256, 256, "pad"))


def test_an_image_whose_palette_is_too_short_is_refused(written):
    path = written(GRAY, lambda page: {320: tuple(range(100))}, "palette", colormap=COLORS)
    refused(path, "its palette is missing or too short")


def test_file_that_is_cut_while_it_is_read_is_refused(written):
    path = written(compression="zlib", **TILE)
    with tifffile.TiffFile(path) as tif:
        count = tif.pages[0].databytecounts[-1]
    with open_reader(path) as reader:
        os.truncate(path, path.stat().st_size - count + 10)
        blocks = reader.read_blocks(row_blocks(reader.info, 256, 256, "pad"), 1)
        with pytest.raises(ImageError, match=f"^truncated while it was read: {count - 10:,} bytes at "):
            list(blocks)


def test_bytes_that_the_system_gives_in_parts_are_put_together(written, monkeypatch):
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, offset: read(fd, min(count, 1000), offset))
    with open_reader(written(compression="zlib", rowsperstrip=100)) as reader:
        assert_reads(reader, RGB, row_blocks(reader.info, 256, 256, "pad"))
