from pathlib import Path

import pytest

from quadrat.files.text import table_bytes
from quadrat.results.folder import TABLE_COLUMNS
from quadrat.results.merge import merge_predictions
from quadrat.results.tables import PlannedImage
from quadrat.views.drawings import BATCH_BYTES, DrawingsFolder

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


def test_images_with_predictions_are_drawn(folder):
    (drawing,) = folder.current([A, B])
    assert drawing.filename == "north/b.tif"
    assert not drawing.is_there
    draw(drawing)
    assert drawing.is_there


def test_image_whose_name_looks_like_a_formula_is_drawn(write_result, make_settings):
    image = PlannedImage("-1.tif", "-1.tif", "0123456789ab", "1-2", "images/-1.tif", 1)
    settings = make_settings()
    merge_predictions([write_result("-1.tif", [0.5])], [image], settings.as_dict(), {}, lambda line: None)
    (drawing,) = DrawingsFolder(settings.results, True).current([image])
    assert drawing.filename == "-1.tif"


def test_nothing_is_drawn_when_maps_are_off(folder):
    assert DrawingsFolder(folder.results, False).current([A, B]) == []


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


def test_small_images_are_drawn_together_and_large_ones_alone(folder):
    sizes = {"a.tif": 10, "b.tif": 10, "c.tif": BATCH_BYTES, "d.tif": 10, "e.tif": 10}
    planned = [PlannedImage(name, name, "0123456789ab", "1-2", name, size) for name, size in sizes.items()]
    write_table(folder.results, {name: "failed" if name == "d.tif" else "ok" for name in sizes})
    batches = [folder.batch_path(*places, "1f") for places in [(0, 1), (2, 2), (4, 4)]]
    assert folder.missing_batches(planned, "1f") == batches
    draw(folder.at("b.tif", "0123456789ab"))
    draw(folder.at("c.tif", "0123456789ab"))
    assert folder.missing_batches(planned, "1f") == [folder.batch_path(0, 4, "1f")]


def test_marks_of_batches_are_forgotten_and_drawings_kept(folder):
    drawing = folder.at("a.tif", "0123456789ab")
    draw(drawing)
    Path(folder.batch_path(0, 1, "1f")).touch()
    folder.forget_batches()
    assert drawing.is_there
    assert not Path(folder.batch_path(0, 1, "1f")).exists()


def test_drawings_are_found_from_a_result(folder, results):
    drawing = folder.at("north/a.tif", "0123456789ab")
    assert folder.of_result(results.version_path("north/a.tif", "0123456789ab")) == drawing


def test_report_shows_map_and_page(folder):
    drawing = folder.at("a.tif", "0123456789ab")
    assert dict(drawing.views) == {drawing.map: "map", drawing.page: "patch by patch"}


@pytest.mark.parametrize(("maps", "channels"), [(True, None), ({"channels": [3, 2, 1]}, [3, 2, 1])])
def test_pictures_show_the_channels_of_the_configuration(maps, channels):
    assert DrawingsFolder("results", maps).channels == channels
