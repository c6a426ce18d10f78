import os
from pathlib import Path

import pytest

from quadrat.errors import ResultsError
from quadrat.results.folder import ResultsFolder, split_version_path

VERSION = "0123456789ab"


@pytest.mark.parametrize("key", ["a.tif", "north/a.tif", "a", "a.b.c", f"a.{VERSION}", "a.parquet"])
def test_version_path_can_be_taken_apart(key):
    folder = ResultsFolder("results")
    assert split_version_path(folder.version_path(key, VERSION)) == (f"results/versions/{key}", VERSION)


@pytest.mark.parametrize(
    "name",
    [
        "a.tif.parquet",
        "a.tif.0123456789.parquet",
        "a.tif.0123456789AB.parquet",
        "a.tif.0123456789ab",
        "0123456789ab.parquet",
        ".a.tif.0123456789ab.parquet.x8k_.tmp",
    ],
)
def test_other_file_is_no_version(name):
    assert split_version_path(f"results/versions/{name}") == ("", "")


def test_versions_are_listed_by_key(results):
    paths = [
        results.version_path(key, version)
        for key, version in [("a.tif", "b" * 12), ("a.tif", "a" * 12), ("north/a.tif", "c" * 12)]
    ]
    for path in [
        *paths,
        f"{results.versions}/north/.a.tif.{'c' * 12}.parquet.1.tmp",
        f"{results.versions}/note",
    ]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).touch()
    assert results.list_versions() == {"a.tif": [paths[1], paths[0]], "north/a.tif": [paths[2]]}


def test_shards_are_listed_by_the_result_that_they_are_joined_to(results):
    paths = [results.shard_path("north/a.tif", VERSION, rows) for rows in ("0-9", "10-17")]
    paths += [f"{results.shards}/a.1-2.tif.{VERSION}.0-9.npz"]  # of an earlier version
    others = [
        f"{results.shards}/{name}"
        for name in ("a.parquet", f"a.tif.{VERSION}.parquet", f".a.{VERSION}.0-9.parquet.x8.tmp")
    ]
    for path in [*paths, *others]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).touch()
    assert results.list_shards() == {
        results.version_path("north/a.tif", VERSION): paths[:2],
        results.version_path("a.1-2.tif", VERSION): paths[2:],
    }


def test_what_killed_jobs_left_is_removed_and_nothing_else(results):
    left = [
        f"{results.versions}/north/.a.tif.{VERSION}.parquet.x8.tmp",
        f"{results.shards}/.a.tif.{VERSION}.0-9.parquet.x8.tmp",
        f"{results.path}/.predictions.parquet.x8.tmp",
        f"{results.path}/.quadrat/.plan.json.x8.tmp",
        f"{results.links}/.x8.tmp",
    ]
    kept = [
        results.version_path("a.tif", VERSION),
        results.version_path(".a.tmp", VERSION),
        results.predictions,
        f"{results.versions}/.note",
        f"{results.path}/my.tmp",
    ]
    for path in [*left, *kept]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).touch()
    os.unlink(left[-1])
    os.symlink("nowhere", left[-1])
    results.remove_leftovers()
    assert not any(map(os.path.lexists, left))
    assert all(map(os.path.exists, kept))


def test_folder_that_is_not_there_lists_nothing(results):
    results.remove_leftovers()
    assert results.list_shards() == {}
    assert results.list_versions() == {}
    assert results.read_merged() == {}


def test_paths_are_text_beneath_the_folder_as_it_was_given():
    folder = ResultsFolder("./my results")
    for name, value in vars(ResultsFolder).items():
        if isinstance(value, property):
            assert getattr(folder, name).startswith("./my results/")
    assert folder.log("predict_image", "a.tif") == "./my results/logs/predict_image/a.tif.log"


def test_broken_record_of_the_merge_is_refused_with_what_to_do(results):
    os.makedirs(os.path.dirname(results.merged))
    Path(results.merged).write_bytes(b'{"state"')
    with pytest.raises(ResultsError, match=r"merged\.json: .*; delete it and run again"):
        results.read_merged()


def test_folder_that_any_user_may_write_to_is_told(results):
    os.mkdir(results.path)
    assert results.sharing() == []
    os.chmod(results.path, 0o777)
    assert len(results.sharing()) == 1
    assert results.sharing()[0].startswith(f"warning: {results.path}: any user may write there; ")


def test_plan_of_another_user_is_told(results, monkeypatch):
    os.makedirs(os.path.dirname(results.plan))
    Path(results.plan).touch()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert len(results.sharing()) == 1
    assert "belongs to another user" in results.sharing()[0]
