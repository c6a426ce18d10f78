"""Names and places that try a run: each image is told of, none is read that should not be."""

import csv
import os
import shutil
import subprocess
import unicodedata

import pytest

from studies import Run, means, write_image

LONG = "n" * 251 + ".tif"
NAMES = ["case.tif", "Case.tif", "\u00e9.tif", unicodedata.normalize("NFD", "\u00e9.tif"), LONG, "=1+1.tif"]
# The permissions of files hold for root too where these are dropped.
UNPRIVILEGED = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-all",
    "--ambient-caps=-all",
]


@pytest.fixture
def places(study):
    """Return a study of good images with odd names, and of all that is not one."""
    study.pixels = {
        name: write_image(study.images / name, seed, 64, 96)
        for seed, name in enumerate([*NAMES, "turn.tif", "back.tif/a.tif"])
    }
    disk = study.path / "disk"
    study.outside = write_image(disk / "secret.tif", 9)
    (study.images / "leaving.tif").symlink_to(disk / "secret.tif")
    (study.images / "linked").symlink_to(disk)
    (study.images / "loop").symlink_to(".")
    (study.images / "circle.tif").symlink_to("circle.tif")
    (study.images / "zero.tif").symlink_to("/dev/zero")
    os.mkfifo(study.images / "pipe.tif")
    write_image(study.images / "closed.tif", 8)
    (study.images / "closed.tif").chmod(0)
    write_image(study.images / "shut/in.tif", 8)
    (study.images / "shut").chmod(0)
    (study.images / "\x1b[2J.tif").touch()
    return study


def run_unprivileged(study):
    """Run the workflow on images that it can neither write to nor, where they are closed, read."""
    study.images.chmod(0o555)
    prefix = UNPRIVILEGED if os.geteuid() == 0 else []
    try:
        done = subprocess.run(
            [*prefix, *study.command()],
            cwd=study.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        study.images.chmod(0o755)
    return Run(done.returncode, done.stdout, study.logs()[-1].read_text())


def table(study):
    with (study.results / "images.tsv").open(newline="") as file:
        return {row["filename"].removeprefix("'"): row for row in csv.DictReader(file, delimiter="\t")}


@pytest.mark.long
def test_names_and_places_that_try_a_run(places):
    run = run_unprivileged(places)
    assert run.code == 1
    assert places.dictionary == {name: means(pixels) for name, pixels in sorted(places.pixels.items())}
    messages = {name: row["message"] for name, row in table(places).items() if row["status"] == "failed"}
    assert messages == {
        "leaving.tif": "a link that leaves the images folder is not followed",
        "linked/": "a link to a folder is not searched",
        "loop/": "a link to a folder is not searched",
        "circle.tif": "cannot be opened: Too many levels of symbolic links",
        "zero.tif": "it is not a file but a device",
        "pipe.tif": "it is not a file but a pipe",
        "closed.tif": "cannot be opened: Permission denied",
        "shut/": "folder cannot be listed: Permission denied",
        r"\x1b[2J.tif": "the name contains a line break or another control character",
    }
    assert all(f"  {name}: {message}" in run.output for name, message in messages.items())

    # A file becomes a folder, a folder a file; what was closed is opened, and links are followed.
    (places.images / "turn.tif").unlink()
    turned = write_image(places.images / "turn.tif/a.tif", 11, 64, 96)
    shutil.rmtree(places.images / "back.tif")
    back = write_image(places.images / "back.tif", 12, 64, 96)
    (places.images / "closed.tif").chmod(0o644)
    (places.images / "shut").chmod(0o755)
    places.configure(follow_links=True)
    again = run_unprivileged(places)
    assert (again.code, again.predicted) == (1, 6), again.output
    dictionary = places.dictionary
    assert dictionary["turn.tif/a.tif"] == means(turned)
    assert dictionary["back.tif"] == means(back)
    assert dictionary["leaving.tif"] == dictionary["linked/secret.tif"] == means(places.outside)
    assert {"turn.tif", "back.tif/a.tif"}.isdisjoint(dictionary)
    messages = {name: row["message"] for name, row in table(places).items() if row["status"] == "failed"}
    assert messages["loop/"] == "it is already searched, as the images folder itself"
    assert set(messages) == {"loop/", "circle.tif", "zero.tif", "pipe.tif", r"\x1b[2J.tif"}
