import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

# What a run needs although nothing here imports it.
NOT_IMPORTED = {
    "bokeh": "BokehJS, which pages contain",
    "openslide-bin": "OpenSlide, for openslide-python",
    "pygments": "snakemake --report",
    "pyvips-binary": "libvips, for pyvips",
    "snakemake-executor-plugin-cluster-generic": "profiles/cluster-generic",
    "snakemake-executor-plugin-slurm": "profiles/slurm",
}
IMPORT = re.compile(
    r"^ *(?:from (\w+)[\w.]* import .*|import (\w+)[\w.]*(?: as \w+)?(?:  #.*)?)$", re.MULTILINE
)


def canonical(package):
    return re.sub(r"[-_.]+", "-", package).lower()


def test_packages_that_are_imported_are_those_that_are_declared():
    files = [PROJECT / "Snakefile", *PROJECT.glob("workflow/rules/*.smk"), *PROJECT.glob("scripts/**/*.py")]
    names = {name or module for path in files for name, module in IMPORT.findall(path.read_text())}
    packages = importlib.metadata.packages_distributions()
    # PyTorch is imported, and installed on some machines only.
    imported = {
        canonical(packages.get(name, [name])[0]) for name in names - sys.stdlib_module_names - {"quadrat"}
    }
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + extras["torch"] + extras["slides"] + extras["gis"]
    declared = {canonical(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}
    assert imported == declared - NOT_IMPORTED.keys()


def pins(layer: str) -> dict[str, str]:
    """List the packages of a lock file, and the version of each."""
    text = (PROJECT / f"envs/{layer}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("layer", ["run", "dev"])
def test_each_locked_package_has_the_hashes_of_its_files(layer):
    lines = (PROJECT / f"envs/{layer}.lock").read_text().splitlines()
    first = [place for place, line in enumerate(lines) if "==" in line]
    assert len(first) == len(pins(layer)) > 50
    assert all(lines[place + 1].startswith("    --hash=sha256:") for place in first)


def test_no_package_is_in_both_locks():
    assert not pins("run").keys() & pins("dev").keys()


def test_what_a_run_imports_is_in_the_lock_of_runs():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["slides"], *extras["gis"]]:
        assert re.match(r"[\w.-]+", requirement)[0] in pins("run")


def test_conda_environment_pins_what_the_lock_file_pins(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "envs")
    spec = importlib.util.spec_from_file_location("lock", PROJECT / "envs/lock.py")
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    pinned = re.findall(
        r"- ([a-z0-9-]+)=([0-9.]+)$", (PROJECT / "envs/quadrat.yaml").read_text(), re.MULTILINE
    )
    names = {conda: pypi for pypi, conda in lock.CONDA_NAMES.items()}
    assert len(pinned) >= 14
    for name, version in pinned:
        assert pins("run")[names.get(name, name)] == version


def test_libvips_is_that_of_the_lock_and_not_the_machines():
    pyvips = pytest.importorskip("pyvips")
    version = ".".join(str(pyvips.version(part)) for part in range(3))
    assert importlib.metadata.version("pyvips-binary") == version


def test_container_is_made_of_files_that_are_there():
    copied = re.findall(r"^COPY (.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(copied) > 3
    assert all((PROJECT / path).exists() for paths in copied for path in paths.split())


def test_folder_whose_name_no_shell_takes_is_refused_before_anything_is_installed(tmp_path):
    shutil.copytree(PROJECT / "envs", tmp_path / "my images/envs")
    outcome = subprocess.run(
        [sys.executable, tmp_path / "my images/envs/install.py"], capture_output=True, text=True
    )
    assert outcome.returncode == 1
    assert re.fullmatch(r"the project lies in '.*/my images'; .* without spaces.*\n", outcome.stderr)
    assert not (tmp_path / "my images/.venv").exists()
