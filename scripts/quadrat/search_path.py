"""The search path of jobs: which copy of the library they import."""

import os
from pathlib import Path

FOLDER = str(Path(__file__).resolve().parents[1])


def lend_to_jobs() -> None:
    """Make processes that this one starts import this copy of the library, whatever quadrat is installed.

    Snakemake itself puts a script's folder last on Python's search path.
    """
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != FOLDER]
    os.environ["PYTHONPATH"] = os.pathsep.join([FOLDER, *others])
