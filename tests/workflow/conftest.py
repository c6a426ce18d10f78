"""Fixtures of the tests that run the real Snakemake."""

import shutil

import pytest

from studies import PATCH_SIZE, Study, write_image


@pytest.fixture
def study(tmp_path):
    """Return a study without images."""
    study = Study(tmp_path / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=PATCH_SIZE, maps=False)
    return study


@pytest.fixture(scope="session")
def _finished(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("finished") / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=PATCH_SIZE, maps=False)
    for seed, name in enumerate(["a.tif", "b.tif", "north/a.tif", "north/c.tif"]):
        write_image(study.images / name, seed)
    first = study.run()
    assert first.code == 0, first.output
    assert first.predicted == 4, first.output
    assert first.jobs("draw_maps") == first.jobs("write_overview") == 0
    return study


@pytest.fixture
def finished(_finished, tmp_path):
    """Return a study of four images that was run to its end: a copy, so that it can be changed."""
    shutil.copytree(_finished.path, tmp_path / "study", symlinks=True)
    return Study(tmp_path / "study")
