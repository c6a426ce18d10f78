"""LERC segments of a TIFF, held against GDAL."""

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile

from comparison import open_reader
from quadrat.errors import ImageError
from quadrat.grid import Window
from traps import written_by_gdal

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
CODECS = ["lerc", "lerc_deflate", "lerc_zstd"]
TILES = {"tiled": True, "blockxsize": 32, "blockysize": 32}
LAYOUTS = [TILES, {"blockysize": 24}, TILES | {"interleave": "pixel"}, TILES | {"interleave": "band"}]
HOLES = {
    "in one tile": [np.s_[:, :20, :20]],
    "a whole tile": [np.s_[:, :32, :32]],
    "everywhere": [np.s_[:]],
    "in one channel": [np.s_[:1, :20, :20]],
    "elsewhere in each channel": [np.s_[:1, :20, :20], np.s_[-1:, 10:40, 10:]],
}


def assert_read_as_by_gdal(path):
    with rasterio.open(path) as image, open_reader(path) as reader:
        expected = image.read().transpose(1, 2, 0)
        (block,) = reader.read_blocks([Window(0, 0, *expected.shape[:2])], 2)
        np.testing.assert_array_equal(block, expected)
        return reader.info, expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("holes", HOLES)
@pytest.mark.parametrize(("dtype", "count"), [("float32", 1), ("float32", 3), ("float64", 2)])
def test_masked_floats_are_nan_as_for_gdal(tmp_path, noise, layout, holes, dtype, count):
    pixels = noise(count, 70, 50).astype(dtype)
    for hole in HOLES[holes]:
        pixels[hole] = np.nan
    options = {"compress": "lerc", "nodata": np.nan} | layout
    with written_by_gdal(tmp_path / "a.tif", count, dtype, (70, 50), **options) as image:
        image.write(pixels)
    info, expected = assert_read_as_by_gdal(tmp_path / "a.tif")
    np.testing.assert_array_equal(expected, pixels.transpose(1, 2, 0))
    assert np.isnan(info.nodata).all()


OPACITIES = {
    "opaque": lambda alpha: np.full_like(alpha, 255),
    "transparent": np.zeros_like,
    "binary": lambda alpha: np.where(alpha > 99, np.uint8(255), np.uint8(0)),
    "binary in some tiles": lambda alpha: np.concatenate(
        [alpha[:32] // 100 * 127 + 1, alpha[32:] // 99 % 2 * 255]
    ),
    "of any value": lambda alpha: alpha,
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("opacity", OPACITIES)
@pytest.mark.parametrize("count", [2, 4])
def test_alpha_is_read_whether_it_is_stored_as_mask_or_as_sample(tmp_path, noise, codec, opacity, count):
    pixels = noise(count, 70, 50)
    pixels[-1] = OPACITIES[opacity](pixels[-1])
    options = TILES | {"compress": codec, "interleave": "pixel", "alpha": "yes"}
    options |= {"photometric": "rgb"} if count == 4 else {}
    with written_by_gdal(tmp_path / "a.tif", count, "uint8", (70, 50), **options) as image:
        image.write(pixels)
    info, expected = assert_read_as_by_gdal(tmp_path / "a.tif")
    np.testing.assert_array_equal(expected[..., -1], pixels[-1])
    assert info.alpha == count


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 0), ("int16", -9999), ("uint16", 7), ("float32", -9999)]
)
def test_samples_without_a_mask_are_as_they_were(tmp_path, noise, codec, dtype, nodata):
    pixels = noise(1, 70, 50).astype(dtype)
    pixels[:, :40, :7] = nodata
    options = TILES | {"compress": codec, "nodata": nodata}
    with written_by_gdal(tmp_path / "a.tif", 1, dtype, (70, 50), **options) as image:
        image.write(pixels)
    info, expected = assert_read_as_by_gdal(tmp_path / "a.tif")
    np.testing.assert_array_equal(expected, pixels.transpose(1, 2, 0))
    assert info.nodata == (nodata,)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (np.zeros((16, 24), np.float32), "16 x 24 x 1 float32, 32 x 32 x 1 float32 expected"),
        (np.zeros((32, 32), np.int16), "32 x 32 x 1 int16, 32 x 32 x 1 float32 expected"),
        (np.zeros((6000, 6000), np.float32), "claims 6,000 x 6,000 px"),
    ],
)
@pytest.mark.parametrize("inner", [None, imagecodecs.zlib_encode])
def test_segment_of_another_size_or_type_is_refused(tmp_path, noise, blob, reason, inner):
    options = {"compression": "lerc", "tile": (32, 32), "photometric": "minisblack", "metadata": None}
    if inner:
        options["compressionargs"] = {"compression": "deflate"}
    tifffile.imwrite(tmp_path / "a.tif", noise(32, 32).astype(np.float32), **options)
    data = imagecodecs.lerc_encode(blob)
    data = inner(data) if inner else data
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
        assert len(data) <= count
        tif.filehandle.seek(offset)
        tif.filehandle.write(data.ljust(count, b"\0"))
    with open_reader(tmp_path / "a.tif") as reader, pytest.raises(ImageError, match=reason):
        list(reader.read_blocks([Window(0, 0, 32, 32)], 1))
