"""A slide of which the scanner covered a part: OpenSlide shows all of it, and QuPath the part alone."""

import csv
import json

import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest

from quadrat.exports import qupath, wsinfer
from quadrat.files.hashing import hash_file
from quadrat.jobs.predict import predict_image
from quadrat.results.result import read_result
from quadrat.views.patch_map import read_patch_map
from slides import write_mrxs, write_scn

TILE, ROWS, COLS = 32, 16, 18
TOP, LEFT, BOTTOM, RIGHT = 3, 2, 6, 8  # what was scanned, in tiles
GLASS, STAIN = (240, 206, 241), (170, 60, 140)
STAINED = (slice(4 * TILE, 5 * TILE), slice(6 * TILE, 7 * TILE))


@pytest.fixture
def slide(images):
    """Return an MRXS slide that was scanned in part; one tile of it is stained."""
    rng = np.random.default_rng(0)
    pixels = np.full((ROWS * TILE, COLS * TILE, 3), 255, np.uint8)
    scanned = pixels[TOP * TILE : BOTTOM * TILE, LEFT * TILE : RIGHT * TILE]
    scanned[:] = GLASS
    pixels[STAINED] = STAIN
    scanned[..., 1] += rng.integers(0, 6, scanned.shape[:2], np.uint8)
    left_out = [
        row * COLS + col
        for row in range(ROWS)
        for col in range(COLS)
        if not (TOP <= row < BOTTOM and LEFT <= col < RIGHT)
    ]
    write_mrxs(images / "a.mrxs", pixels, tile=TILE, left_out=left_out)
    return images / "a.mrxs"


@pytest.fixture
def predict(make_task, results):
    """Return a function that predicts the mean of each patch of 32 px, and returns the path of the result."""

    def run(path, **options):
        output = results.version_path(path.name, "0123456789ab")
        predict_image(make_task(path, output=output, **({"patch_size": TILE, "stride": TILE} | options)))
        return output

    return run


def crop(path):
    """Return what QuPath shows, and where it lies: the bounds that OpenSlide gives."""
    with openslide.OpenSlide(path) as slide:
        x, y, width, height = (
            int(slide.properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height")
        )
        return np.asarray(slide.read_region((x, y), 0, (width, height)).convert("RGB")), x, y


def predicted(result):
    """Return the upper left corner of each patch that was predicted, and the reasons of the others."""
    rows = pq.read_table(result).to_pylist()
    return {(row["y"], row["x"]) for row in rows if row["skipped"] is None}, {row["skipped"] for row in rows}


def test_patches_outside_of_what_was_scanned_are_skipped_whatever_the_configuration(slide, predict):
    kept, reasons = predicted(predict(slide))
    assert kept == {(TILE * row, TILE * col) for row in range(TOP, BOTTOM) for col in range(LEFT, RIGHT)}
    assert reasons == {None, "unscanned"}


@pytest.mark.parametrize("level", [0, 1])
def test_patch_of_which_a_pixel_was_scanned_is_kept_at_any_level(slide, predict, level):
    kept, _ = predicted(predict(slide, patch_size=50, stride=25, level=level, edge="pad"))
    step, size = 25 << level, 50 << level
    assert kept == {
        (y, x)
        for y in range(0, ROWS * TILE, step)
        for x in range(0, COLS * TILE, step)
        if TOP * TILE - size < y < BOTTOM * TILE and LEFT * TILE - size < x < RIGHT * TILE
    } - _beyond_the_last(size, step)


def _beyond_the_last(size, step):
    """Return the corners after the first patch that reaches the end of the slide, where padding ends."""
    ends = (ROWS * TILE, COLS * TILE)
    first = [next(start for start in range(0, end, step) if start + size >= end) for end in ends]
    return {
        (y, x)
        for y in range(0, ends[0], step)
        for x in range(0, ends[1], step)
        if y > first[0] or x > first[1]
    }


def test_patches_between_the_regions_of_a_leica_slide_are_unscanned(images, predict):
    regions = [(64, 64, np.full((128, 64, 3), 50, np.uint8)), (256, 320, np.full((64, 128, 3), 90, np.uint8))]
    write_scn(images / "a.scn", (512, 512), regions)
    rows = pq.read_table(predict(images / "a.scn", patch_size=64, stride=64)).to_pylist()
    found = {(row["y"], row["x"]): row["prediction"] for row in rows if row["skipped"] is None}
    assert found == {(64, 64): 50.0, (128, 64): 50.0, (256, 320): 90.0, (256, 384): 90.0}


def test_detections_lie_in_qupath_where_openslide_shows_what_was_predicted(slide, predict, tmp_path):
    result = read_result(predict(slide))
    shown, _, _ = crop(slide)
    qupath.write(result, tmp_path / "out.geojson")
    features = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert len(features) == (BOTTOM - TOP) * (RIGHT - LEFT)
    for feature in features:
        (left, top), _, (right, bottom), *_ = feature["geometry"]["coordinates"][0]
        mean = shown[top:bottom, left:right].mean()
        assert feature["properties"]["measurements"]["prediction"] == mean


def test_other_exports_are_in_the_pixels_of_openslide(slide, predict, tmp_path):
    wsinfer.write(read_result(predict(slide)), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file, openslide.OpenSlide(slide) as opened:
        for row in csv.DictReader(file):
            place, size = (int(row["minx"]), int(row["miny"])), (int(row["width"]), int(row["height"]))
            pixels = np.asarray(opened.read_region(place, 0, size))
            assert pixels[..., 3].all()
            assert float(row["prob_prediction"]) == pixels[..., :3].mean()


def test_regions_drawn_in_qupath_lie_where_qupath_shows_them(slide, predict, tmp_path):
    shown, x, y = crop(slide)
    rows, cols = np.nonzero(shown[..., 0] == STAIN[0])
    top, left, bottom, right = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    drawn = tmp_path / "a.mrxs.geojson"
    drawn.write_text(json.dumps({"type": "Polygon", "coordinates": [np.array(ring).tolist()]}))
    regions = {"path": str(drawn), "hash": hash_file(drawn), "in_pixels": True}
    kept, reasons = predicted(predict(slide, regions=regions))
    assert kept == {(top + y, left + x)} == {(STAINED[0].start, STAINED[1].start)}
    assert reasons == {None, "unscanned", "outside"}


def test_what_was_not_scanned_does_not_change_what_is_tissue(slide, predict):
    kept, reasons = predicted(predict(slide, skip={"background": {"tissue_below": 0.5}}))
    assert kept == {(STAINED[0].start, STAINED[1].start)}
    assert reasons == {None, "unscanned", "background"}


def test_map_shows_the_whole_slide_and_why_patches_of_it_are_empty(slide, predict):
    drawn = read_patch_map(predict(slide))
    with openslide.OpenSlide(slide) as opened:
        assert (drawn.width, drawn.height) == opened.dimensions
    assert (drawn.skipped == "unscanned").sum() == ROWS * COLS - (BOTTOM - TOP) * (RIGHT - LEFT)
