"""Write envs/quadrat.yaml: the versions of the lock file, for conda."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

# What conda-forge calls differently, or splits differently, than PyPI.
CONDA_NAMES = {"pyvips-binary": "libvips", "isal": "python-isal", "xxhash": "python-xxhash"}


def locked_versions(lock: str) -> dict[str, str]:
    """Give the version of each package of a lock file."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", lock, flags=re.MULTILINE))


def conda_environment() -> str:
    """Give the environment of all rules: what the library and the workflow import, pinned as locked."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    locked = locked_versions((PROJECT / "requirements.lock").read_text())
    names = [re.match(r"[A-Za-z0-9._-]+", requirement)[0] for requirement in project["dependencies"]]
    lines = [f"  - {CONDA_NAMES.get(name, name)}={locked[name]}" for name in names]
    return "\n".join(
        [
            "# The versions of requirements.lock; written by `make lock`.",
            "channels:",
            "  - conda-forge",
            "  - bioconda",
            "  - nodefaults",
            "dependencies:",
            "  - python>=3.11",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    (PROJECT / "envs/quadrat.yaml").write_text(conda_environment())
