"""quadrat as a module of another workflow."""

import csv
import os

import numpy as np
import pytest

from documents import blocks, rows
from shown import commands_of
from studies import PROJECT, means, patches, write_image
from test_commands import SAMPLE, Copy, load


@pytest.fixture
def host(study):
    """Return a study that is run by the workflow of the document, of which quadrat is a module."""
    (block,) = blocks("python", "docs/terminal.md")
    (study.path / "Snakefile").write_text(block.text)
    (study.path / "quadrat").symlink_to(PROJECT)
    (study.path / "config.yaml").unlink()
    study.images = study.path / "my_images"
    return study


def run(host, *arguments):
    """Run the workflow of the host by the command that its user types."""
    typed = [*arguments, "--cores", "2", "--rerun-triggers", "mtime"]
    host.command = lambda: ["python", "-m", "snakemake", *typed]
    return host.run()


def test_another_workflow_goes_on_from_the_results_and_shows_all_that_snakemake_shows(host):
    pixels = write_image(host.images / "a.tif", 1, 300, 600)
    (host.images / "broken.tif").write_text("not an image")
    first = run(host)
    assert first.code == 0, first.output
    assert first.jobs("quadrat_predict_image") == 2
    assert host.dictionary == {"a.tif": means(pixels, 256)}
    assert (host.path / "count.txt").read_text().strip() == "2"
    lines = first.output.splitlines()
    assert "rule count:" in first.output
    assert any(line.startswith("2 images: 2 new") for line in lines)
    assert any(line.startswith("broken.tif: not an image") for line in lines)
    assert any(line.startswith("2 images: 1 ok, 1 failed") for line in lines)

    # The images are all predicted and merged; who asks for all of quadrat gets its exit code.
    assert run(host).nothing_to_be_done
    whole = run(host, "quadrat_all")
    assert (whole.code, whole.jobs("quadrat_.*")) == (1, 0)
    assert "1 image failed (config.yaml: on_failure)" in whole.output


EXAMPLE = "tests/workflow/test_module.py::test_example_finds_the_brightest_patches_that_its_page_shows"


def test_example_finds_the_brightest_patches_that_its_page_shows(tmp_path):
    copy = Copy(tmp_path / "quadrat")
    (command,) = commands_of(EXAMPLE)
    copy.type(command)
    with (copy.path / "results/brightest.tsv").open() as file:
        found = {
            name: (int(row), int(col), float(mean))
            for name, row, col, mean in list(csv.reader(file, "excel-tab"))[1:]
        }
    for name in SAMPLE:
        pixels = load(copy.path / "examples/first_run/images" / name)
        every = means(pixels, 512)
        best = int(np.argmax(every))
        assert found[name] == (*divmod(best, pixels.shape[1] // 512), every[best])
    page = "As a module: a workflow that goes on from the predictions"
    shown = {name.strip("`"): cells for name, *cells in rows("examples/module/README.md", page)}
    assert shown == {name: [str(row), str(col), f"{mean:.1f}"] for name, (row, col, mean) in found.items()}


TWO_MODULES = """
import quadrat  # another one, which is installed

module coarse:
    snakefile: "../quadrat/Snakefile"
    config: {"images": "my_images", "patch_size": 64, "maps": False, "results": "coarse"}
use rule * from coarse as coarse_*

module fine:
    snakefile: "../quadrat/Snakefile"
    config: {"images": "my_images", "patch_size": 32, "results": "fine", "on_failure": "report"}
use rule * from fine as fine_*
use rule predict_image from fine as fine_predict_image with:
    resources: mem_mb=1800

onstart: print("the host starts")

rule all:
    default_target: True
    input: "coarse/predictions.done", rules.fine_all.input
"""


@pytest.mark.long
def test_two_modules_of_a_host_that_works_in_another_folder_have_their_own_results(host):
    """And a rule that the host changes, where another quadrat is installed and was imported."""
    pixels = write_image(host.images / "a.tif", 1, 100, 140)
    (host.images / "broken.tif").write_text("not an image")
    for path, text in {"hosts/Snakefile": TWO_MODULES, "installed/quadrat/__init__.py": ""}.items():
        (host.path / path).parent.mkdir(parents=True)
        (host.path / path).write_text(text)
    # A mark of a killed run, which Snakemake's hooks would not remove here.
    mark = host.path / "fine/.quadrat/drawings/0-1.new.abc"
    mark.parent.mkdir(parents=True)
    mark.touch()
    typed = ["python", "-m", "snakemake", "-s", "hosts/Snakefile", "--cores", "2", "--directory", "."]
    host.command = lambda: typed
    done = host.run(python_path=host.path / "installed")
    assert done.code == 0, done.output
    assert "the host starts" in done.output
    for name, size in (("coarse", 64), ("fine", 32)):
        host.results = host.path / name
        assert host.dictionary == {"a.tif": means(pixels, size)}
        assert done.jobs(f"{name}_predict_image") == 2
        table = host.results / "images.tsv"
        assert (
            f"2 images: 1 ok, 1 failed, 0 without patches; {len(patches(pixels, size))} patches"
            in done.output
        )
        assert f"the table: {table}" in done.output
    assert done.output.count("\n2 of 2 images done\n") == 2
    assert done.log.count("mem_mb=1800") == 2
    assert not mark.exists()
    assert os.listdir(host.path / "fine/maps") == ["a.tif.png"]


def test_modules_of_two_copies_of_the_project_are_refused_in_one_line(host):
    (host.path / "copy/scripts/quadrat").mkdir(parents=True)
    (host.path / "copy/workflow/rules").mkdir(parents=True)
    (host.path / "copy/Snakefile").write_text('include: "workflow/rules/terminal.smk"\n')
    terminal = (PROJECT / "workflow/rules/terminal.smk").read_text()
    (host.path / "copy/workflow/rules/terminal.smk").write_text(terminal)
    module = "module {0}:\n    snakefile: '{0}/Snakefile'\n    config: {{}}\nuse rule * from {0} as {0}_*\n"
    (host.path / "Snakefile").write_text(module.format("quadrat") + module.format("copy"))
    done = run(host)
    assert done.code == 1
    (line,) = done.output.splitlines()
    assert line.startswith(
        f"quadrat: {host.path}/copy/scripts/quadrat and {host.path}/quadrat/scripts/quadrat: "
    )
