"""Fixtures of the tests that run quadrat on a real Slurm, which they bring up and take down."""

import os

import pytest

from slurm import running_slurm, why_not
from slurm_studies import SlurmStudy
from studies import PATCH_SIZE


@pytest.fixture(scope="session")
def slurm():
    """Bring up a cluster of two nodes for all tests of this folder."""
    reason = why_not()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with running_slurm():
        yield


@pytest.fixture(scope="session")
def make_study(slurm, tmp_path_factory):
    """Return a function that makes a study without images; what runs in one at the end is killed."""
    made = []

    def make():
        study = SlurmStudy(tmp_path_factory.mktemp("slurm") / "study")
        study.images.mkdir(parents=True)
        study.configure(patch_size=PATCH_SIZE, maps=False)
        made.append(study)
        return study

    yield make
    for study in made:
        study.kill()


@pytest.fixture(scope="module", autouse=True)
def _runs(request):
    """Start the runs of all selected tests at once: they mostly wait."""
    tests = [item for item in request.session.items if item.path == request.path]
    for name in dict.fromkeys(name for test in tests for name in test.fixturenames):
        if name.endswith("_run"):
            request.getfixturevalue(name)
