"""Nodata and masks of TIFFs and VRTs, held against GDAL's."""

from fractions import Fraction

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from comparison import open_reader, open_with_validity
from quadrat.grid import Window
from quadrat.images.nodata import is_nodata
from quadrat.images.resampled import ResampledReader
from quadrat.patches.skips import PatchRules
from quadrat.settings import ReadSettings
from traps import written_by_gdal

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
LARGEST = float(np.finfo(np.float32).max)
# Samples at and beside all of the values below.
INTEGERS = [0, 1, 5, 7, 10, 127, 254, 255, -1, -9, -128, -9999, -10000, -32768, 2**15, 2**31 - 1, -(2**31)]
INTEGERS += [2**32 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]
FLOATS = [
    0.0,
    np.nan,
    np.inf,
    -np.inf,
    0.1,
    1.0,
    1 + 2e-7,
    1 + 6e-7,
    -9999.0,
    -9999.001,
    -9999.01,
    1e-30,
    1e-45,
]
FLOATS += [LARGEST, -LARGEST, -3.4028230607370965e38, -3.4e38, 3.4e38, -1e38, -1e20, -1.7976931348623157e308]
TEXTS = {
    "uint8": [
        "255",
        "255.0",
        "254.5",
        "255.4",
        "256",
        "-1",
        "-0.5",
        "-9999",
        "1e400",
        "nan",
        "",
        " 7 ",
        "7abc",
    ],
    "int8": ["-128", "-129", "5.9", "200"],
    "uint16": ["65535", "70000", "-9999.0", "1e1", "7,0", "inf"],
    "int16": ["-9999", "-9999.0", "-9999.5", "-32768.0", "65535", "-40000", "nan"],
    "uint32": ["4294967295", "4294967296", "-1"],
    "int32": ["-2147483648", "-2147483648.0", "2147483647", "-2147483649"],
    "int64": ["9007199254740993", "-9223372036854775808", "9223372036854775807", "-9999.0", " 5"],
    "uint64": ["9007199254740993", "18446744073709551615", "255.0"],
    "float32": [
        *("-3.4028234663852886e+38", "-3.4028235e+38", "-3.402823e+38", "-3.4e+38", "3.4028234663852886e+38"),
        *(
            "-1.7976931348623157e+308",
            "1e400",
            "nan",
            "inf",
            "-inf",
            "-9999",
            "0",
            "0.1",
            "1",
            "1.#QNAN",
            "1e-45",
        ),
    ],
    "float64": ["-1.7976931348623157e+308", "-3.4028234663852886e+38", "1e400", "nan", "-9999", "0.1", "1"],
}
DECLARED = [(dtype, text) for dtype, texts in TEXTS.items() for text in texts]


def samples_of(dtype):
    """Return all samples above that a type has, as an image of one row."""
    if np.dtype(dtype).kind == "f":
        with np.errstate(over="ignore"):
            return np.array([FLOATS], dtype)
    limits = np.iinfo(dtype)
    return np.array([[value for value in INTEGERS if limits.min <= value <= limits.max]], dtype)


def write_declaring(path, pixels, text, **options):
    tags = [(42113, 2, 0, text, True)]
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, extratags=tags, **options)


def read_whole(reader):
    """Return all pixels of an image, and a row and a column outside of it."""
    (block,) = reader.read_blocks([Window(0, 0, reader.info.height + 1, reader.info.width + 1)], 1)
    return block.copy()


def mask_of(pixels, nodata):
    """Return for each pixel whether it is nodata, by the rule that skips patches."""
    rules = PatchRules({"nodata": 1.0}, nodata, None)
    return np.array([[rules.reason(pixel[None, None]) == "nodata" for pixel in row] for row in pixels])


@pytest.mark.parametrize(("dtype", "text"), DECLARED)
def test_samples_that_are_nodata_are_those_of_the_mask_of_gdal(dtype, text, tmp_path):
    write_declaring(tmp_path / "a.tif", samples_of(dtype), text)
    with rasterio.open(tmp_path / "a.tif") as image, open_reader(tmp_path / "a.tif") as reader:
        mask = image.read_masks(1) == 0
        (block,) = reader.read_blocks([Window(0, 0, 1, mask.shape[1])], 1)
        np.testing.assert_array_equal(mask_of(block, reader.info), mask)


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("uint8", "none", None),
        ("float32", "-nan", np.nan),
        ("int64", "1e3", 1000),
        ("int64", "nan", None),
        ("uint64", "-1", None),
        ("uint8", "1e999999999999", None),
        ("uint8", "1e-999999999", 0),
    ],
)
def test_texts_that_gdal_takes_for_another_number_are_what_they_say(dtype, text, expected, tmp_path):
    write_declaring(tmp_path / "a.tif", samples_of(dtype), text)
    with open_reader(tmp_path / "a.tif") as reader:
        found = reader.info.nodata
    assert found is None if expected is None else np.array_equal(found, [expected], equal_nan=True)


def test_nodata_of_halves_and_bits_is_a_sample_of_theirs(tmp_path):
    for name, pixels, text, expected in (
        ("half", np.array([[-9999, 0.1, 3]], np.float16), "0.1", [[False, True, False]]),
        ("half", np.array([[-65504, 0.1, 3]], np.float16), "-65504", [[True, False, False]]),
        ("bits", np.array([[True, False]]), "0", [[False, True]]),
        ("bits", np.array([[True, False]]), "255", [[False, False]]),
    ):
        write_declaring(tmp_path / f"{name}.tif", pixels, text)
        with open_reader(tmp_path / f"{name}.tif") as reader:
            np.testing.assert_array_equal(mask_of(read_whole(reader)[:-1, :-1], reader.info), expected)


SPARSE = [("uint8", "255.0"), ("uint8", "-9999"), ("int16", "-9999.0"), ("int64", "9007199254740993")]
SPARSE += [("uint64", "18446744073709551615"), ("float32", "-3.4028234663852886e+38"), ("float32", "nan")]
SPARSE += [("float32", "-3.4e+38"), ("float64", "-1.7976931348623157e+308")]


@pytest.mark.parametrize(("dtype", "text"), SPARSE)
def test_tiles_that_are_left_out_and_padding_have_the_value_of_gdal(dtype, text, tmp_path):
    storage = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate", "SPARSE_OK": "TRUE"}
    with written_by_gdal(tmp_path / "a.tif", 1, dtype, (40, 40), nodata=0, **storage) as image:
        image.write(np.ones((16, 16), dtype), 1, window=RasterWindow(16, 0, 16, 16))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        tif.pages[0].tags[42113].overwrite(text)
    with rasterio.open(tmp_path / "a.tif") as image, open_reader(tmp_path / "a.tif") as reader:
        block = read_whole(reader)
        np.testing.assert_array_equal(block[:-1, :-1, 0], image.read(1))
        for outside in (block[-1], block[:, -1]):
            np.testing.assert_array_equal(outside[:, 0], np.full(41, image.read(1)[0, 0]))
        np.testing.assert_array_equal(mask_of(block[:-1, :-1], reader.info), image.read_masks(1) == 0)


def test_nodata_takes_no_part_in_means_and_keeps_its_value_where_there_is_nothing_else(tmp_path):
    for dtype, value in (("float32", -LARGEST), ("int64", 2**53 + 1), ("uint64", 2**64 - 1), ("uint8", 99)):
        pixels = np.arange(48).reshape(4, 12).astype(dtype)
        pixels[:, :5] = value
        write_declaring(tmp_path / "a.tif", pixels, str(value))
        with open_reader(tmp_path / "a.tif") as stored:
            (block,) = ResampledReader(stored, Fraction(4)).read_blocks([Window(0, 0, 2, 3)], 1)
        means = [value, round(pixels[:, 5:8].mean(dtype=float)), round(pixels[:, 8:].mean(dtype=float))]
        exact = [value, pixels[:, 5:8].mean(dtype=float), pixels[:, 8:].mean(dtype=float)]
        expected = np.array([exact if dtype == "float32" else means, [value] * 3], dtype)
        np.testing.assert_array_equal(block[..., 0], expected)


BAND = """<VRTRasterBand dataType="{dtype}" band="{band}">{nodata}<SimpleSource>
<SourceFilename relativeToVRT="1">{band}.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand>
"""
TRANSFORM = Affine(10, 0, 5e5, 0, -10, 4e6)


@pytest.fixture
def write_bands(tmp_path):
    """Return a function that writes a VRT of bands with nodata values of their own, and returns its path."""

    def write(bands, values):
        height, width = bands[0].shape
        for number, pixels in enumerate(bands, start=1):
            with written_by_gdal(tmp_path / f"{number}.tif", 1, pixels.dtype, pixels.shape) as image:
                image.write(pixels, 1)
        texts = ["" if value is None else f"<NoDataValue>{value}</NoDataValue>" for value in values]
        kind = {"uint8": "Byte"}.get(bands[0].dtype.name, bands[0].dtype.name.title().replace("Ui", "UI"))
        parts = [BAND.format(dtype=kind, band=band, nodata=text) for band, text in enumerate(texts, start=1)]
        head = f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:32612</SRS>'
        head += "<GeoTransform>500000,10,0,4000000,0,-10</GeoTransform>"
        (tmp_path / "a.vrt").write_text(head + "".join(parts) + "</VRTDataset>")
        return tmp_path / "a.vrt"

    return write


@pytest.fixture
def bands(noise):
    """Return three bands with holes of values of their own, which overlap in part."""
    bands = noise(40, 60, 3).transpose(2, 0, 1) % 200 + 20
    for band, value, columns in zip(bands, (0, 255, 9), (40, 30, 20), strict=True):
        band[5:33, :columns] = value
    return np.ascontiguousarray(bands.astype(np.uint8))


@pytest.mark.parametrize("values", [(0, 255, 9), (0, 255, None), (0, 300, 9), (None, None, None)])
@pytest.mark.parametrize("channels", [(1, 2, 3), (3, 1), (2,), (2, 2)])
def test_pixel_of_a_vrt_is_nodata_where_each_band_has_its_own_value(write_bands, bands, values, channels):
    path = write_bands(bands, values)
    with rasterio.open(path) as image, open_reader(path, channels=channels) as reader:
        mask = (image.read_masks(list(channels)) == 0).all(axis=0)
        np.testing.assert_array_equal(mask_of(read_whole(reader)[:-1, :-1], reader.info), mask)
        declared = [image.nodatavals[one - 1] for one in channels]
        padding = [value or 0 for value in declared]
        assert read_whole(reader)[-1, -1].tolist() == padding


def test_band_of_a_vrt_is_resampled_by_its_own_value(write_bands, bands):
    path, values, gsd = write_bands(bands, (0, 255, None)), (0, 255, None), 40.0
    with open_with_validity(str(path), ReadSettings(gsd=gsd, skip={"nodata": 1.0}), None) as opened:
        found = read_whole(opened.reader)[:-1, :-1]
    for channel, value in enumerate(values):
        expected = np.full(found.shape[:2], 0 if value is None else value, np.uint8)
        places = {"src_transform": TRANSFORM, "dst_transform": Affine(40, 0, 5e5, 0, -40, 4e6)}
        places |= {"src_crs": "EPSG:32612", "dst_crs": "EPSG:32612", "resampling": Resampling.average}
        reproject(bands[channel], expected, src_nodata=value, dst_nodata=value, **places)
        assert np.abs(expected.astype(int) - found[..., channel]).max() <= 1  # GDAL rounds halves up


@pytest.mark.parametrize("value", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_integers_of_64_bit_in_a_vrt_are_nodata_to_the_last_bit(write_bands, value):
    pixels = np.array([[value, value + 1 if value < 0 else value - 1, 0, 5]], np.int64)
    path = write_bands([pixels, pixels], (value, 5))
    with rasterio.open(path) as image, open_reader(path) as reader:
        block = read_whole(reader)
        for channel, mask in enumerate(image.read_masks() == 0):
            found = is_nodata(block[:-1, :-1, channel], reader.info.nodata[channel])
            np.testing.assert_array_equal(found, mask)
        assert block[-1, -1].tolist() == [value, 5]


def test_image_with_a_mask_is_padded_with_its_nodata_value(tmp_path):
    mask = np.full((40, 30), 255, np.uint8)
    mask[:, :7] = 0
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        written_by_gdal(tmp_path / "a.tif", 2, "uint8", (40, 30), nodata=5) as image,
    ):
        image.write(np.full((2, 40, 30), 9, np.uint8))
        image.write_mask(mask)
    with open_with_validity(str(tmp_path / "a.tif"), ReadSettings(skip={"nodata": 1.0}), None) as opened:
        block = read_whole(opened.reader)
        np.testing.assert_array_equal(block[:-1, :-1, opened.validity] == 0, mask == 0)
        assert block[-1, -1].tolist() == [5, 5, 0]
