import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from quadrat.errors import ResultsError
from quadrat.files.log import job_log
from quadrat.files.text import table_bytes
from quadrat.images import thumbnail
from quadrat.images.thumbnail import load_thumbnail, read_thumbnail
from quadrat.jobs.predict import predict_image
from quadrat.results.folder import TABLE_COLUMNS
from quadrat.results.tables import PlannedImage
from quadrat.views.draw import draw_image, draw_images
from quadrat.views.drawings import DrawingsFolder

MARK = "PATIENT-4711"
VERSION = "0123456789ab"
# The child of a test holds what its parent holds, which is a whole run of tests.
# A forked process holds the memory of its parent, here all that the tests before it took.
MEMORY_MB = 4000


@pytest.fixture
def folder(results):
    return DrawingsFolder(results.path, True)


@pytest.fixture
def predict(make_task, results):
    """Return a function that predicts an image, lists it in images.tsv, and returns it as it was planned."""
    rows = []

    def predicted(path, **fields):
        predict_image(make_task(path, output=results.version_path(path.name, VERSION), **fields))
        rows.append([path.name, "ok", 1, *[""] * (len(TABLE_COLUMNS) - 3)])
        Path(results.images).write_bytes(table_bytes(TABLE_COLUMNS, rows))
        return PlannedImage(path.name, path.name, VERSION, "1-2", str(path), 1)

    return predicted


@pytest.fixture
def draw(predict, folder):
    """Return a function that predicts and draws an image, and returns its map and page."""

    def drawn(path, between=lambda: None):
        image = predict(path)
        between()
        lines = []
        draw_image(image, folder, 1, MEMORY_MB, lines.append)
        drawing = folder.at(image.key, image.version)
        picture = np.asarray(Image.open(drawing.map).convert("RGB"))
        return picture, Path(drawing.page).read_bytes(), lines

    return drawn


def test_image_that_cannot_be_read_any_more_is_drawn_on_grey(draw, write_tiff):
    image = write_tiff("a.tif")
    picture, page, lines = draw(image.path, between=lambda: image.path.write_bytes(b"gone"))
    assert len(lines) == 1
    assert lines[0].startswith("a.tif: drawn without its picture: ")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    assert b"not an image" in page


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTRAP), "the worker was ended by SIGTRAP"),
        (lambda: [].pop(), "IndexError: pop from empty list"),
        (lambda: (b"x" * (5 << 30), time.sleep(10)), " MB of memory, but may use 4,000 MB (mem_mb)"),
    ],
)
def test_image_that_ends_the_process_that_draws_is_drawn_on_grey_and_all_others_as_they_are(
    predict, write_tiff, folder, tmp_path, monkeypatch, ends, why
):
    images = [predict(write_tiff(name).path) for name in ("a.tif", "b.tif", "c.tif")]
    open_image = thumbnail.open_image

    def open_or_end(path, *chosen):
        return ends() if path.endswith("b.tif") else open_image(path, *chosen)

    monkeypatch.setattr(thumbnail, "open_image", open_or_end)
    with job_log(tmp_path / "log") as log:
        draw_images(images, folder, True, 1, MEMORY_MB, log)
    pages = [Path(folder.at(image.key, image.version).page).read_text() for image in images]
    assert [why in page for page in pages] == [False, True, False]
    log = (tmp_path / "log").read_text()
    assert log.splitlines()[-1].startswith("b.tif: drawn without its picture: ")
    assert log.splitlines()[-1].endswith(why)
    assert ("Traceback" in log) == ("IndexError" in why)


def test_image_whose_process_is_ended_once_is_drawn_as_it_is(
    predict, write_tiff, folder, tmp_path, monkeypatch
):
    image = predict(write_tiff("a.tif").path)
    open_image, struck = thumbnail.open_image, tmp_path / "struck"

    def strike_once(path, *chosen):
        if not struck.exists():
            struck.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return open_image(path, *chosen)

    monkeypatch.setattr(thumbnail, "open_image", strike_once)
    with job_log(tmp_path / "log") as log:
        draw_images([image], folder, True, 1, MEMORY_MB, log)
    assert "without its picture" not in (tmp_path / "log").read_text()
    page = Path(folder.at(image.key, image.version).page).read_text()
    assert "ended by SIGKILL" not in page


def test_drawing_that_cannot_be_written_is_one_line(predict, write_tiff, folder, tmp_path):
    image = predict(write_tiff("a.tif").path)
    Path(folder.path).parent.mkdir(parents=True)
    Path(folder.path).write_text("in the way")
    refused = pytest.raises(ResultsError, match=r"a\.tif: cannot be drawn: .* cannot be written: ")
    with job_log(tmp_path / "log") as log, refused:
        draw_images([image], folder, True, 1, MEMORY_MB, log)


def test_picture_that_a_prediction_saved_is_drawn_without_a_look_at_the_image(
    predict, write_tiff, folder, tmp_path
):
    image = write_tiff("a.tif")
    saved = folder.thumbnail("a.tif", VERSION)
    thumbnail = {"path": saved, "channels": None, "shards": []}
    planned = predict(image.path, thumbnail=thumbnail, results=folder.results)
    before = read_thumbnail(image.path, None, None, 1, None)
    np.testing.assert_array_equal(load_thumbnail(saved).pixels, before.pixels)
    image.path.write_bytes(b"gone")
    with job_log(tmp_path / "log") as log:
        draw_images([planned], folder, True, 1, MEMORY_MB, log)
    assert "without its picture" not in (tmp_path / "log").read_text()
    assert folder.at("a.tif", VERSION).is_there
    assert not Path(saved).exists()


def test_picture_that_a_prediction_saved_and_one_that_is_read_show_the_same_nodata(predict, images, folder):
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    pixels[5:9, 5:9] = 60_000
    tifffile.imwrite(images / "a.tif", pixels)
    saved = folder.thumbnail("a.tif", VERSION)
    thumbnail_of_job = {"path": saved, "channels": None, "shards": []}
    planned = predict(images / "a.tif", nodata=60_000, thumbnail=thumbnail_of_job, results=folder.results)
    folder = replace(folder, nodata=60_000)
    pages = []
    for _ in range(2):  # the first drawing removes the picture that the job saved
        draw_image(planned, folder, 1, MEMORY_MB, print)
        pages.append(Path(folder.at("a.tif", VERSION).page).read_bytes())
        assert not Path(saved).exists()
    assert pages[0] == pages[1]


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
