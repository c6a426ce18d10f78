"""Fixtures of the tests that run quadrat on a real Slurm, which they bring up and take down."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from slurm import missing_programs, running_slurm
from slurm_studies import SlurmStudy
from studies import PATCH_SIZE, write_image


@pytest.fixture(scope="session")
def slurm():
    """Bring up a cluster of two nodes for all tests of this folder."""
    missing = missing_programs()
    reason = "only root may bring up a Slurm" if os.geteuid() else ""
    if missing:
        reason = f"needs {', '.join(missing)}: apt-get install munge slurmctld slurmd slurm-client"
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    # Not in pytest's own folder, which others may not enter: munge refuses such a place.
    with tempfile.TemporaryDirectory(prefix="quadrat-slurm-") as folder:
        os.chmod(folder, 0o755)
        with running_slurm(Path(folder)):
            yield


@pytest.fixture(scope="session")
def make_study(slurm, tmp_path_factory):
    """Give a function that makes a study without images."""

    def make():
        study = SlurmStudy(tmp_path_factory.mktemp("slurm") / "study")
        study.images.mkdir(parents=True)
        study.configure(patch_size=PATCH_SIZE, maps=False)
        return study

    return make


@pytest.fixture
def study(make_study):
    """Give a study without images."""
    return make_study()


@pytest.fixture(scope="session")
def _finished(make_study):
    study = make_study()
    for seed, name in enumerate(["a.tif", "b.tif", "north/a.tif", "north/c.tif"]):
        write_image(study.images / name, seed)
    first = study.run()
    assert (first.code, first.predicted) == (0, 4), first.output
    assert study.states() == ["COMPLETED"] * 5
    return study


@pytest.fixture
def finished(_finished, tmp_path):
    """Give a study of four images that was run on Slurm: a copy, so that it can be changed."""
    shutil.copytree(_finished.path, tmp_path / "study", symlinks=True)
    return SlurmStudy(tmp_path / "study")
