from html.parser import HTMLParser
from pathlib import Path

import pytest

from quadrat.files.text import table_bytes
from quadrat.grid import PatchGrid
from quadrat.results.folder import TABLE_COLUMNS
from quadrat.results.merge import merge_predictions
from quadrat.views.overview import MOST_ROWS, write_overview


class Text(HTMLParser):
    """Collects the text of a page and the names of its elements."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(page)

    def handle_data(self, data):
        self.texts.append(data.strip())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


@pytest.fixture
def overview(results, make_settings):
    """Return a function that merges results and gives the overview of them."""

    def written(*paths):
        merge_predictions(list(paths), [], make_settings().as_dict(), {}, print)
        Path(results.run).write_text("quadrat: 0.1.0\nconfiguration: {exclude: ['<b>']}\n")
        write_overview(results)
        return Text(Path(results.overview).read_text())

    return written


def test_overview_counts_images_and_lists_failures_with_hints(overview, write_result):
    failure = {"kind": "data", "message": "truncated: segment 3", "hint": "copy it again"}
    page = overview(
        write_result("a.tif", [1.0, 2.0]), write_result("b.tif", failure=failure), write_result("c.tif", [])
    )
    for count, word in [("3", "images"), ("1", "failed"), ("1", "without a patch"), ("2", "patches")]:
        assert page.texts[page.texts.index(word) - 1] == count
    assert {"truncated: segment 3", "copy it again", "no patch"} <= set(page.texts)
    assert page.tags.count("svg") == 1


def test_many_failures_are_listed_by_their_reasons(overview, write_result):
    failure = {"kind": "data", "message": "truncated", "hint": "copy it again"}
    page = overview(*(write_result(f"{index:02d}.tif", failure=failure) for index in range(25)))
    assert "25 images, such as 00.tif, 01.tif and 02.tif" in page.texts
    assert page.texts.count("truncated") == 1
    assert "each image and its reason: see images.tsv" in page.texts


def test_names_messages_and_configuration_are_escaped(overview, write_result):
    failure = {"kind": "data", "message": "<script>alert(1)</script>", "hint": "<b>"}
    page = overview(write_result("<img src=x>.tif", [1.0]), write_result("b.tif", failure=failure))
    assert "img" not in page.tags
    assert not {"script", "b"} & set(page.tags[page.tags.index("h2") :])
    assert "<script>alert(1)</script>" in page.texts


def test_notes_are_listed_by_image_and_in_short(overview, write_result, described, results):
    grid = described(PatchGrid(512, 512))
    image = grid["image"] | {"notes": ["palette expanded to RGB", "axis Z has 2 planes: the first is read"]}
    page = overview(write_result("a.tif", [1.0], image=image), write_result("b.tif", [1.0]))
    assert "a.tif: palette expanded to RGB" in page.texts
    place = page.texts.index("palette expanded to RGB; axis Z has 2 planes: the first is read")
    assert page.texts[place - 1] == "a.tif"
    assert "Notes" not in overview(write_result("b.tif", [1.0])).texts


def test_name_that_might_be_a_formula_is_shown_as_it_is(overview, write_result):
    assert "=1+1.tif" in overview(write_result("=1+1.tif", [1.0])).texts


@pytest.mark.parametrize(
    "predictions", [([[1.0, 2.0]], [[1.0, 2.0, 3.0], None]), ([["ice", "sea"]], [["sea", "sea"]])]
)
def test_predictions_that_are_arrays_of_any_length_or_of_text_have_a_distribution(
    overview, write_result, predictions
):
    page = overview(*(write_result(f"{place}.tif", image) for place, image in enumerate(predictions)))
    assert "svg" in page.tags


def test_run_without_predictions_has_an_overview(overview, write_result):
    page = overview(write_result("b.tif", failure={"kind": "data", "message": "broken", "hint": ""}))
    assert "broken" in page.texts
    assert "svg" not in page.tags


def test_long_tables_are_cut(results):
    Path(results.path).mkdir()
    rows = [
        [f"{number}.tif", "failed", "0", *[""] * (len(TABLE_COLUMNS) - 3)] for number in range(MOST_ROWS + 5)
    ]
    Path(results.images).write_bytes(table_bytes(list(TABLE_COLUMNS), rows))
    Path(results.run).write_text("")
    write_overview(results)
    page = Text(Path(results.overview).read_text())
    assert page.texts.count("and 5 more: see images.tsv") == 1
    assert f"{MOST_ROWS}.tif" not in page.texts
