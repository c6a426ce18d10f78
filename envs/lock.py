"""Pin the newest versions of all dependencies: envs/run.lock, envs/dev.lock, and envs/quadrat.yaml for conda.

``make lock`` runs this file. A lock holds for every Python from 3.11 on, with one version of each package.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from install import PROJECT, lock_path, locked

# What conda-forge calls differently, or splits differently, than PyPI.
CONDA_NAMES = {"pyvips-binary": "libvips", "isal": "python-isal", "xxhash": "python-xxhash"}

RUN = ["--extra", "slides", "--extra", "gis", "--group", "build"]


def main() -> None:
    """Write both locks, and what follows from them."""
    compile_lock("run", RUN)
    beneath = [option for name in locked("run") for option in ("--no-emit-package", name)]
    compile_lock("dev", ["--extra", "dev", "--constraint", str(lock_path("run")), *beneath])
    (PROJECT / "envs/quadrat.yaml").write_text(conda_environment())


def compile_lock(layer: str, options: list[str]) -> None:
    """Write a lock with the newest versions that pyproject.toml and the options allow."""
    every_python = ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
    form = ["--generate-hashes", "--no-header", "--quiet", "--output-file", str(lock_path(layer))]
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "compile", "pyproject.toml", "--upgrade", *every_python, *form, *options]
    subprocess.run(command, cwd=PROJECT, check=True)


def conda_environment() -> str:
    """Return the environment of all rules: what the library and the workflow import, pinned as locked."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    packages = locked("run")
    names = [re.match(r"[A-Za-z0-9._-]+", requirement)[0] for requirement in project["dependencies"]]
    pins = [f"{CONDA_NAMES.get(name, name)}={version_of(packages[name])}" for name in names]
    return "\n".join(
        [
            "# The versions of envs/run.lock; written by `make lock`.",
            "channels:",
            "  - conda-forge",
            "  - bioconda",
            "  - nodefaults",
            "dependencies:",
            "  - python>=3.11",
            *(f"  - {pin}" for pin in pins),
            "  - openslide-python",  # for slides; conda-forge numbers OpenSlide itself differently
            "",
        ]
    )


def version_of(package: str) -> str:
    """Return the version that the lines of a locked package pin."""
    return re.match(r"[^=]+==([^ ;\\]+)", package)[1]


if __name__ == "__main__":
    main()
