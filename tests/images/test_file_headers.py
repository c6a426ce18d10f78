import re
import struct
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from quadrat.errors import ImageError
from quadrat.images.file_headers import FileHeader, read_header
from traps import HEIGHT, RGB, WIDTH

COLOR = Image.fromarray(RGB)


@pytest.mark.parametrize(("subsampling", "samples"), [(0, 3), (1, 2), (2, 1.5)])
def test_coarser_colours_of_a_jpeg_are_counted_as_they_are_stored(subsampling, samples, tmp_path):
    COLOR.save(tmp_path / "a.jpg", subsampling=subsampling)
    assert read_header(tmp_path / "a.jpg") == FileHeader("JPEG", HEIGHT, WIDTH, 8, samples)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c", "a JPEG of 12 bit: not supported"),
        (b"\x03\x01\x22\x00", b"\x03\x01\x00\x00", "broken: its frame header (SOF) describes no channels"),
        (b"\xff\xc0", b"\xff\xfe", "broken: the JPEG does not describe its size"),
        (b"\xff\xdb", b"\xff\xd9", "broken: the JPEG contains no image"),
        (struct.pack(">HH", HEIGHT, WIDTH), bytes(4), "broken: its size is 0 x 0 px"),
    ],
)
def test_a_broken_jpeg_header_is_refused_with_what_is_wrong(old, new, reason, tmp_path):
    path = tmp_path / "a.jpg"
    COLOR.save(path, subsampling=2)
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(ImageError, match=re.escape(reason)):
        read_header(path)


def test_a_jpeg_that_is_too_small_for_its_pixels_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("L", (640, 480)).save(path)
    assert read_header(path).width == 640
    data = path.read_bytes()
    frame = data.index(b"\xff\xc0")
    path.write_bytes(data[: frame + 5] + struct.pack(">HH", 60_000, 50_000) + data[frame + 9 :])
    with pytest.raises(ImageError, match="50,000 x 60,000 px do not fit in"):
        read_header(path)


def test_no_change_of_a_byte_gives_another_error_than_an_image_error(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("a.png", "a.jpg"):
        path = tmp_path / name
        COLOR.resize((40, 30)).save(path)
        data = path.read_bytes()
        for place in rng.integers(0, min(len(data), 700), 300):
            path.write_bytes(data[:place] + bytes([rng.integers(256)]) + data[place + 1 :])
            with suppress(ImageError):
                read_header(path)
