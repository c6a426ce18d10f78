"""What docs/formats.md says of files that no other test of the readers writes."""

import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from comparison import assert_reads, load_tiff, open_reader, row_blocks
from documents import PROJECT
from quadrat.errors import ImageError
from traps import GRAY, MASK, RGB, U16, written_by_gdal

TEXT = (PROJECT / "docs/formats.md").read_text(encoding="utf-8")
COMPRESSIONS = re.sub(r"\s+", " ", re.search(r"^Compressions within TIFF: ([^.]+)\.", TEXT, re.MULTILINE)[1])
SMALL = (slice(100, 260), slice(50, 250))


def assert_image(path, pixels):
    with open_reader(path) as reader:
        assert_reads(reader, pixels.reshape(*pixels.shape[:2], -1), row_blocks(reader.info, 64, 50, "pad"))


@pytest.mark.parametrize("name", COMPRESSIONS.split(", "))
def test_compression_is_read(name, tmp_path):
    path = tmp_path / "a.tif"
    word = name.lower().replace(" ", "")
    if name == "CCITT":
        Image.fromarray(MASK[SMALL]).save(path, compression="group4")
    else:
        compression = {"none": None, "deflate": "zlib"}.get(name, word)
        tifffile.imwrite(path, RGB[SMALL], photometric="rgb", compression=compression, tile=(64, 64))
    with tifffile.TiffFile(path) as tif:
        assert word in tif.pages[0].compression.name.lower().replace("_", "")
    assert_image(path, load_tiff(path))


@pytest.mark.parametrize(
    ("photometric", "channels", "options"),
    [("cielab", 3, {}), ("separated", 4, {}), ("ycbcr", 3, {"subsampling": (1, 1)})],
)
def test_colours_that_are_no_rgb_are_read_as_they_are_stored(photometric, channels, options, tmp_path):
    pixels = np.dstack([RGB[SMALL], GRAY[SMALL]])[..., :channels]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, tile=(64, 64), **options)
    assert_image(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize(("bits", "dtype"), [(2, np.uint8), (4, np.uint8), (10, np.uint16), (14, np.uint16)])
def test_samples_of_few_bits_are_read_as_they_are_stored(bits, dtype, tmp_path):
    pixels = (U16[SMALL] % 2**bits).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="minisblack", bitspersample=bits, rowsperstrip=16
    )
    assert_image(tmp_path / "a.tif", pixels)


def test_orientation_is_not_applied(tmp_path):
    turned = [(274, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", RGB[SMALL], photometric="rgb", extratags=turned)
    assert_image(tmp_path / "a.tif", RGB[SMALL])


def test_a_transparent_colour_is_an_alpha_channel_more(tmp_path):
    image = Image.fromarray(RGB[SMALL])
    image.save(tmp_path / "a.png", transparency=image.getpixel((5, 7)))
    with Image.open(tmp_path / "a.png") as loaded:
        pixels = np.array(loaded.convert("RGBA"))
    assert set(np.unique(pixels[..., 3])) == {0, 255}
    assert_image(tmp_path / "a.png", pixels)


PAM = (
    "<PAMDataset><SRS>EPSG:32612</SRS><GeoTransform>9,9,0,9,0,-9</GeoTransform><PAMRasterBand band='1'>"
    "<NoDataValue>7</NoDataValue><Offset>5</Offset><Scale>3</Scale></PAMRasterBand></PAMDataset>"
)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an image in the format of an ending, and returns its path."""

    def make(ending):
        path = tmp_path / f"a{ending}"
        driver = {".tif": "GTiff", ".bmp": "BMP", ".jp2": "JP2OpenJPEG"}[ending]
        with written_by_gdal(path, 1, "uint8", GRAY[SMALL].shape, driver=driver) as image:
            image.write(GRAY[SMALL], 1)
        return path

    return make


@pytest.mark.parametrize("ending", [".tif", ".bmp", ".jp2"])
def test_files_beside_an_image_but_its_world_file_are_not_read(ending, write):
    path = write(ending)

    def read():
        with open_reader(path) as reader:
            (block,) = reader.read_blocks(row_blocks(reader.info, 160, 160, "drop"), 1)
            return reader.info, block.tolist()

    alone = read()
    path.with_name(f"{path.name}.aux.xml").write_text(PAM)
    for beside in (".msk", ".ovr") if ending != ".bmp" else ():
        tifffile.imwrite(f"{path}{beside}", np.zeros(GRAY[SMALL].shape, np.uint8))
    assert read() == alone


@pytest.mark.parametrize("beside", [".msk", ".ovr"])
def test_an_image_beside_which_gdal_reads_all_the_same_is_refused(beside, write):
    path = write(".bmp")
    tifffile.imwrite(f"{path}{beside}", np.zeros(GRAY[SMALL].shape, np.uint8))
    with pytest.raises(ImageError, match=rf"GDAL would also read a\.bmp\{beside}, which is not watched"):
        open_reader(path)
