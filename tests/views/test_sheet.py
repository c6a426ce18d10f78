import io

import numpy as np
import pytest
from PIL import Image

from quadrat.views.sheet import MOST_LINES, Sheet, encode_png, wrapped


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (77, 131)])
def test_picture_has_the_pixels_that_pillow_reads(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    picture = Image.open(io.BytesIO(encode_png(pixels)))
    assert picture.format == "PNG"
    assert np.array_equal(np.asarray(picture), pixels)


def test_sheet_is_cut_to_its_drawings_with_a_margin():
    sheet = Sheet(1000, 1000)
    sheet.picture(Image.new("RGB", (30, 40), "white"), 50, 60)
    assert Image.open(io.BytesIO(sheet.png())).size == (100, 120)
    sheet.text(400, 20, "to the right", 14)
    size = Image.open(io.BytesIO(sheet.png())).size
    assert 450 < size[0] < 550
    assert size[1] == 120


def test_long_text_is_broken_and_cut():
    assert wrapped("short", 14, 300) == "short"
    assert len(wrapped("two words " * 9, 14, 300).split("\n")) > 1
    lines = wrapped("w" * 10_000, 14, 300).split("\n")
    assert len(lines) <= MOST_LINES
    assert lines[-1].endswith("…")
