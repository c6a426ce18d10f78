import imagecodecs
import numpy as np
import pytest
import tifffile

from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError
from quadrat.images.tiff.codecs import ByteDecoder
from traps import F32, GRAY, HEIGHT, RGB, U16, WIDTH

IMAGES = {
    "u1": GRAY,
    "i1": (GRAY >> 1).astype("i1"),
    "u2": U16,
    "i4": U16.astype("i4") << 9,
    "u8": U16.astype("u8") << 40,
    "f4": F32,
    "f8": F32.astype("f8"),
    "rgb": RGB,
    "5_channels": np.dstack([U16 + 7 * number for number in range(5)]),
}


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize(
    ("name", "codec"), [(name, "zlib") for name in IMAGES] + [("rgb", "zstd"), ("u2", "lzma")]
)
def test_every_type_and_codec_gives_the_pixels_that_were_written(name, codec, predictor, tmp_path):
    pixels, path = IMAGES[name], tmp_path / "a.tif"
    if predictor == 2 and pixels.dtype.kind == "f":
        pixels = pixels.view(f"u{pixels.dtype.itemsize}")
    storage = {"compression": codec, "predictor": predictor, "metadata": None}
    for segments in ({"rowsperstrip": 1}, {"rowsperstrip": 100}, {"tile": (128, 112)}):
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", **storage, **segments)
        with tifffile.TiffFile(path) as tif:
            assert ByteDecoder.can_decode(tif.pages.first)
        with open_reader(path) as reader:
            image = pixels.reshape(HEIGHT, WIDTH, -1)
            assert_reads(reader, image, row_blocks(reader.info, 512, 300, "pad"))


@pytest.fixture
def strips(tmp_path):
    """Return the path of an image in strips of one row, and where they lie."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", compression="zlib", predictor=True, rowsperstrip=1)
    with tifffile.TiffFile(path) as tif:
        return path, list(tif.pages.first.dataoffsets), list(tif.pages.first.databytecounts)


def test_strips_that_the_file_leaves_out_are_filled_between_their_neighbours(strips):
    path, offsets, counts = strips
    missing = [0, 5, 6, 300, HEIGHT - 1]
    expected = RGB.copy()
    expected[missing] = 0
    with tifffile.TiffFile(path, mode="r+b") as tif:
        page = tif.pages.first
        for code, values in ((273, offsets), (279, counts)):
            kept = [0 if number in missing else value for number, value in enumerate(values)]
            page.tags[code].overwrite(tuple(kept))
    with open_reader(path) as reader:
        assert_reads(reader, expected, row_blocks(reader.info, 512, 300, "pad"))
        assert reader.info.notes[-1] == f"5 of {HEIGHT:,} segments are not in the file: they are 0"


@pytest.mark.parametrize("row", [0, 7, HEIGHT - 1])
def test_a_broken_strip_is_named_among_its_neighbours(row, strips):
    path, offsets, counts = strips
    with path.open("r+b") as file:
        file.seek(offsets[row])
        file.write(b"\xff" * counts[row])
    with (
        open_reader(path) as reader,
        pytest.raises(ImageError, match=f"segment {row + 1:,} of {HEIGHT:,} cannot be decoded"),
    ):
        list(reader.read_blocks(row_blocks(reader.info, 512, 512, "pad"), 2))


def test_tiles_may_hold_only_the_rows_that_lie_in_the_image(tmp_path):
    path, side = tmp_path / "a.tif", 128
    pixels = RGB[: side + 50, :side]
    whole = np.zeros((2 * side, side, 3), np.uint8)
    whole[: len(pixels)] = pixels
    tiles = [whole[:side], whole[side:]]
    coded = [imagecodecs.zlib_encode(tile.tobytes()) for tile in (tiles[0], tiles[1][:50])]
    tifffile.imwrite(
        path,
        iter(coded),
        shape=pixels.shape,
        dtype="u1",
        photometric="rgb",
        compression="zlib",
        tile=(side, side),
    )
    with open_reader(path) as reader:
        assert_reads(reader, pixels, row_blocks(reader.info, side, side, "pad"))
