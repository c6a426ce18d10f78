from pathlib import Path

import pytest

from quadrat.files.text import table_bytes
from quadrat.results.folder import TABLE_COLUMNS
from quadrat.results.merge import merge_predictions
from quadrat.results.tables import PlannedImage
from quadrat.views.drawings import FEWEST, MOST, MOST_BYTES, DrawingsFolder, parts

A, B = (
    PlannedImage(name, name, "0123456789ab", "1-2", f"images/{name}", 1) for name in ("a.tif", "north/b.tif")
)


@pytest.fixture
def folder(results):
    """Return the names of drawings in a results folder whose table lists two images, one of them failed."""
    Path(results.path).mkdir()
    write_table(results.path, {"a.tif": "failed", "north/b.tif": "ok"})
    return DrawingsFolder(results.path, True)


def write_table(results, statuses):
    rows = [[name, status, 1, *[""] * (len(TABLE_COLUMNS) - 3)] for name, status in statuses.items()]
    Path(results, "images.tsv").write_bytes(table_bytes(TABLE_COLUMNS, rows))


def draw(drawing):
    Path(drawing.map).parent.mkdir(parents=True, exist_ok=True)
    Path(drawing.map).touch()
    Path(drawing.page).touch()


def save_thumbnail(folder, image):
    path = Path(folder.thumbnail(image.key, image.version))
    path.parent.mkdir(parents=True)
    path.touch()


def test_images_with_predictions_are_drawn_and_shown_once_they_are(folder):
    assert folder.undrawn([A, B], is_all=True) == [B]
    assert folder.current([A, B]) == []
    draw(folder.at(B.key, B.version))
    assert folder.undrawn([A, B], is_all=True) == []
    assert [drawing.filename for drawing in folder.current([A, B])] == ["north/b.tif"]


def test_only_images_that_a_run_predicts_or_left_undrawn_are_drawn_unless_all_are(folder):
    assert folder.undrawn([A, B], is_all=False) == []
    assert folder.undrawn([A, B], is_all=False, predicted={"a.tif"}) == [A]
    save_thumbnail(folder, B)
    assert folder.undrawn([A, B], is_all=False) == [B]


def test_nothing_is_known_of_a_folder_without_results(results):
    assert DrawingsFolder(results.path, True).undrawn([A, B], is_all=True) == []


def test_image_whose_name_looks_like_a_formula_is_drawn(write_result, make_settings):
    image = PlannedImage("-1.tif", "-1.tif", "0123456789ab", "1-2", "images/-1.tif", 1)
    settings = make_settings()
    merge_predictions([write_result("-1.tif", [0.5])], [image], settings.as_dict(), {}, lambda line: None)
    assert DrawingsFolder(settings.results, True).undrawn([image], is_all=True) == [image]


def test_maps_that_are_drawn_with_auto_are_those_of_true(folder):
    assert DrawingsFolder(folder.results, "auto").at("a.tif", "1") == folder.at("a.tif", "1")


def test_other_versions_and_other_channels_are_drawn_elsewhere(folder):
    rgb = DrawingsFolder(folder.results, {"channels": [3, 2, 1]})
    paths = {
        folder.at("a.tif", "0123456789ab"),
        folder.at("a.tif", "ba9876543210"),
        rgb.at("a.tif", "0123456789ab"),
    }
    assert len({drawing.map for drawing in paths}) == 3


def test_drawings_of_other_images_versions_and_channels_are_superseded(folder):
    current = folder.at(B.key, B.version)
    old = folder.at(B.key, "ba9876543210")
    for drawing in (current, old):
        draw(drawing)
    assert folder.superseded([A, B]) == sorted(old[2:])
    other = DrawingsFolder(folder.results, {"channels": [1]})
    assert other.superseded([A, B]) == sorted([*old[2:], *current[2:]])
    assert DrawingsFolder(folder.results, False).superseded([A, B]) == sorted([*old[2:], *current[2:]])


def test_large_images_are_drawn_alone_and_small_ones_by_all_cores():
    sizes = {"a.tif": 10, "b.tif": 10, "c.tif": MOST_BYTES, "d.tif": 10, "e.tif": 10}
    planned = [PlannedImage(name, name, "0123456789ab", "1-2", name, size) for name, size in sizes.items()]
    undrawn = [image for image in planned if image.filename != "d.tif"]
    assert parts(planned, undrawn, 1) == ["0-1", "2-2", "4-4"]
    assert parts(planned, planned[3:4], 1) == ["3-3"]
    small = [PlannedImage(str(place), str(place), "0", "1-2", "", 10) for place in range(80)]
    assert parts(small, small, 1) == [f"0-{MOST - 1}", f"{MOST}-79"]
    assert parts(small, small, 2) == ["0-39", "40-79"]
    assert len(parts(small, small, 64)) == 80 // FEWEST


def test_marks_of_parts_are_forgotten_and_drawings_kept(folder):
    drawing = folder.at("a.tif", "0123456789ab")
    draw(drawing)
    mark = Path(folder.part_path("0-1.new", "1f"))
    mark.touch()
    folder.forget_parts()
    assert drawing.is_there
    assert not mark.exists()


def test_thumbnails_of_other_versions_are_superseded(folder):
    for image in (A, B):
        (path := Path(folder.thumbnail(image.key, image.version))).parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert folder.superseded([B]) == [folder.thumbnail(A.key, A.version)]


def test_report_shows_map_and_page(folder):
    drawing = folder.at("a.tif", "0123456789ab")
    assert dict(drawing.views) == {drawing.map: "map", drawing.page: "patch by patch"}


@pytest.mark.parametrize(
    ("maps", "channels", "shown"),
    [
        ("auto", None, None),
        ({"channels": [3, 2, 1]}, [4], [3, 2, 1]),
        (True, [4, 3, 2, 8], [4, 3, 2]),
        (True, [8, 4], [8]),
    ],
)
def test_pictures_show_the_channels_of_the_configuration_or_the_first_that_are_read(maps, channels, shown):
    assert DrawingsFolder("results", maps, channels).shown == shown
