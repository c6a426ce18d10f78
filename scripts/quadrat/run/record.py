"""The record of a run: the configuration and the software that its results were made with."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from quadrat._version import __version__
from quadrat.files.atomic import replace_file

LIBRARIES = ("snakemake", "numpy", "pyarrow", "tifffile", "imagecodecs", "pyvips", "rasterio")


def write_run_record(
    path: str,
    settings: dict[str, Any],
    recipe: dict[str, Any],
    project: str,
    results: str | None = None,
) -> None:
    """Write `run.yaml`.

    Parameters
    ----------
    path : str
        File to write.
    settings : dict
        The effective configuration.
    recipe : dict
        The content of versions: the configuration that changes results, with hashes of files.
    project : str
        Folder of the workflow, whose commit is recorded if it is a git checkout.
    results : str, optional
        The results folder that the file is in; see `quadrat.files.atomic.replacing`.
    """
    record = {
        "quadrat": __version__,
        "commit": _commit(project),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "configuration": settings,
        "made_from": recipe,
    }
    replace_file(path, yaml.safe_dump(record, sort_keys=False, allow_unicode=True).encode(), results)


def _commit(project: str) -> str | None:
    """Return the commit of a checkout, with a plus where files differ from it; None if there is none."""
    try:
        described = subprocess.run(
            ["git", "-C", project, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
