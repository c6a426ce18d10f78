import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from quadrat.errors import ResultsError
from quadrat.files.log import job_log
from quadrat.jobs.predict import predict_image
from quadrat.views import thumbnail
from quadrat.views.draw import draw_image, draw_images
from quadrat.views.drawings import Drawing, DrawingsFolder

MARK = "PATIENT-4711"
VERSION = "0123456789ab"
# The child of a test holds what its parent holds, which is a whole run of tests.
# A forked process holds the memory of its parent, here all that the tests before it took.
MEMORY_MB = 4000


@pytest.fixture
def draw(make_task, results, tmp_path):
    """Return a function that predicts and draws an image, and returns its map and page."""

    def drawn(path, between=lambda: None):
        task = make_task(path, output=results.version_path(path.name, VERSION))
        predict_image(task)
        between()
        lines = []
        folder = DrawingsFolder(str(tmp_path), True)
        drawing = Drawing("", "", str(tmp_path / "map.png"), str(tmp_path / "page.html"))
        draw_image(task.output, str(path), drawing, folder, 1, MEMORY_MB, lines.append)
        picture = np.asarray(Image.open(drawing.map).convert("RGB"))
        return picture, (tmp_path / "page.html").read_bytes(), lines

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
        (lambda: (b"x" * (5 << 30), time.sleep(10)), " MB of memory; its job may use 4,000 MB (mem_mb)"),
    ],
)
def test_image_that_ends_the_process_that_draws_is_drawn_on_grey_and_all_others_as_they_are(
    make_task, write_tiff, results, tmp_path, monkeypatch, ends, why
):
    images, open_image = {}, thumbnail.open_image
    for name in ("a.tif", "b.tif", "c.tif"):
        task = make_task(write_tiff(name).path, output=results.version_path(name, VERSION))
        predict_image(task)
        images[task.output] = task.path

    def open_or_end(path, *chosen):
        return ends() if path.endswith("b.tif") else open_image(path, *chosen)

    monkeypatch.setattr(thumbnail, "open_image", open_or_end)
    folder = DrawingsFolder(results.path, True)
    with job_log(tmp_path / "log") as log:
        draw_images(images, folder, 1, MEMORY_MB, log)
    pages = [Path(folder.of_result(path).page).read_text() for path in images]
    assert [why in page for page in pages] == [False, True, False]
    log = (tmp_path / "log").read_text()
    assert log.splitlines()[-1].startswith("b.tif: drawn without its picture: ")
    assert log.splitlines()[-1].endswith(why)
    assert ("Traceback" in log) == ("IndexError" in why)


def test_image_whose_process_is_ended_once_is_drawn_as_it_is(
    make_task, write_tiff, results, tmp_path, monkeypatch
):
    task = make_task(write_tiff("a.tif").path, output=results.version_path("a.tif", VERSION))
    predict_image(task)
    open_image, struck = thumbnail.open_image, tmp_path / "struck"

    def strike_once(path, *chosen):
        if not struck.exists():
            struck.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return open_image(path, *chosen)

    monkeypatch.setattr(thumbnail, "open_image", strike_once)
    folder = DrawingsFolder(results.path, True)
    with job_log(tmp_path / "log") as log:
        draw_images({task.output: task.path}, folder, 1, MEMORY_MB, log)
    assert "without its picture" not in (tmp_path / "log").read_text()
    page = Path(folder.of_result(task.output).page).read_text()
    assert "ended by SIGKILL" not in page


def test_drawing_that_cannot_be_written_is_one_line(make_task, write_tiff, results, tmp_path):
    task = make_task(write_tiff("a.tif").path, output=results.version_path("a.tif", VERSION))
    predict_image(task)
    folder = DrawingsFolder(results.path, True)
    Path(folder.path).parent.mkdir(parents=True)
    Path(folder.path).write_text("in the way")
    refused = pytest.raises(ResultsError, match=r"a\.tif: cannot be drawn: .* cannot be written: ")
    with job_log(tmp_path / "log") as log, refused:
        draw_images({task.output: task.path}, folder, 1, MEMORY_MB, log)


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
