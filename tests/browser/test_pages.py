"""The page of an image, as a person sees it in a browser."""

import io

import numpy as np
import pytest
from PIL import Image

from quadrat.files.keys import encode
from quadrat.grid import PatchGrid
from quadrat.images.thumbnail import Thumbnail
from quadrat.results.display import class_colours
from quadrat.results.writer import PredictionWriter
from quadrat.views.page import write_page
from quadrat.views.patch_map import PatchMap, read_patch_map

NASTY = "<script>document.title='bad'</script><img src=x onerror=\"document.title='bad'\">"


@pytest.fixture
def write_grid(tmp_path, described, results):
    """Return a function that stores the predictions of a square image and writes its page."""

    def write(predictions, side, filename="north/a.tif", **footer):
        grid = PatchGrid(side * 512, side * 512)
        positions = [(i // side, i % side, window) for i, window in enumerate(grid.windows())]
        known = {"filename": filename, "version": "0123456789ab", "content_id": "1-2", "content_hash": None}
        known |= {"counts": {"patches": len(grid)}}
        path = results.version_path(encode(filename), "0123456789ab")
        with PredictionWriter(path) as writer:
            writer.append(positions, predictions)
            writer.finish(described(grid) | known | footer)
        picture = np.full((500, 500, 3), (200, 120, 40), np.uint8)
        page = tmp_path / "page.html"
        write_page(read_patch_map(path), Thumbnail(picture, (side * 512 / 500,) * 2), page)
        return page

    return write


def test_pointing_at_a_patch_shows_its_place_and_prediction(browser, write_grid):
    predictions = np.random.default_rng(0).random(10_000)
    page = write_grid(predictions, 100)
    assert page.stat().st_size < 5_000_000
    browser.open(page)
    browser.wait_for_plot()
    for row, col in [(0, 0), (37, 81), (99, 99)]:
        shown = browser.hover(row * 512 + 256, col * 512 + 256)
        prediction = f"{predictions[row * 100 + col]:.6g}"
        assert shown == [f"{row}, {col}", f"{row * 512}, {col * 512} px", prediction]


def test_page_may_ask_no_server(browser, write_grid):
    browser.open(write_grid(np.arange(4.0), 2))
    browser.driver.execute_script(
        "document.addEventListener('securitypolicyviolation', event => window.refused = event.blockedURI);"
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/a.png'}))"
    )
    assert browser.wait("window.refused") == "http://127.0.0.1:9/a.png"
    assert "Content Security Policy" in browser.complaints()[0]
    browser.requests()  # forgets the one that was refused


def test_picture_and_patches_are_visible(browser, write_grid):
    browser.open(write_grid(np.array([0.0, 0.0, 0.0, 1.0]), 2))
    browser.wait_for_plot()
    left = browser.wait("document.querySelector('.plot').getBoundingClientRect().left + 200")
    top = browser.wait("document.querySelector('.plot').getBoundingClientRect().top + 150")
    drawn = np.asarray(Image.open(io.BytesIO(browser.pixels("image_page"))).convert("RGB")).astype(float)
    # Viridis begins and ends with these colours; the picture shines through by 40 %.
    first, last, picture = np.array([68, 1, 84]), np.array([253, 231, 37]), np.array([200, 120, 40])
    np.testing.assert_allclose(drawn[round(top), round(left)], 0.6 * first + 0.4 * picture, atol=6)
    np.testing.assert_allclose(drawn[round(top) + 400, round(left) + 400], 0.6 * last + 0.4 * picture, atol=6)


def test_another_number_of_a_prediction_can_be_chosen(browser, write_grid):
    predictions = np.array([[0.9, 0.0], [0.1, 0.0], [0.1, 0.0], [0.1, 1.0]])
    browser.open(write_grid(predictions, 2, predictor={"labels": ["water", "land"]}))
    browser.wait_for_plot()
    assert browser.hover(256, 256)[2:] == ["0.9", "0"]
    before = browser.pixels("two_numbers")
    chosen = browser.wait("document.getElementById('shown').selectedOptions[0].text")
    other = "water" if chosen == "land" else "land"
    browser.click(other)
    browser.wait_for_plot()
    browser.wait_for(lambda: browser.pixels("two_numbers_other") != before)


def test_names_and_labels_are_text_whatever_they_hold(browser, write_grid):
    page = write_grid(np.array([NASTY, "land", NASTY, "land"]), 2, filename=f"{NASTY}.tif")
    browser.open(page)
    browser.wait_for_plot()
    assert browser.hover(256, 256)[2] == NASTY
    assert browser.driver.title == f"{NASTY}.tif"
    assert NASTY in browser.wait("document.querySelector('ul').textContent")
    assert browser.wait("document.querySelector('h1').textContent") == f"{NASTY}.tif"


@pytest.fixture
def write_labels(tmp_path):
    """Return a function that writes the page of a row of patches of 100 px from their labels and skips."""

    def write(codes, skipped, names=("land", "water")):
        count = len(codes)
        row, cols = np.array([100]), np.arange(count) * 100
        patch_map = PatchMap(
            *("a.tif", 100, count * 100, None, None),
            *(row - 100, row, cols, np.full(count, 100)),
            values=np.array([codes], float),
            names=names,
            is_labels=True,
            skipped=np.array([skipped], object),
        )
        write_page(
            patch_map, Thumbnail(np.full((100, count * 100, 3), 128, np.uint8), (1, 1)), tmp_path / "a.html"
        )
        return tmp_path / "a.html"

    return write


def test_all_labels_of_a_patch_are_shown_and_the_colour_of_each_beside_its_name(browser, write_labels):
    browser.open(write_labels([[0, 1], [1, 1], [np.nan, 0]], [""] * 3))
    browser.wait_for_plot()
    shown = [browser.hover(50, x)[2] for x in (50, 150, 250)]
    assert shown == ["land, water", "water, water", ", land"]
    script = "[...document.querySelectorAll('li')].map(item => [item.textContent, item.style.cssText])"
    colours = class_colours(2)
    assert browser.wait(script) == [
        ["land", f"--colour: {colours[0]};"],
        ["water", f"--colour: {colours[1]};"],
    ]
    assert browser.wait("document.querySelector('label').hidden")


def test_pointing_at_a_skipped_patch_shows_why(browser, write_labels):
    browser.open(write_labels([[0], [np.nan], [np.nan]], ["", "nodata", "outside of regions"]))
    browser.wait_for_plot()
    assert [browser.hover(50, x)[2] for x in (50, 150, 250)] == ["land", "nodata", "outside of regions"]


def test_image_whose_labels_are_all_skipped_has_a_page(browser, write_labels):
    browser.open(write_labels([[np.nan], [np.nan]], ["nodata", "nodata"], names=()))
    browser.wait_for_plot()
    assert browser.hover(50, 150)[2] == "nodata"


def test_opacity_can_be_changed(browser, write_labels):
    browser.open(write_labels([[0], [1]], ["", ""]))
    browser.wait_for_plot()
    before = browser.pixels("opaque")
    browser.driver.execute_script(
        "const slider = document.getElementById('opacity'); slider.value = 1;"
        "slider.dispatchEvent(new Event('input'))"
    )
    browser.wait_for(lambda: browser.pixels("opaque") != before)
