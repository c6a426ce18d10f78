"""Regions: an image whose annotations change is predicted again, alone."""

import json

import pandas as pd
import pytest

from quadrat import predict_image
from studies import PATCH_SIZE


def draw(folder, filename, *cells):
    """Write the regions of an image, as QuPath does: a box around some cells of its grid."""
    features = []
    for row, col in cells:
        y, x = row * PATCH_SIZE, col * PATCH_SIZE
        ring = [
            [x + dx * PATCH_SIZE, y + dy * PATCH_SIZE] for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
        ]
        features.append({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}})
    path = folder / f"{filename}.geojson"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_changed_annotations_rerun_their_image_alone(finished):
    before, folder = finished.dictionary, finished.path / "annotations"
    draw(folder, "a.tif", (0, 1))
    draw(folder, "north/a.tif", (0, 0), (2, 3))
    finished.configure(regions="annotations")
    first = finished.run()
    assert (first.code, first.predicted) == (0, 4), first.output
    assert "2 images have no file there, such as b.tif.geojson" in first.output
    draw(folder, "a.tif", (0, 1), (1, 0))
    run = finished.run()
    assert (run.code, run.predicted, run.merged) == (0, 1, True), run.output
    inside = {"a.tif": (1, 4), "b.tif": (), "north/a.tif": (0, 11), "north/c.tif": ()}
    assert finished.dictionary == {
        filename: [value if cell in inside[filename] else None for cell, value in enumerate(before[filename])]
        for filename in before
    }
    table = pd.read_csv(finished.results / "regions.tsv", sep="\t", dtype={"class": str})
    drawn = table[["filename", "region", "patches", "predicted"]].values.tolist()
    assert drawn == [
        ["a.tif", 1, 1, 1],
        ["a.tif", 2, 1, 1],
        ["north/a.tif", 1, 1, 1],
        ["north/a.tif", 2, 1, 1],
    ]
    means = [finished.dictionary[name][cell] for name in ("a.tif", "north/a.tif") for cell in inside[name]]
    assert table["mean"].tolist() == pytest.approx(means, rel=1e-15)
    table = predict_image(finished.images / "north/a.tif", patch_size=PATCH_SIZE, regions=folder / "north")
    assert table.equals(finished.result("north/a.tif"))
    assert table["skipped"].to_pylist().count("outside") == 10
    assert finished.run().nothing_to_be_done
    (finished.results / "regions.tsv").unlink()
    run = finished.run()
    assert (run.predicted, run.merged) == (0, True), run.output
    assert (finished.results / "regions.tsv").exists()
    finished.configure(regions=None)
    finished.run()
    assert not (finished.results / "regions.tsv").exists()
