"""The source distribution and the wheel, and the places that name the version in them."""

import email
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from documents import blocks
from quadrat import __version__
from quadrat.results.merge import merge_predictions

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder of a source distribution, and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, PROJECT]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def sources():
    """Return the files of the checkout that git does not ignore."""
    git = ["git", "-C", PROJECT, "-c", "safe.directory=*"]
    if not (PROJECT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = [*git, "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in names if (PROJECT / name).exists()}


def test_source_distribution_is_the_checkout(built, sources):
    top = f"quadrat-{__version__}/"
    with tarfile.open(built / f"quadrat-{__version__}.tar.gz") as archive:
        names = {member.name.removeprefix(top) for member in archive if member.isfile()}
    made = ("PKG-INFO", "setup.cfg", "scripts/quadrat.egg-info/")  # by setuptools
    assert {name for name in names if not name.startswith(made)} == sources


def test_wheel_is_the_library_and_nothing_else(built, sources):
    with zipfile.ZipFile(built / f"quadrat-{__version__}-py3-none-any.whl") as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name.removeprefix("scripts/") for name in sources if name.startswith("scripts/quadrat/")}


def test_page_on_a_package_index_is_complete_in_itself(built):
    with zipfile.ZipFile(built / f"quadrat-{__version__}-py3-none-any.whl") as archive:
        metadata = email.message_from_bytes(archive.read(f"quadrat-{__version__}.dist-info/METADATA"))
    page = metadata.get_payload(decode=True).decode()
    assert page == (PROJECT / "docs/package.md").read_text(encoding="utf-8")
    assert "](" not in page, "a package index shows no relative links and pictures"


def test_citation_and_changelog_name_the_version_of_the_library():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## (\d\S*), (\S+)$", changelog, re.MULTILINE)
    assert releases[:1] in ([], [(__version__, str(citation["date-released"]))])


@pytest.mark.long
def test_wheel_alone_reads_results_as_its_page_shows(built, write_result, make_settings, results, tmp_path):
    predictions = {"north/scene_01.tif": [0.13, 0.52], "b.png": [7.0]}
    paths = [write_result(filename, values) for filename, values in predictions.items()]
    merge_predictions(paths, [], make_settings().as_dict(), {}, print)

    with tarfile.open(built / f"quadrat-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"quadrat-{__version__}"
    subprocess.run([sys.executable, source / "envs/install.py"], check=True)
    python = source / ".venv/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"]
    subprocess.run([*install, *built.glob("*.whl")], check=True)

    (block,) = blocks("python", "docs/package.md")
    shown = "\nimport json, quadrat; print(json.dumps([predictions.to_dict(), quadrat.__file__]))"
    command = [python, "-I", "-c", block.text + shown]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    read, place = json.loads(done.stdout)
    assert read == predictions
    assert Path(place).is_relative_to(source / ".venv")
