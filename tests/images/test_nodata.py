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
from quadrat.config import load_settings
from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.image import Level
from quadrat.images.nodata import is_nodata
from quadrat.images.open import open_image
from quadrat.images.reading import configured_reader, reader_with_validity
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


def test_alpha_of_another_type_than_the_bands_of_a_vrt_is_read_as_their_mask(write_bands, noise):
    """`gdalbuildvrt -addalpha` makes alpha of 8 bit, whatever the bands are."""
    pixels = noise(3, 40, 60, dtype=np.uint16) + 1
    alpha = (noise(40, 60, seed=1) < 150).astype(np.uint8) * 255
    alpha[:12, :20] = 0
    path = write_bands([*pixels, alpha], 4 * [None])
    text = path.read_text().replace('dataType="UInt16" band="4">', 'dataType="Byte" band="4">ALPHA', 1)
    path.write_text(text.replace("ALPHA", "<ColorInterp>Alpha</ColorInterp>"))
    with rasterio.open(path) as image:
        mask = image.dataset_mask() == 0
    with open_image(path) as image:
        found = image.read(level=image.level_for(gsd=40), channels=[1, 2]).transpose(2, 0, 1)
    cells = np.ma.array(pixels[:2], mask=[mask, mask]).reshape(2, 10, 4, 15, 4)
    np.testing.assert_array_equal(found, np.rint(cells.mean(axis=(2, 4))).filled(0))
    reading = ReadSettings(channels=[1, 2], skip={"nodata": 1.0})
    with open_with_validity(str(path), reading) as opened:
        np.testing.assert_array_equal(read_whole(opened.reader)[:-1, :-1, opened.validity] == 0, mask)


# the key `nodata`: other values than those of the file


@pytest.mark.parametrize(("dtype", "text"), [one for one in DECLARED if one[1] not in ("", "1.#QNAN")])
def test_given_value_makes_the_mask_that_gdal_makes_of_a_file_that_declares_it(dtype, text, tmp_path):
    text = text.strip().replace("7abc", "7").replace("7,0", "7.0")
    pixels = samples_of(dtype)
    write_declaring(tmp_path / "declares.tif", pixels, text)
    write_declaring(tmp_path / "other.tif", pixels, "5")
    given = make_nodata(text)
    with rasterio.open(tmp_path / "declares.tif") as image:
        mask = image.read_masks(1) == 0
    with open_image(tmp_path / "other.tif", nodata=given) as image:
        np.testing.assert_array_equal(mask_of(pixels[..., None], image.info), mask)


def make_nodata(value):
    """Return the key `nodata` as a job gets it from the configuration."""
    return load_settings({"nodata": value}).nodata_by_channel


def test_value_that_the_type_does_not_have_is_never_nodata_and_is_noted(tmp_path):
    for given, others in ((-9999, 0), (256, 255), ("nan", 0)):
        write_declaring(tmp_path / "a.tif", np.full((4, 4), others, np.uint8), str(others))
        with open_image(tmp_path / "a.tif", nodata=given) as image:
            assert image.info.nodata is None
            assert image.info.notes == (f"no pixel is nodata {given}: uint8 has no such value",)
        with open_image(tmp_path / "a.tif", nodata=others) as image:
            assert image.info.notes == ()


@pytest.mark.parametrize("values", [(0, 255, 9), (7, 7, 7)])
@pytest.mark.parametrize("channels", [None, [1, 2, 3], [3, 1], [2]])
def test_list_has_a_value_for_each_channel_that_is_read_in_their_order(
    write_bands, bands, values, channels, tmp_path
):
    listed = [values[one - 1] for one in channels or (1, 2, 3)]
    path = write_bands(bands, values)
    with rasterio.open(path) as image:
        mask = (image.read_masks(channels or [1, 2, 3]) == 0).all(axis=0)
    reading = load_settings({"channels": channels, "nodata": listed}).reading
    with open_image(write_bands(bands, (None, 20, 30)), nodata=reading.nodata_by_channel) as image:
        reader = configured_reader(image, reading)
        block = read_whole(reader)
    np.testing.assert_array_equal(mask_of(block[:-1, :-1], reader.info), mask)
    assert block[-1, -1].tolist() == listed


def test_image_with_another_number_of_channels_than_the_list_has_values_is_refused(tmp_path, noise):
    with written_by_gdal(tmp_path / "a.tif", 3, "uint8", (40, 30)) as image:
        image.write(noise(3, 40, 30))
    reading = load_settings({"nodata": [0, 255]}).reading
    with (
        open_image(tmp_path / "a.tif", nodata=reading.nodata_by_channel) as image,
        pytest.raises(ImageError, match="nodata has 2 values, but the image has 3 channels"),
    ):
        configured_reader(image, reading)


def test_given_value_takes_the_place_of_the_declared_one_in_means_and_padding(write_bands, bands):
    given, declared = write_bands(bands, (200, 201, 202)), (0, 255, 9)
    with open_image(given, nodata=dict(enumerate(declared, 1))) as image:
        level = image.level_for(gsd=40)
        found = image.read(level=level), image.read((0, 0, 41, 61))
    with open_image(write_bands(bands, declared)) as image:
        expected = image.read(level=level), image.read((0, 0, 41, 61))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_segments_that_a_file_leaves_out_keep_the_value_that_it_declares(tmp_path):
    storage = {"tiled": True, "blockxsize": 16, "blockysize": 16, "SPARSE_OK": "TRUE"}
    with written_by_gdal(tmp_path / "a.tif", 1, "int16", (32, 32), nodata=-9, **storage) as image:
        image.write(np.ones((16, 16), np.int16), 1, window=RasterWindow(16, 0, 16, 16))
    with rasterio.open(tmp_path / "a.tif") as truth:
        expected = truth.read(1)
    for given in (0, "none"):
        with open_image(tmp_path / "a.tif", nodata=given) as image:
            np.testing.assert_array_equal(image.read()[..., 0], expected)


def write_with(path, noise, source):
    """Write an image with holes by a nodata value, alpha, a mask, or a palette index."""
    pixels, holes = noise(4, 40, 60), noise(40, 60, seed=1) < 50
    options = {"alpha": {"count": 4, "photometric": "rgb", "alpha": "yes"}, "mask": {"count": 3}}
    options |= {
        "value": {"count": 3, "nodata": 7},
        "palette": {"count": 1, "photometric": "palette", "nodata": 7},
    }
    pixels[:3, holes] = 7
    pixels[3] = np.where(holes, 0, 255)
    count = options[source].pop("count")
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        written_by_gdal(path, count, "uint8", (40, 60), **options[source]) as image,
    ):
        image.write(pixels[:count])
        if source == "mask":
            image.write_mask(pixels[3])
        if source == "palette":
            image.write_colormap(1, {index: (index, 255 - index, 3, 255) for index in range(256)})


@pytest.mark.parametrize("source", ["value", "alpha", "mask", "palette"])
def test_none_leaves_no_pixel_of_any_file_without_data(source, tmp_path, noise):
    write_with(tmp_path / "a.tif", noise, source)
    seen = {}
    for given in (None, "none"):
        with open_image(tmp_path / "a.tif", nodata=given) as image:
            opened = reader_with_validity(image, ReadSettings(skip={"nodata": 1.0}, nodata=given))
            rules = PatchRules({"nodata": 1.0}, opened.info, opened.validity)
            pixels = read_whole(opened.reader)[:-1, :-1]
            seen[given] = [rules.reason(pixel[None, None]) for row in pixels for pixel in row].count("nodata")
            coarse = image.read(level=Level(0, (10, 15), (4.0, 4.0), Fraction(4)))
            means = np.rint(image.read().reshape(10, 4, 15, 4, -1).mean(axis=(1, 3)))
            assert np.array_equal(coarse, means) == (given == "none")
    assert seen[None] > 500
    assert seen["none"] == 0


def test_given_value_is_a_colour_of_a_palette_image_and_its_index_does_not_count(tmp_path, noise):
    write_with(tmp_path / "a.tif", noise, "palette")
    with open_image(tmp_path / "a.tif", nodata={1: 9, 2: 246, 3: 3}) as image:
        assert not image.mask
        pixels = image.read()
        with rasterio.open(tmp_path / "a.tif") as truth:
            np.testing.assert_array_equal(mask_of(pixels, image.info), truth.read(1) == 9)


@pytest.mark.parametrize("source", ["alpha", "mask"])
def test_alpha_and_masks_count_beside_a_given_value(source, tmp_path, noise):
    write_with(tmp_path / "a.tif", noise, source)
    reading = ReadSettings(skip={"nodata": 1.0}, nodata=100)
    with open_image(tmp_path / "a.tif", nodata=100) as image, rasterio.open(tmp_path / "a.tif") as truth:
        opened = reader_with_validity(image, reading)
        rules = PatchRules(reading.skip, opened.info, opened.validity)
        found = [
            [rules.reason(pixel[None, None]) for pixel in row] for row in read_whole(opened.reader)[:-1, :-1]
        ]
        holes = (truth.dataset_mask() == 0) | (truth.read([1, 2, 3]) == 100).all(axis=0)
    np.testing.assert_array_equal(np.array(found) == "nodata", holes)
