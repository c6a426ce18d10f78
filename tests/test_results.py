import os
import subprocess
import sys
from pathlib import Path

import pytest

from quadrat.errors import ResultsError
from quadrat.results import ResultsFolder, RunLock, split_version_path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
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
    assert split_version_path(f"results/versions/{name}") is None


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


def test_folder_that_is_not_there_lists_nothing(results):
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
    with pytest.raises(ResultsError, match=r"merged\.json: .*; delete the file and run again"):
        results.read_merged()


def test_second_run_on_a_results_folder_is_refused_with_what_to_do(results):
    first = RunLock(results.lock)
    with pytest.raises(ResultsError) as caught:
        RunLock(results.lock)
    assert str(caught.value).startswith(f"{results.path}: another run is writing there; wait for it")
    assert "config.yaml: results" in str(caught.value)
    del first


def test_lock_ends_with_its_process_however_that_ends(results):
    program = (
        "import os, sys\n"
        "from quadrat.results import RunLock\n"
        "lock = RunLock(sys.argv[1])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, results.lock], cwd=SCRIPTS, check=False)
    assert done.returncode == -9
    RunLock(results.lock)


def test_two_results_folders_can_be_written_at_once(tmp_path):
    locks = [RunLock(tmp_path / name / ".quadrat/lock") for name in ("one", "other")]
    assert len(locks) == 2
