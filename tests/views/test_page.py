import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from quadrat.images.thumbnail import Thumbnail, blank_thumbnail
from quadrat.results.display import class_colours
from quadrat.views.page import MOST_PATCHES, write_page
from quadrat.views.patch_map import PatchMap

PICTURE = Thumbnail(np.full((50, 50, 3), 128, np.uint8), (4.0, 4.0))


@pytest.fixture
def page(tmp_path):
    """Return a function from a grid of values to the text of the page of its image."""

    def write(values, thumbnail=PICTURE, skipped="", labels=(), filename="north/a.tif"):
        rows, cols = np.shape(values)[:2]
        patch_map = PatchMap(
            *(filename, rows * 10, cols * 10, None, None),
            ys=np.arange(rows) * 10,
            heights=np.full(rows, 10),
            xs=np.arange(cols) * 10,
            widths=np.full(cols, 10),
            values=np.reshape(values, (rows, cols, -1)).astype(float),
            names=labels or ("prediction",),
            is_labels=bool(labels),
            skipped=np.full((rows, cols), skipped, object),
        )
        write_page(patch_map, thumbnail, tmp_path / "page.html")
        return (tmp_path / "page.html").read_text()

    return write


class Addresses(HTMLParser):
    """Collects the addresses that a page loads."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]


def test_page_loads_nothing(page):
    assert Addresses(page([[0, 1]])).found == ["data:,"]


def test_page_of_too_many_patches_says_so(page):
    text = page(np.zeros((1, MOST_PATCHES + 1)))
    assert "too many to point at" in text
    assert len(text) < 2_000_000


def test_page_of_skipped_patches_alone_shows_why(page):
    assert "background" in page([[np.nan, np.nan]], skipped="background")


def test_page_without_a_picture_shows_why(page):
    assert "the disk is gone" in page([[0, 1]], blank_thumbnail(10, 20, "the disk is gone"))


def image_of(text):
    """Return what a page contains of its image."""
    return json.loads(re.search("^const image = (.*);$", text, re.MULTILINE)[1])


def numbers_of(image):
    """Return the values of each number of a prediction, in row-major order."""
    return [np.frombuffer(base64.b64decode(number["values"]), "<f8").tolist() for number in image["numbers"]]


def test_page_contains_all_digits_of_predictions_and_where_patches_are(page):
    values = np.random.default_rng(0).normal(size=(2, 3))
    values[1, 1] = np.inf
    image = image_of(page(values))
    assert numbers_of(image) == [values.ravel().tolist()]
    assert (image["grid"]["ys"], image["grid"]["xs"]) == ([0, 10], [0, 10, 20])
    assert image["grid"]["cols"] == [[0, 10], [10, 20], [20, 30]]


def test_page_of_labels_names_that_of_each_patch_and_its_colour(page):
    text = page([[0, 1, 1, np.nan]], labels=("land", "</script>"))
    assert text.count("</script>") == page([[0, 1]]).count("</script>")
    image = image_of(text)
    assert image["classes"] == [[*one] for one in zip(class_colours(2), ("land", "</script>"), strict=True)]
    np.testing.assert_array_equal(numbers_of(image), [[0, 1, 1, np.nan]])


def test_page_of_several_labels_for_each_patch_names_all_of_them(page):
    values = np.random.default_rng(0).integers(0, 2, (1, 2, 20))
    image = image_of(page(values, labels=("land", "water")))
    assert numbers_of(image) == values[0].T.tolist()


def test_name_in_the_title_is_escaped(page):
    assert "<title>&lt;b&gt;.tif</title>" in page([[0]], filename="<b>.tif")
