from pathlib import Path

import pytest

from quadrat.drawings import DrawingsFolder
from quadrat.manifest import PlannedImage, table_bytes

A, B = (
    PlannedImage(name, name, "0123456789ab", "1-2", f"images/{name}") for name in ("a.tif", "north/b.tif")
)


@pytest.fixture
def folder(results):
    """Give the names of drawings in a results folder whose table lists two images, one of them failed."""
    Path(results.path).mkdir()
    Path(results.images).write_bytes(
        table_bytes(["filename", "status"], [["a.tif", "failed"], ["north/b.tif", "ok"]])
    )
    return DrawingsFolder(results.path, True)


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
    assert folder.superseded([A, B]) == sorted(old[1:])
    other = DrawingsFolder(folder.results, {"channels": [1]})
    assert other.superseded([A, B]) == sorted([*old[1:], *current[1:]])
    assert DrawingsFolder(folder.results, False).superseded([A, B]) == sorted([*old[1:], *current[1:]])
