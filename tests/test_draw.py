import os
import signal
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from quadrat.draw import draw_image
from quadrat.drawings import Drawing, DrawingsFolder
from quadrat.predict import predict_image

MARK = "PATIENT-4711"


@pytest.fixture
def draw(make_task, tmp_path):
    """Give a function that predicts and draws an image, and gives its map and page."""

    def drawn(path, between=lambda: None):
        task = make_task(path)
        predict_image(task)
        between()
        told = []
        folder = DrawingsFolder(str(tmp_path), True)
        drawing = Drawing("", "", str(tmp_path / "map.png"), str(tmp_path / "page.html"))
        draw_image(task.output, str(path), drawing, folder, 1, 1000, told.append)
        picture = np.asarray(Image.open(drawing.map).convert("RGB"))
        return picture, (tmp_path / "page.html").read_bytes(), told

    return drawn


def test_image_that_cannot_be_read_any_more_is_drawn_on_grey(draw, write_tiff):
    image = write_tiff("a.tif")
    picture, page, told = draw(image.path, between=lambda: image.path.write_bytes(b"gone"))
    assert len(told) == 1
    assert told[0].startswith("a.tif: drawn without its picture: ")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    assert b"not an image" in page


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTRAP), "the worker was ended by SIGTRAP"),
        (lambda: [].pop(), "IndexError: pop from empty list"),
        (lambda: (b"x" * (2 << 30), time.sleep(10)), "MB of memory, its job may use 1,000 MB (mem_mb)"),
    ],
)
def test_image_whose_decoder_ends_its_process_is_drawn_on_grey(draw, write_tiff, monkeypatch, ends, why):
    image = write_tiff("a.tif")

    def open_image(*_, **__):
        ends()

    _, page, told = draw(image.path, lambda: monkeypatch.setattr("quadrat.thumbnail.open_image", open_image))
    assert len(told) == 1
    assert told[0].startswith("a.tif: drawn without its picture: ")
    assert told[0].endswith(why)
    assert why.encode() in page


def test_text_label_and_overview_of_a_slide_reach_neither_map_nor_page(draw, images):
    options = {"photometric": "rgb", "description": MARK, "software": MARK, "datetime": "2001:02:03 04:05:06"}
    with tifffile.TiffWriter(images / "a.tif") as tif:
        tif.write(np.full((64, 64, 3), 100, np.uint8), **options, extratags=[(315, "s", 0, MARK, True)])
        label = np.zeros((300, 300, 3), np.uint8)
        label[...] = (255, 0, 255)
        tif.write(label, **options)
    picture, page, _ = draw(images / "a.tif")
    assert not (picture == (255, 0, 255)).all(axis=-1).any()
    assert MARK.encode() not in page
    assert b"2001:02:03" not in page
