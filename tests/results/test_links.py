import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from quadrat.results.links import link_results


@pytest.fixture
def link(results):
    """Return a function that links results by filename."""
    return lambda targets: link_results(targets, results.links, results.path)


@pytest.fixture
def names(results):
    """Return a function that lists what the folder of links holds, folders too."""

    def listed():
        return sorted(path.relative_to(results.links).as_posix() for path in Path(results.links).rglob("*"))

    return listed


def value(path):
    return pd.read_parquet(path)["prediction"].tolist()


def test_each_result_is_found_under_its_filename(write_result, link, names, results):
    link(
        {
            name: write_result(name, [float(index)])
            for index, name in enumerate(["a b.tif", "x/ü.tif", "100%.tif"])
        }
    )
    assert names() == ["100%.tif.parquet", "a b.tif.parquet", "x", "x/ü.tif.parquet"]
    assert value(f"{results.links}/a b.tif.parquet") == [0]
    assert value(f"{results.links}/x/ü.tif.parquet") == [1]
    assert value(f"{results.links}/100%.tif.parquet") == [2]


def test_link_follows_to_a_newer_version(write_result, link, results):
    link({"a.tif": write_result("a.tif", [1.0])})
    link({"a.tif": write_result("a.tif", [2.0], version="ba9876543210")})
    assert value(f"{results.links}/a.tif.parquet") == [2]


def test_links_of_other_images_and_folders_left_empty_are_removed(write_result, link, names):
    a, b = write_result("a.tif", [1.0]), write_result("x/y/b.tif", [1.0])
    link({"a.tif": a, "x/y/b.tif": b})
    link({"a.tif": a})
    assert names() == ["a.tif.parquet"]
    assert os.path.exists(b)


def test_no_image_leaves_an_empty_folder(write_result, link, names, results):
    link({"a.tif": write_result("a.tif", [1.0])})
    link({})
    assert names() == []
    assert os.path.isdir(results.links)


def test_file_left_by_a_kill_is_removed(write_result, link, names, results):
    os.makedirs(results.links)
    Path(f"{results.links}/.left.tmp").touch()
    link({"a.tif": write_result("a.tif", [1.0])})
    assert names() == ["a.tif.parquet"]


def test_current_link_is_left_alone(write_result, link, results):
    targets = {"a.tif": write_result("a.tif", [1.0])}
    link(targets)
    before = os.lstat(f"{results.links}/a.tif.parquet")
    link(targets)
    assert os.lstat(f"{results.links}/a.tif.parquet").st_ctime_ns == before.st_ctime_ns


def test_links_hold_when_the_results_folder_is_moved(write_result, link, results, tmp_path):
    link({"x/a.tif": write_result("x/a.tif", [1.0])})
    shutil.move(results.path, tmp_path / "moved")
    assert value(tmp_path / "moved/predictions/x/a.tif.parquet") == [1]


def test_results_are_copied_where_links_cannot_be_made(write_result, link, results, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links on this file system")

    monkeypatch.setattr(os, "symlink", refuse)
    link({"a.tif": write_result("a.tif", [1.0])})
    link({"a.tif": write_result("a.tif", [2.0], version="ba9876543210")})
    assert not os.path.islink(f"{results.links}/a.tif.parquet")
    assert value(f"{results.links}/a.tif.parquet") == [2]


def test_folder_of_links_is_a_table_that_pandas_reads(write_result, link, results):
    link({f"{name}/a.tif": write_result(f"{name}/a.tif", [1.0, 2.0]) for name in "xyz"})
    assert sorted(pd.read_parquet(results.links)["prediction"]) == [1, 1, 1, 2, 2, 2]


def test_name_as_long_as_file_systems_take_is_linked(write_result, link, names):
    name = "a" * 250 + ".tif"
    link({name: write_result(name, [1.0])})
    assert len(names()) == 1


def test_image_in_a_folder_named_like_a_link_before_takes_its_place(write_result, link, names):
    link({"a": write_result("a", [1.0])})
    link({"a.parquet/b": write_result("a.parquet/b", [2.0])})
    assert names() == ["a.parquet", "a.parquet/b.parquet"]
