import numpy as np
import pytest
import tifffile

from comparison import assert_reads, open_reader, row_blocks
from quadrat.images.tiff.codecs import LzwDecoder
from traps import F32, GRAY, HEIGHT, RGB, U16, WIDTH

IMAGES = {
    "u1": GRAY,
    "i1": (GRAY >> 1).astype("i1"),
    "u2": U16,
    "i2": U16.astype("i2"),
    "u4": U16.astype("u4") << 9,
    "u8": U16.astype("u8") << 40,
    "f2": F32.astype("f2"),
    "f4": F32,
    "f8": F32.astype("f8"),
    "rgb": RGB,
    "5_channels": np.dstack([U16 + 7 * number for number in range(5)]),
}


# The third predictor is for floating point, the second for integers.
CASES = [(name, 3 if pixels.dtype.kind == "f" else 2) for name, pixels in IMAGES.items()]
CASES += [(name, 1) for name in IMAGES]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("name", "predictor"), CASES)
def test_every_type_order_and_predictor_gives_the_pixels_that_were_written(name, order, predictor, tmp_path):
    pixels = IMAGES[name]
    path = tmp_path / "a.tif"
    storage = {"compression": "lzw", "predictor": predictor, "byteorder": order, "metadata": None}
    pixels = pixels.astype(pixels.dtype.newbyteorder(order))
    for segments in ({"rowsperstrip": 100}, {"tile": (128, 112)}):
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", **storage, **segments)
        with tifffile.TiffFile(path) as tif:
            assert LzwDecoder.can_decode(tif.pages.first)
        with open_reader(path) as reader:
            image = pixels.astype(pixels.dtype.newbyteorder("=")).reshape(HEIGHT, WIDTH, -1)
            assert_reads(reader, image, row_blocks(reader.info, 512, 300, "pad"))
