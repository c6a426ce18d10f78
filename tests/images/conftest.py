"""Fixtures of the reader tests: the trap images."""

import pytest

from traps import TIFF_TRAPS


@pytest.fixture(scope="session")
def trap_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("traps")


@pytest.fixture(scope="session")
def tiff_trap_path(trap_folder):
    """Return a function from a trap's name to its file, written on first use."""

    def path_of(name):
        path = trap_folder / f"{name}.tif"
        if not path.exists():
            TIFF_TRAPS[name](path)
        return path

    return path_of


@pytest.fixture(params=TIFF_TRAPS)
def tiff_trap(request, tiff_trap_path):
    return tiff_trap_path(request.param)
