"""The commands of the documents, typed as they stand there into fresh copies of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import rasterio
import tifffile
import yaml
from nbclient import NotebookClient
from PIL import Image

from documents import PROJECT, blocks, cell_values, rows
from quadrat import predict_image
from shown import commands_of
from studies import Study, means, write_image

HERE = "tests/workflow/test_commands.py"
NOTEBOOK = "examples/first_run/notebook.ipynb"
SAMPLE = ("dunes.jpg", "fields.png", "survey/elevation.tif")


class Copy(Study):
    """A copy of the project, as a user has it who cloned it."""

    def __init__(self, path):
        super().__init__(path)
        for name in ("workflow", "scripts", "profiles", "envs", "examples/first_run", "examples/module"):
            shutil.copytree(PROJECT / name, self.path / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Snakefile", "config.yaml"):
            shutil.copy(PROJECT / name, self.path)

    def type(self, command, code=0):
        """Type a command in the copy's folder, and give what it said; it must end with that exit code."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            env=os.environ | {"PATH": programs},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def type_all(self, test):
        """Type all that a test of this file is to type, and give what it said."""
        typed = commands_of(f"{HERE}::{test}")
        assert typed
        return "".join(self.type(command) for command in typed)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Return a copy in which the sample was predicted, and what that said."""
    copy = Copy(tmp_path_factory.mktemp("sample") / "quadrat")
    copy.shown = copy.type_all("test_sample_is_predicted_as_its_page_shows")
    return copy


@pytest.fixture(scope="module")
def exported(sample):
    """Return the copy in which each target was asked for, too, all of them at once, and what that said."""
    typed = commands_of(f"{HERE}::test_targets_give_what_the_documents_name")
    sample.told_by_targets = sample.type(" ".join(["snakemake", *(line.split()[1] for line in typed)]))
    return sample


def load(path):
    return tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))


def test_sample_is_predicted_as_its_page_shows(sample):
    pixels = {name: load(sample.path / "examples/first_run/images" / name) for name in SAMPLE}
    assert sample.dictionary == {name: means(pixels[name], 512) for name in SAMPLE}
    shown = {name.strip("`"): (size, patches) for name, _, size, patches in rows_of_the_sample()}
    assert set(shown) == set(SAMPLE)
    for name, (size, patches) in shown.items():
        height, width = pixels[name].shape[:2]
        assert size == f"{width} x {height} px"
        assert patches.startswith(f"{height // 512} x {width // 512}")
        dropped = "an edge that is dropped" in patches
        assert dropped == bool(height % 512 or width % 512)
    assert re.search(r"[1-9]\.\d% of the pixels dropped at the edges", sample.shown)


def masked(terminal):
    """Return lines of a terminal without what differs between runs: times, versions, and lines on the way."""
    lines = [line for line in terminal.splitlines() if not line.endswith(" left")]
    return [re.sub(r"\b\d+ s$|(?<=\.)[0-9a-f]{12}(?=\.)|(?<=log/)[-.\dT]+", "*", line) for line in lines]


def test_terminal_shows_what_its_page_does(tmp_path):
    copy = Copy(tmp_path / "quadrat")
    for block, code in zip(blocks("console", "docs/terminal.md"), (0, 0, 1), strict=True):
        *typed, shown = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)
        said = masked(copy.type("\n".join(typed), code))
        assert said == masked(shown)
        assert len([line for line in said if "half.png" not in line]) <= 12  # besides the image that failed


def rows_of_the_sample():
    return rows("examples/first_run/README.md", "First run: three small images")


def test_targets_give_what_the_documents_name(exported):
    for target, given, _ in rows("docs/exports.md", "Take the predictions elsewhere")[:5]:
        (path,) = re.findall(r"`results/(.+?)`", given.partition(":")[0])
        assert target.strip("`") == f"snakemake {path.partition('/')[0]}"
        for name in SAMPLE:
            assert (exported.results / path.replace("<filename>", name)).stat().st_size > 0
    with rasterio.open(exported.results / "geotiff/survey/elevation.tif.tif") as raster:
        assert raster.read(1).ravel().tolist() == exported.dictionary["survey/elevation.tif"]
    assert pd.read_csv(exported.results / "inspect.tsv", sep="\t")["patches"].tolist() == [4, 4, 6]
    assert "0 superseded results\n" in exported.told_by_targets
    assert "0 superseded results removed\n" in exported.told_by_targets


def test_summary_and_table_of_images_are_put_together_as_documented(sample, monkeypatch):
    (block,) = blocks("python", "docs/exports.md")
    monkeypatch.chdir(sample.path)
    (described,) = cell_values(block)
    assert described["count"] == len(SAMPLE)
    of_images = [np.mean(values) for values in sample.dictionary.values()]
    assert described["mean"] == pytest.approx(np.mean(of_images))


def test_what_you_get_is_there(exported):
    named = [re.findall(r"`(.+?)`", cells[0]) for cells in rows("README.md", "What you get")]
    for path in (path for paths in named for path in paths):
        for name in SAMPLE:
            assert (exported.results / path.replace("<filename>", name)).exists()
    assert len(named) > 10
    configuration = yaml.safe_load((exported.results / "run.yaml").read_text())["configuration"]
    assert configuration["patch_size"] == 512


def test_report_is_one_file_that_shows_each_image(sample):
    sample.type_all("test_report_is_one_file_that_shows_each_image")
    report = (sample.path / "report.html").read_text()
    assert all(Path(name).name in report for name in SAMPLE)
    assert report.count('"patch by patch"') == len(SAMPLE)


def shown(notebook):
    """Return the text and the kinds of output of each cell of code, without the lines of a run."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    return [
        [(one.data.get("text/plain"), sorted(one.data)) for one in cell if one.output_type != "stream"]
        for cell in outputs
    ]


@pytest.mark.long
def test_example_notebook_shows_what_it_was_saved_with(sample, monkeypatch):
    place = sample.path / NOTEBOOK
    saved, notebook = (nbformat.read(place, nbformat.NO_CONVERT) for _ in range(2))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(sample.path / "scripts"))
    monkeypatch.setenv("IPYTHONDIR", str(sample.path / "ipython"))
    folder = {"metadata": {"path": str(place.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
    assert shown(notebook) == shown(saved)
    assert any("image/png" in kinds for cell in shown(saved) for _, kinds in cell)


@pytest.mark.parametrize("name", SAMPLE)
def test_library_predicts_an_image_as_the_run_did(sample, name):
    table, result = predict_image(sample.path / "examples/first_run/images" / name), sample.result(name)
    assert table.schema == result.schema
    assert table.equals(result)


def test_images_of_ones_own_are_predicted_and_read_in_a_notebook(tmp_path, monkeypatch):
    (block,) = [block for block in blocks("python", "README.md") if block.heading == "What you get"]
    (filename,) = set(re.findall(r'"(\S+\.tif)"', block.text))
    pixels = write_image(tmp_path / "my_images" / filename, 1, 1100, 600, compression="zlib")
    copy = Copy(tmp_path / "quadrat")
    copy.configure(maps=False)  # which other tests draw
    (command,) = commands_of(f"{HERE}::test_images_of_ones_own_are_predicted_and_read_in_a_notebook")
    copy.type(command.replace("/data/my_images", str(tmp_path / "my_images")))
    monkeypatch.chdir(copy.path)
    listed, table, grid, axes = cell_values(block)
    assert listed == means(pixels, 512)
    assert table["prediction"].tolist() == listed
    assert table[["row", "col", "y", "x"]].values.tolist() == [[0, 0, 0, 0], [1, 0, 512, 0]]
    assert grid.tolist() == [[listed[0]], [listed[1]]]
    assert axes.get_title() == filename


def test_slides_that_find_lists_are_predicted_from_a_folder_without_a_configuration(tmp_path):
    pixels = write_image(tmp_path / "data/north/a b.svs", 1, 600, 600)
    write_image(tmp_path / "data/c.tif", 2, 600, 600)
    study = Study(tmp_path / "study")
    study.path.mkdir()
    typed = commands_of(
        f"{HERE}::test_slides_that_find_lists_are_predicted_from_a_folder_without_a_configuration"
    )
    for command in typed:
        Copy.type(study, command.replace("/data", f"{tmp_path}/data").replace("/opt/quadrat", str(PROJECT)))
    assert study.dictionary == {f"{tmp_path}/data/north/a b.svs".lstrip("/"): means(pixels, 512)}
    assert set(os.listdir(study.path)) == {"slides.txt", "results", ".snakemake"}


def test_rehearsal_shows_what_a_cluster_would_be_given(tmp_path):
    copy = Copy(tmp_path / "quadrat")
    for name in ("north/a.tif", "south/a.tif", "south/b.tif"):
        write_image(copy.images / name, 1)
    (copy.path / "my.yaml").write_text("{images: images, patch_size: 32}")
    shown = copy.type_all("test_rehearsal_shows_what_a_cluster_would_be_given")
    assert set(re.findall(r"(\d+) predict_image", shown)) == {"3"}
    assert copy.versions() == []
