import subprocess
from importlib.metadata import version

import pytest
import yaml

import quadrat
from quadrat.run import record
from quadrat.run.record import write_run_record


@pytest.fixture
def write(tmp_path):
    """Return a function from a project folder to the record of a run."""

    def write_and_read(project, settings=None):
        path = tmp_path / "results/run.yaml"
        write_run_record(path, settings or {}, {"patch_size": 512}, str(project))
        return yaml.safe_load(path.read_text())

    return write_and_read


@pytest.fixture
def checkout(tmp_path):
    """Return a git checkout with one commit, and a function that calls git there."""
    folder = tmp_path / "project"
    folder.mkdir()

    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    (folder / "Snakefile").write_text("one\n")
    git("add", ".")
    git("commit", "--quiet", "--message=one")
    return folder, git


def test_record_holds_configuration_and_versions(write, tmp_path, make_settings):
    settings = make_settings(channels=[3, 2]).as_dict()
    record = write(tmp_path, settings)
    assert record["configuration"] == settings
    assert record["made_from"] == {"patch_size": 512}
    assert record["quadrat"] == quadrat.__version__
    assert record["libraries"]["numpy"] == version("numpy")
    assert record["libraries"]["snakemake"] == version("snakemake")


def test_commit_of_the_project_is_recorded(write, checkout):
    folder, git = checkout
    assert write(folder)["commit"] == git("rev-parse", "HEAD")


def test_commit_is_recorded_even_where_there_is_a_tag(write, checkout):
    folder, git = checkout
    git("tag", "--annotate", "--message=first", "v1")
    assert write(folder)["commit"] == git("rev-parse", "HEAD")


def test_change_that_is_not_committed_is_marked(write, checkout):
    folder, git = checkout
    (folder / "Snakefile").write_text("two\n")
    assert write(folder)["commit"] == git("rev-parse", "HEAD") + "+"


def test_project_that_is_no_checkout_has_no_commit(write, tmp_path):
    assert write(tmp_path)["commit"] is None


def test_library_whose_version_nobody_recorded_has_none(write, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "LIBRARIES", ("numpy", "no-such-library"))
    assert write(tmp_path)["libraries"] == {"numpy": version("numpy"), "no-such-library": None}
