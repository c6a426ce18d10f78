"""The container image, built and run by Podman on a base of this machine's Debian packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytestmark = pytest.mark.long

PROJECT = Path(__file__).resolve().parents[2]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# The limits that Podman sets by default are beyond those of some machines, and crun does not start where both
# versions of control groups are mounted. The machine reaches its package index by these certificates.
CONFIGURATION = """\
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
{certificates}
[engine]
runtime = "runc"
"""
TRUST = """\
env = ["PIP_CERT={0}", "SSL_CERT_FILE={0}"]
volumes = ["{1}:{1}:ro"]
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Return a function that runs a command with a Podman that has stores of its own."""
    missing = [name for name in ("podman", "runc", "debootstrap") if not shutil.which(name)]
    if missing or os.getuid():
        pytest.skip(f"needs root, podman, runc and debootstrap; missing: {missing or 'root'}")
    folder = tmp_path_factory.mktemp("podman")
    trust = TRUST.format(CERTIFICATES, CERTIFICATES.parent) if CERTIFICATES.exists() else ""
    (folder / "containers.conf").write_text(CONFIGURATION.format(certificates=trust))
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n'
    )
    variables = os.environ | {
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
    }

    def run(*command):
        outcome = subprocess.run(
            command, cwd=PROJECT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert outcome.returncode == 0, outcome.stdout[-4000:]
        return outcome.stdout

    yield run
    # Layers are mounts while a container runs, and files of other users afterwards.
    run("podman", "rmi", "--all", "--force")


@pytest.fixture(scope="module")
def image(podman, tmp_path_factory):
    """Build the image by the command of the documents, on Debian's Python, and return its output."""
    root = tmp_path_factory.mktemp("base") / "root"
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3,python3-venv", "bookworm", root],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (root / "usr/bin/python").symlink_to("python3")
    subprocess.run(["tar", "-C", root, "-cf", root.parent / "base.tar", "."], check=True)
    podman("podman", "import", "--quiet", str(root.parent / "base.tar"), "localhost/base")
    shutil.rmtree(root)
    return podman("make", "container", "DOCKER=podman", "BASE=localhost/base")


def test_image_is_built_and_predicts_the_images_of_the_first_run(image):
    assert "3 images: 3 ok, 0 failed" in image


def test_container_gives_any_user_the_bytes_of_a_run_outside(image, podman, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3000, 2000, 3), np.uint8)
    for name, options in {"a.tif": {"compression": "zlib", "tile": (256, 256)}, "b.tif": {}}.items():
        (tmp_path / "images").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "images" / name, pixels, photometric="rgb", **options)
    (tmp_path / "my.yaml").write_text("images: images\npredictor: {kind: statistics, of: [mean, std, p50]}\n")
    study = tmp_path / "study"
    study.mkdir()
    shutil.copytree(tmp_path / "images", study / "images")
    shutil.copy(tmp_path / "my.yaml", study)
    for path in (study, *study.rglob("*")):
        os.chown(path, 4321, 4321)
    container = ["podman", "run", "--rm", "--read-only", "--user", "4321:4321", "--network", "none"]
    container += ["--volume", f"{study}:/study", "quadrat", "--cores", "2"]
    shown = podman(*container, "--configfile", "my.yaml")
    assert "2 images: 2 ok" in shown
    assert "0 to predict" in podman(*container, "--configfile", "my.yaml")
    assert {path.stat().st_uid for path in (study / "results").rglob("*")} == {4321}

    outside = [sys.executable, "-m", "snakemake", "-s", PROJECT / "Snakefile", "--cores", "2"]
    outside += ["--workflow-profile", PROJECT / "profiles/default", "--configfile", "my.yaml"]
    subprocess.run(outside, cwd=tmp_path, check=True, capture_output=True)
    for name in ("predictions.parquet", "predictions.json", "images.tsv", "maps/a.tif.png"):
        assert (study / "results" / name).read_bytes() == (tmp_path / "results" / name).read_bytes()
