import json
import os
from pathlib import Path

import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quadrat.errors import ResultsError
from quadrat.grid import EDGES, PatchGrid
from quadrat.patches.stream import rows_together
from quadrat.plan.plan import make_plan, read_plan
from quadrat.plan.sharding import answer, cut_rows

grids = st.builds(
    PatchGrid,
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 60),
    st.integers(1, 80),
    st.sampled_from(EDGES),
)


def rows_of(shards):
    """Return the grid rows that the names of shards tell."""
    return [path.rsplit(".", 2)[1] for path in shards.paths]


@given(grids, st.integers(1, 3000), st.integers(1, 10**7))
def test_shards_hold_each_grid_row_once_in_order(grid, seek_height, shard_pixels):
    parts = cut_rows(grid, seek_height, shard_pixels)
    rows = [row for part in parts for row in part]
    assert rows == list(range(grid.rows)) or (rows == [] and len(grid) == 0)
    assert all(len(part) for part in parts)


@given(grids, st.integers(1, 3000), st.integers(1, 10**7))
def test_shards_are_whole_groups_of_rows(grid, seek_height, shard_pixels):
    for part in cut_rows(grid, seek_height, shard_pixels):
        assert part[0] % rows_together(grid.cols) == 0


@given(grids, st.integers(1, 3000), st.integers(1, 10**7))
def test_no_more_than_two_shards_decode_the_same_pixels(grid, seek_height, shard_pixels):
    decoded = {}
    for part in cut_rows(grid, seek_height, shard_pixels):
        bottom = min(grid.ys[part[-1]] + grid.patch_size, grid.height)
        for step in range(grid.ys[part[0]] // seek_height, (bottom - 1) // seek_height + 1):
            decoded[step] = decoded.get(step, 0) + 1
    assert max(decoded.values(), default=0) <= 2


@given(grids, st.integers(1, 10**7))
def test_there_are_no_more_shards_than_asked_for(grid, shard_pixels):
    assert len(cut_rows(grid, 1, shard_pixels)) <= -(-grid.height * grid.width // shard_pixels)


def test_shards_are_of_about_the_same_size():
    parts = cut_rows(PatchGrid(40_000, 40_000), 256, 200_000_000)
    assert len(parts) == 8
    assert {len(part) for part in parts} == {9, 10}


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """Read headers in this process, which is quicker, and give the names of their files."""
    names = []

    def read_here(_module, questions):
        names.extend(Path(question["path"]).name for question in questions)
        return [json.loads(json.dumps(answer(question))) for question in questions]

    monkeypatch.setattr("quadrat.plan.sharding.answers", read_here)
    return names


@pytest.fixture
def write_large(write_tiff):
    """Return a function that writes an image of 400 x 300 px in small tiles."""

    def write(filename):
        return write_tiff(filename, height=400, width=300, tile=(16, 16), compression="zlib")

    return write


@pytest.fixture
def plan(make_settings):
    """Return a function that plans patches of 32 px, and returns the shards by filename, and the plan."""

    def make(shard_pixels=30_000, announce=lambda line: None, **config):
        settings = make_settings(patch_size=32, shard_pixels=shard_pixels, **config)
        made = make_plan(settings, announce)
        by_result = dict(zip(made.results, made.images, strict=True))
        return {by_result[result].filename: shards for result, shards in made.shards.items()}, made

    return make


def test_image_larger_than_a_shard_is_cut(write_tiff, write_large, plan, results):
    image = write_large("north/a.tif")
    write_tiff("small.tif")
    lines = []
    shards, made = plan(announce=lines.append)
    assert list(shards) == ["north/a.tif"]
    assert rows_of(shards["north/a.tif"]) == ["0-7", "8-11"]
    (version,) = [planned.version for planned in made.images if planned.filename == "north/a.tif"]
    assert shards["north/a.tif"].paths[0] == f"{results.path}/shards/north/a.tif.{version}.0-7.parquet"
    stat = image.path.stat()
    assert shards["north/a.tif"].files == {str(image.path): [stat.st_size, stat.st_mtime_ns]}
    assert lines[0].endswith("; 2 to predict, 1 of them in 2 shards")


def test_jobs_find_the_shards_that_were_planned(write_large, plan):
    write_large("a.tif")
    _, made = plan()
    assert made.shards
    assert read_plan(made.settings).shards == made.shards


def test_no_image_is_cut_unless_it_is_asked_for(write_large, plan, opened, results):
    write_large("a.tif")
    assert plan(shard_pixels=None)[0] == {}
    assert opened == []
    assert not os.path.exists(results.shard_plan)


def test_only_files_that_may_hold_so_many_pixels_are_looked_into(write_tiff, write_large, plan, opened):
    write_tiff("a.tif", height=100, width=140)
    size = write_large("b.tif").path.stat().st_size
    plan(shard_pixels=size * 1000)
    assert opened == ["b.tif"]


def test_header_is_read_once_whatever_becomes_of_the_configuration(write_large, plan, opened):
    path = write_large("a.tif").path
    first, _ = plan()
    for config in ({}, {"edge": "pad"}, {"shard_pixels": 20_000}):
        assert plan(**config)[0]
    assert opened == ["a.tif"]
    os.utime(path, ns=(1, 1))
    plan()
    assert opened == ["a.tif", "a.tif"]
    assert rows_of(first["a.tif"]) == rows_of(plan()[0]["a.tif"])


def test_image_whose_result_is_there_is_neither_cut_nor_looked_into(write_large, plan, opened):
    write_large("a.tif")
    _, made = plan(shard_pixels=None)
    Path(made.results[0]).parent.mkdir(parents=True)
    Path(made.results[0]).touch()
    assert plan()[0] == {}
    assert opened == []


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_image_that_can_only_be_read_from_the_top_is_not_cut(images, plan, noise, name):
    Image.fromarray(noise(400, 300, 3)).save(images / name)
    assert plan()[0] == {}


def test_image_of_one_compressed_strip_is_not_cut(write_tiff, plan):
    write_tiff("a.tif", height=400, width=300, rowsperstrip=400, compression="zlib")
    assert plan()[0] == {}


def test_uncompressed_image_of_one_strip_is_cut(images, plan, noise):
    tifffile.imwrite(images / "a.tif", noise(40_000, 300), rowsperstrip=40_000)
    assert len(plan(shard_pixels=3_000_000)[0]["a.tif"].paths) == 4


def test_vrt_is_cut_by_its_own_size(write_tiff, images, plan):
    write_tiff("a.tif")
    (images / "a.vrt").write_text(
        '<VRTDataset rasterXSize="300" rasterYSize="900"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    shards, _ = plan(shard_pixels=100_000)
    assert [os.path.basename(path) for path in shards["a.vrt"].files] == ["a.vrt", "a.tif"]


def test_file_that_cannot_be_read_is_left_to_its_job(images, plan):
    (images / "a.tif").write_bytes(b"II*\0" + bytes(10_000))
    shards, made = plan()
    assert (shards, len(made.missing)) == ({}, 1)


def test_shards_of_an_earlier_run_are_reported_and_not_computed_again(write_large, plan):
    write_large("a.tif")
    shards, made = plan()
    first, *others = shards["a.tif"].paths
    Path(first).parent.mkdir(parents=True)
    Path(first).touch()
    lines = []
    _, made = plan(announce=lines.append)
    assert made.missing_shards == set(others)
    assert made.superseded == []
    assert lines[0].endswith("; 1 to predict, 1 of them in 2 shards, 1 of which exist")


@pytest.mark.parametrize("config", [{"shard_pixels": None}, {"edge": "pad"}])
def test_shards_of_another_configuration_are_superseded(write_large, plan, config):
    write_large("a.tif")
    first = plan()[0]["a.tif"].paths[0]
    Path(first).parent.mkdir(parents=True)
    Path(first).touch()
    assert plan(**config)[1].superseded == [first]


@pytest.mark.parametrize("content", ["", "5", "{}", '{"shards": {"a": 5}, "shapes": {}}', "[" * 10_000])
def test_plan_of_shards_that_another_wrote_is_refused_in_one_line(write_large, plan, results, content):
    write_large("a.tif")
    plan()
    Path(results.shard_plan).write_text(content)
    with pytest.raises(ResultsError, match=r"^.*shards\.json: quadrat did not write this file .*; delete it"):
        plan()


def test_planning_that_cuts_nothing_anew_leaves_its_file_alone(write_large, plan, results):
    write_large("a.tif")
    plan()
    before = os.stat(results.shard_plan)
    plan()
    assert os.stat(results.shard_plan).st_ino == before.st_ino
