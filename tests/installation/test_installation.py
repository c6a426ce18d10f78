"""The commands of the README in a fresh clone: with each Python found, old and new pips, newer packages."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.markers import Marker

from wheels import write_wheel

pytestmark = pytest.mark.long

PROJECT = Path(__file__).resolve().parents[2]
SUPPORTED = ("3.11", "3.12", "3.13")

# Where interpreters lie: on the PATH, where systems put their own, and where common installers keep several.
FOLDERS = [*map(Path, os.environ["PATH"].split(os.pathsep)), Path("/usr/bin"), Path("/usr/local/bin")]
INSTALLERS = (".pyenv/versions/*/bin", ".local/share/uv/python/*/bin", "miniforge3/envs/*/bin")

# The oldest pip that `make` has to work with. It starts on no Python after 3.11.
OLDEST_PIP = "pip==22.0"

# What may appear on an index after the lock was made: packages that others ask for with an extra (coverage)
# and without, and those that build and install others.
APPEARED = ("coverage", "numpy", "setuptools", "cffi", "uv")

# 70 % of the 1,487 MB that the environment took when one lock held all packages.
MOST_MB = 1040


class Case(NamedTuple):
    """An interpreter; the pip that its environment gets, unless its own; whether uv reaches no index."""

    version: str
    python: str
    pip: str = ""
    is_uv_cut_off: bool = False


def version_of(python: Path) -> str:
    """Return the minor version of an interpreter; nothing if it does not start or is of an environment."""
    code = "import sys; print('%d.%d' % sys.version_info[:2] if sys.prefix == sys.base_prefix else '')"
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True).stdout.strip()


def find_cases() -> list[Case]:
    """Find an interpreter of each supported version and the system's; give the oldest and newest a pip."""
    folders = FOLDERS + [folder for pattern in INSTALLERS for folder in sorted(Path.home().glob(pattern))]
    named = [[folder / f"python{version}" for folder in folders] for version in SUPPORTED]
    found = {}
    for paths in [*named, [Path("/usr/bin/python3")]]:
        versions = {path: version_of(path) for path in paths if path.exists()}
        path = next((path for path, version in versions.items() if version in SUPPORTED), None)
        if path:
            found.setdefault(path.resolve(), Case(versions[path], str(path)))
    cases = sorted(found.values(), key=lambda case: SUPPORTED.index(case.version))
    if len(cases) > 1:
        cases[-1] = cases[-1]._replace(pip="pip", is_uv_cut_off=True)
        if cases[0].version == "3.11":
            cases[0] = cases[0]._replace(pip=OLDEST_PIP, is_uv_cut_off=True)
    return cases


CASES = find_cases()


@pytest.fixture(scope="module")
def appeared(tmp_path_factory):
    """Return a folder of packages that appeared after the lock, none of which works."""
    folder = tmp_path_factory.mktemp("appeared")
    for name in APPEARED:
        write_wheel(folder, name, "9999.0", {f"{name}/__init__.py": "raise ImportError('not locked')\n"})
    return folder


@pytest.fixture
def make(tmp_path, appeared):
    """Return a function that runs a target of the Makefile in a fresh clone, and returns its output."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)
    # What the environment of the tests, and the `make` that runs them, leave to their children.
    own = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    variables = {name: value for name, value in os.environ.items() if name not in own}
    folders = [str(folder) for folder in FOLDERS if not (folder.parent / "pyvenv.cfg").exists()]
    variables |= {
        "PATH": os.pathsep.join(folders),
        "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {appeared}",
        "UV_FIND_LINKS": str(appeared),
    }
    cut_off = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "0"}

    def run(case, target):
        outcome = subprocess.run(
            ["make", f"PYTHON={case.python}", target],
            cwd=clone,
            env=variables | (cut_off if case.is_uv_cut_off else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert outcome.returncode == 0, outcome.stdout[-4000:]
        return outcome.stdout

    run.clone = clone
    return run


def installed(environment: Path) -> dict[str, str]:
    """List the packages of an environment, as its interpreter finds them."""
    code = """
import importlib.metadata, json, re
found = importlib.metadata.distributions()
print(json.dumps({re.sub('[-_.]+', '-', each.name).lower(): each.version for each in found}))
"""
    listed = json.loads(subprocess.check_output([environment / "bin/python", "-I", "-c", code]))
    return {name: version for name, version in listed.items() if name not in ("pip", "quadrat")}


def locked(version: str, *layers: str) -> dict[str, str]:
    """List the packages that the locks pin for a version of Python on this machine."""
    pins = {}
    where = {"python_version": version, "python_full_version": f"{version}.0"}
    for layer in layers:
        text = (PROJECT / f"envs/{layer}.lock").read_text()
        for name, pinned, marker in re.findall(r"^([\w.-]+)==([^ ;]+)(?: ; (.*?))? \\$", text, re.MULTILINE):
            if not marker or Marker(marker).evaluate(where):
                pins[name] = pinned
    return pins


def test_two_interpreters_are_found_at_least():
    assert len(CASES) >= 2, CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.python}-{case.pip or 'its pip'}")
def test_demo_in_a_fresh_clone_installs_what_is_locked_and_makes_the_dictionary(case, make):
    environment = make.clone / ".venv"
    if case.pip:
        subprocess.run([case.python, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin/python", "-m", "pip", "install", "--quiet", case.pip], check=True)
    output = make(case, "demo")
    assert ("pip does, which takes minutes" in output) == case.is_uv_cut_off
    assert installed(environment) == locked(case.version, "run")
    if not case.is_uv_cut_off:
        used = subprocess.check_output(["du", "-sm", environment], text=True)
        assert int(used.split()[0]) <= MOST_MB
    dictionary = json.loads((make.clone / "results/great_salt_lake/predictions.json").read_text())
    assert [len(predictions) for predictions in dictionary.values()] == [9]

    make(case, "dev-environment")
    assert installed(environment) == locked(case.version, "run", "dev")
    assert make(case, "install") == "the environment is ready; to use it:  . .venv/bin/activate\n"
