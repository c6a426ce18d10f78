"""The report of a run, as the colleague sees it who gets it by mail."""

import io
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from studies import Study, means, write_image

# A path that would end Snakemake's own script, were it written there as it is.
NASTY = "{x}</script>.tif"
# Where one of these runs, the report or one of its frames has `ran`.
RUNS = [
    "<script>top.ran=1<.tif",
    "<img src=x onerror=top.ran=1>.tif",
    "<!--<script>top.ran=1.tif",
    "'-(top.ran=1)-'.tif",
    '"-(top.ran=1)-".tif',
    "`-(top.ran=1)-`.tif",
    "${top.ran=1}{{top.ran=1}}{% if %}.tif",
    r"\x3cimg src=x onerror=top.ran=1\x3e&lt;img src=x onerror=top.ran=1>.tif",
    "*a* `b`_ |c| [d](javascript:top.ran=1).tif",
]


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Return a study of two images and two that fail, run and reported, and the pixels of the first."""
    study = Study(tmp_path_factory.mktemp("reported") / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=32, on_failure="report")
    pixels = write_image(study.images / "north/a.tif", 1)
    write_image(study.images / NASTY, 2)
    for seed, name in enumerate(RUNS):
        write_image(study.images / "odd" / name, seed, 32, 32)
    write_image(study.images / RUNS[-4] / "a.tif", 2, 32, 32)
    (study.images / "line\u2028break.tif").touch()  # refused: the table of failures shows it
    (study.images / "<b>a.tif").write_bytes(b"")
    (study.images / "broken.tif").write_bytes(b"II*\0" + bytes(100))
    for arguments in ([], ["--report", "report.html"]):
        run = study.run(*arguments)
        assert run.code == 0, run.output
    return study.path / "report.html", pixels


def open_result(browser, report, *path):
    """Click through the report, then on the eye of the first result."""
    browser.open(report)
    for text in path:
        browser.click(text)
    # Not by the pointer: the table slides in, and a click that comes meanwhile is lost.
    browser.wait("(eye => eye && (eye.click(), true))(document.querySelector('tbody a'))")


def open_page(browser):
    """Go on in the page that the report shows."""
    browser.driver.switch_to.frame(browser.wait("document.querySelector('iframe')"))


def test_report_shows_the_map_of_an_image(browser, reported):
    report, _ = reported
    open_result(browser, report, "Images", "north")
    assert browser.wait("document.querySelector('td').textContent") == "a.tif"
    browser.wait("[...document.querySelectorAll('img')].some(img => img.naturalWidth > 500)")
    drawn = np.asarray(Image.open(io.BytesIO(browser.pixels("report_map"))).convert("RGB"))
    assert len(np.unique(drawn[:, 500:].reshape(-1, 3), axis=0)) > 1000


def test_pointing_at_a_patch_in_the_report_shows_its_prediction(browser, reported):
    report, pixels = reported
    open_result(browser, report, "Images", "north", "patch by patch")
    open_page(browser)
    browser.wait_for_plot()
    browser.pixels("report_page")
    browser.driver.switch_to.default_content()
    place = browser.wait("(box => [box.x, box.y])(document.querySelector('iframe').getBoundingClientRect())")
    open_page(browser)
    assert browser.hover(80, 48, place) == ["2, 1", "64, 32 px", f"{means(pixels)[9]:.6g}"]


def test_overview_shows_what_failed_and_escapes_names(browser, reported):
    report, _ = reported
    open_result(browser, report, "Overview")
    open_page(browser)
    text = browser.wait("document.body.innerText")
    browser.pixels("report_overview")
    assert NASTY in text
    assert "<b>a.tif" in text
    assert "not a readable TIFF" in text
    assert browser.wait("document.querySelector('svg').getBoundingClientRect().width") > 500


def test_names_in_a_report_are_shown_and_nothing_of_them_runs(browser, reported):
    report, _ = reported
    browser.open(report)
    browser.click("Images")
    browser.click("odd")
    shown = browser.wait(
        "(cells => cells.length && cells.map(cell => cell.textContent))([...document.querySelectorAll('td')])"
    )
    assert {unquote(text) for text in shown} >= set(RUNS)
    browser.wait("(eye => eye && (eye.click(), true))(document.querySelector('tbody a'))")
    browser.wait("[...document.querySelectorAll('img')].some(img => img.naturalWidth > 500)")
    open_result(browser, report, "Overview")
    open_page(browser)
    text = browser.wait("document.body.innerText")
    assert all(name in text for name in RUNS)
    browser.driver.switch_to.default_content()
    assert browser.driver.execute_script("return window.ran") is None
