"""Make the environment `.venv` as the lock files say; change nothing if it already is.

``python envs/install.py`` installs what a run needs (`run.lock`); ``python envs/install.py dev`` adds what
tests and linters need (`dev.lock`). The environment gets the interpreter that runs this file.

Nothing is resolved: a lock is complete, so each package is installed without its dependencies, and its hash
is checked. uv installs in seconds; pip fetches it into a temporary folder. Where uv fails, pip installs
everything: uv does not read pip's configuration, where a site may have set its index, proxy or certificates.

This file uses only the standard library, and syntax that any Python 3.6 reads: it can refuse an old Python.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = PROJECT / ".venv"
PYTHON = str(ENVIRONMENT / "bin" / "python")
OLDEST = (3, 11)

# Published as source only (immutables: for Python 3.14); the setuptools and cffi of run.lock build them. The
# lock leaves out pkgconfig: with it pyvips would be compiled against the libvips of the machine, and not use
# that of pyvips-binary.
SOURCES = ("connection-pool", "immutables", "pyvips")

# -I hides PYTHONPATH and the user's own packages, which pip would otherwise count as installed.
PIP = [PYTHON, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check"]

# pip's configuration may send packages to the user's home, where an environment does not look.
VARIABLES = dict(os.environ, PIP_USER="0")


def main(layers):
    """Bring the environment up to date.

    Parameters
    ----------
    layers : list of str
        Names of the locks to install, in order: `run`, `dev`.

    Raises
    ------
    SystemExit
        With a line that names the cause, if the environment cannot be made.
    """
    if sys.version_info < OLDEST:
        found, oldest = sys.version.split()[0], ".".join(map(str, OLDEST))
        advice = "name a newer one, such as: make PYTHON=python3.12 install"
        raise SystemExit(f"{sys.executable} is Python {found}; quadrat needs {oldest} or newer; {advice}")
    if not re.fullmatch(r"[\w@%+=:,./-]+", PYTHON):
        raise SystemExit(
            f"the project lies in '{PROJECT}'; Snakemake hands this path to a shell without quoting it, so "
            "move the project to a path without spaces and special characters"
        )
    if not is_made():
        make()
    for layer in layers:
        mark = ENVIRONMENT / f"{layer}.installed"
        wanted = fingerprint(layer)
        if not mark.is_file() or mark.read_text() != wanted:
            install(layer)
            check()
            mark.write_text(wanted)


def is_made():
    """Return whether the environment works and has the interpreter that runs this file."""
    command = [PYTHON, "-I", "-c", "import pip, sys; print(sys.version)"]
    try:
        outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return outcome.stdout.decode().strip() == sys.version


def make():
    """Make an empty environment; one that is there gives way."""
    say(f"making .venv with Python {sys.version.split()[0]}")
    command = [sys.executable, "-I", "-m", "venv", "--clear", str(ENVIRONMENT)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{sys.executable} cannot make an environment in .venv; the reason is above")


def fingerprint(layer):
    """Return a digest of everything that decides what a layer installs."""
    files = [Path(__file__), lock_path(layer)]
    if layer == "run":
        files += [PROJECT / "pyproject.toml", PROJECT / "scripts/quadrat/_version.py"]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def install(layer):
    """Install the packages of a lock; with those of `run` also quadrat itself, in place."""
    packages = locked(layer)
    say(f"installing {len(packages)} packages (envs/{layer}.lock)")
    wheels = [lines for name, lines in packages.items() if name not in SOURCES]
    sources = [lines for name, lines in packages.items() if name in SOURCES]
    with tempfile.TemporaryDirectory() as folder:
        steps = [["--only-binary", ":all:", *requirements(wheels, folder)]]
        if sources:
            steps += [["--no-build-isolation", *requirements(sources, folder)]]
        if layer == "run":
            steps += [["--no-build-isolation", "--editable", str(PROJECT)]]
        if not install_with_uv(steps, folder):
            install_with_pip(steps)


def install_with_uv(steps, folder):
    """Take the steps of an installation with uv; return whether that was possible."""
    uv = requirements([locked("dev")["uv"]], folder)
    commands = [[*PIP, "install", "--no-deps", "--only-binary", ":all:", "--target", folder, *uv]]
    install_by_uv = [os.path.join(folder, "bin", "uv"), "pip", "install", "--quiet", "--python", PYTHON]
    commands += [[*install_by_uv, "--no-deps", *step] for step in steps]
    for command in commands:
        outcome = run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if outcome.returncode:
            lines = outcome.stdout.decode(errors="replace").splitlines() or [""]
            reason = next((line for line in lines if line.lower().startswith("error")), lines[-1])
            say(f"uv could not install them ({reason.strip()}); pip does, which takes minutes")
            return False
    return True


def install_with_pip(steps):
    """Take the steps of an installation with pip."""
    for step in steps:
        if run([*PIP, "install", "--no-deps", "--use-pep517", *step]).returncode:
            raise SystemExit("pip could not install the packages either; the reason is above")


def check():
    """Require that the packages of the environment agree with each other."""
    outcome = run([*PIP, "check"], stdout=subprocess.PIPE)
    if outcome.returncode:
        advice = "remove those that you added, or .venv"
        raise SystemExit(f"{outcome.stdout.decode()}packages in .venv contradict each other; {advice}")


def run(command, **streams):
    """Run a command in the project's folder."""
    return subprocess.run(command, cwd=str(PROJECT), env=VARIABLES, check=False, **streams)


def lock_path(layer):
    """Return the path of a lock file."""
    return PROJECT / "envs" / f"{layer}.lock"


def locked(layer):
    """Return the packages of a lock file: name of each, and its lines with version, marker and hashes."""
    text = lock_path(layer).read_text(encoding="utf-8")
    found = re.findall(r"^(([a-z0-9][\w.-]*)==.*(?:\n .*)*)", text, re.MULTILINE)
    return {name: lines for lines, name in found}


def requirements(packages, folder):
    """Write packages to a file in a folder, and return the options that name it."""
    handle, path = tempfile.mkstemp(".txt", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(packages) + "\n")
    return ["--require-hashes", "--requirement", path]


def say(line):
    """Show a line to the person who waits."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
