"""Fixtures that the tests of several modules share."""

import os
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
import tifffile

from quadrat.config import load_settings
from quadrat.files.keys import encode
from quadrat.grid import PatchGrid
from quadrat.images.image import ImageInfo
from quadrat.jobs.task import ImageTask
from quadrat.results.folder import ResultsFolder
from quadrat.results.writer import PredictionWriter, write_failure
from quadrat.settings import ReadSettings

READ_KEYS = {field.name for field in fields(ReadSettings)}
PROJECT = Path(__file__).resolve().parents[1]

# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile("quadrat", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("quadrat")


def pytest_xdist_auto_num_workers(config):
    """Run one more worker than cores, except for long tests: whole runs wait for a quarter of their time."""
    return os.cpu_count() + (config.getoption("markexpr") != "long")


def pytest_collection_modifyitems(items):
    """Put those that wait for Slurm or run Snakemake first: they take longest, and others fill the rest."""
    first = [PROJECT / "tests/cluster", PROJECT / "tests/workflow"]
    items.sort(key=lambda item: [not item.path.is_relative_to(folder) for folder in first])


@pytest.fixture
def images(tmp_path):
    """Return the empty folder that the settings of a test point to."""
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def make_settings(tmp_path):
    """Return a function from configuration keys to settings whose folders are the test's own."""

    def make(**config):
        places = {"images": str(tmp_path / "images"), "results": str(tmp_path / "results")}
        return load_settings(places | config)

    return make


@pytest.fixture
def results(tmp_path):
    """Return the names of files in the results folder of a test."""
    return ResultsFolder(str(tmp_path / "results"))


@pytest.fixture
def make_task(tmp_path):
    """Return a function from an image to the task of its job."""

    def make(path, **changes):
        task = {
            "filename": Path(path).name,
            "path": str(path),
            "version": "0123456789ab",
            "content_id": "1-2",
            "predictor": {"kind": "mean"},
            "output": str(tmp_path / "results/versions/result.0123456789ab.parquet"),
        }
        read = {"patch_size": 32, "stride": 32}
        read |= {key: changes.pop(key) for key in [*changes] if key in READ_KEYS}
        return ImageTask(reading=ReadSettings(**read), **task | changes)

    return make


@pytest.fixture
def described():
    """Return a function from a grid to what a footer contains of it and of its image."""

    def describe(grid):
        size = (grid.height, grid.width)
        nothing = dict.fromkeys(("crs", "mpp", "transform", "bounds"))
        return {
            "grid": {name: getattr(grid, name) for name in ("patch_size", "stride", "rows", "cols")},
            "image": {"height": size[0], "width": size[1], "full_size": size, "downsample": (1, 1)} | nothing,
            "plane": None,
            "predictor": {},
        }

    return describe


@pytest.fixture
def write_result(results, described):
    """Return a function that stores the predictions of an image as its job would, and returns their path.

    A patch whose prediction is None is skipped.
    """

    def write(filename, predictions=None, version="0123456789ab", failure=None, **footer):
        path = results.version_path(encode(filename), version)
        known = {"filename": filename, "version": version, "content_id": "1-2", "content_hash": "ab" * 16}
        known |= footer
        if failure:
            write_failure(PredictionWriter(path), known, failure)
            return path
        grid = PatchGrid(512, max(1, len(predictions)) * 512)
        positions = [(0, col, window) for col, window in enumerate(grid.windows())][: len(predictions)]
        skipped = sum(prediction is None for prediction in predictions)
        counts = {"patches": len(predictions), "skipped": skipped, "nan": 0, "infinite": 0, "dropped": 0.0}
        with PredictionWriter(path) as writer:
            if positions and not skipped:
                writer.append(positions, np.asarray(predictions))
            for place, prediction in zip(positions, predictions, strict=True) if skipped else ():
                if prediction is None:
                    writer.skip([place], ["nodata"])
                else:
                    writer.append([place], np.asarray([prediction]))
            writer.finish(described(grid) | {"counts": counts} | known)
        return path

    return write


@pytest.fixture
def write_model(tmp_path):
    """Return a function that writes a user's Python file, and returns its path."""

    def write(source, name="my_model.py"):
        path = tmp_path / name
        path.write_text(source)
        return str(path)

    return write


@pytest.fixture(scope="session")
def noise():
    """Return a function that makes an array of noise."""

    def make(*shape, dtype=np.uint8, seed=0):
        return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)

    return make


@pytest.fixture
def write_tiff(images, noise):
    """Return a function that writes an image of noise, and returns its path and pixels."""

    def write(filename, height=100, width=140, seed=0, **options):
        path = images / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise(height, width, 3, seed=seed)
        tifffile.imwrite(path, pixels, photometric="rgb", **options)
        return SimpleNamespace(path=path, pixels=pixels)

    return write


@pytest.fixture
def write_one_strip(images):
    """Return a function that writes an image that does not fit the 100 MB that a reader always has.

    It is one strip of 120 MB, in a codec that decodes it whole.
    """

    def write(filename):
        path, pixels = images / filename, np.zeros((4000, 10000, 3), np.uint8)
        tifffile.imwrite(path, pixels, photometric="rgb", compression="lzw", rowsperstrip=4000)
        return path

    return write


class ArrayReader:
    """A reader of an array in memory, whose blocks are overwritten as soon as the next one is asked for."""

    def __init__(self, pixels, segment=(16, 16), **info):
        self._pixels = pixels
        self.blocks = []
        height, width, channels = pixels.shape
        self.info = ImageInfo("array", height, width, channels, pixels.dtype, *segment, **info)

    def read_blocks(self, blocks, threads, wanted=None):
        for block in blocks:
            self.blocks.append(block)
            array = np.full((block.height, block.width, self.info.channels), self.info.fill, self.info.dtype)
            inside = self._pixels[block.y : block.y + block.height, block.x : block.x + block.width]
            array[: inside.shape[0], : inside.shape[1]] = inside
            yield array
            array[...] = 99


@pytest.fixture(scope="session")
def array_reader():
    return ArrayReader
