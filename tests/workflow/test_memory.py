"""The memory of a job does not grow with its image."""

import json
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from quadrat.files.scenes import Scene, scene_path
from quadrat.files.text import table_bytes
from quadrat.grid import PatchGrid
from quadrat.results.folder import TABLE_COLUMNS, ResultsFolder
from quadrat.results.tables import PlannedImage, write_manifest
from quadrat.results.writer import PredictionWriter
from slides import dicom
from studies import PROJECT

SIZE = 20_000

# A process counts the memory of the one that started it as its own: this one is small.
SMALL_PARENT = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""

# What Snakemake does for a script.
JOB = """
import json, runpy, sys
from types import SimpleNamespace
project, script, job = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path.insert(0, project + "/scripts")
class Resources(dict):
    __getattr__ = dict.__getitem__
for name in ("params", "input"):
    job[name] = SimpleNamespace(**job.get(name, {}))
job["resources"] = Resources(job["resources"])
runpy.run_path(project + "/scripts/" + script, init_globals={"snakemake": SimpleNamespace(**job)})
"""


def write_tiles(path, tile, height=SIZE, width=SIZE):
    """Write an image of one tile, again and again, compressed once."""
    coded = imagecodecs.zlib_encode(tile.tobytes(), level=1)
    count = -(-height // len(tile)) * -(-width // len(tile))
    layout = {"tile": tile.shape[:2], "compression": "zlib", "photometric": "rgb", "metadata": None}
    shape = (height, width, 3)
    tifffile.imwrite(path, iter([coded] * count), shape=shape, dtype="uint8", **layout)


def write_strips(path, tile):
    """Write an image of one strip of 16 rows, again and again, compressed once."""
    strip = np.tile(tile[:16], (1, -(-SIZE // tile.shape[1]), 1))[:, :SIZE]
    coded = imagecodecs.zlib_encode(np.ascontiguousarray(strip).tobytes(), level=1)
    layout = {"rowsperstrip": 16, "compression": "zlib", "photometric": "rgb", "metadata": None}
    shape = (SIZE, SIZE, 3)
    tifffile.imwrite(path, iter([coded] * (SIZE // 16)), shape=shape, dtype="uint8", **layout)


def run_job(script, job):
    """Run a job on two threads, and give its exit code and its peak memory in MB."""
    command = [sys.executable, "-c", JOB, str(PROJECT), script, json.dumps(job | {"threads": 2})]
    ended = subprocess.run(
        [sys.executable, "-S", "-c", SMALL_PARENT, *command], capture_output=True, text=True, check=True
    )
    code, kilobytes = ended.stdout.split()
    return int(code), int(kilobytes) / 1024


def predict(folder, image):
    """Run the job that predicts an image."""
    task = {
        "filename": "image",
        "path": str(image),
        "version": "0" * 12,
        "content_id": "1-1",
        "predictor": {"kind": "mean"},
    }
    job = {
        "output": [str(folder / "result.parquet")],
        "log": [str(folder / "job.log")],
        "params": {"task": task, "reading": {}, "retries": 0},
        "resources": {"attempt": 1, "mem_mb": 2000},
    }
    return run_job("predict_image.py", job)


@pytest.mark.parametrize(("write", "rows"), [(write_tiles, 512), (write_strips, 16)])
def test_an_image_of_20000_by_20000_pixels_takes_less_than_250_mb(tmp_path, write, rows):
    y, x = np.mgrid[:512, :512]
    tile = np.stack([y // 2, x // 2, (y + x) // 4], axis=-1).astype(np.uint8)
    image = tmp_path / "large.tif"
    write(image, tile)
    code, megabytes = predict(tmp_path, image)
    assert code == 0, (tmp_path / "job.log").read_text()
    # The whole image would take 1,200 MB.
    assert megabytes < 250
    predictions = pq.read_table(tmp_path / "result.parquet")["prediction"].to_numpy()
    assert len(predictions) == 39 * 39
    period = np.tile(tile[:rows], (512 // rows, 1, 1))
    assert (predictions == np.mean(period)).all()


@pytest.mark.long
def test_a_dicom_slide_of_12288_by_12288_pixels_takes_less_than_250_mb(tmp_path):
    pixels = np.broadcast_to(np.array([90, 120, 200], np.uint8), (12_288, 12_288, 3))
    slide = tmp_path / "slide/a.dcm"
    slide.parent.mkdir()
    slide.write_bytes(dicom(pixels, 1024, jpeg={"quality": 95, "subsampling": 0}))
    code, megabytes = predict(tmp_path, slide)
    assert code == 0, (tmp_path / "job.log").read_text()
    # The whole slide would take 600 MB as OpenSlide decodes it.
    assert megabytes < 250
    predictions = pq.read_table(tmp_path / "result.parquet")["prediction"].to_numpy()
    assert len(predictions) == 24 * 24
    assert np.abs(predictions - np.mean([90, 120, 200])).max() < 1


def test_a_map_of_an_image_of_36000_by_18000_pixels_takes_less_than_300_mb(tmp_path, described):
    image = tmp_path / "large.tif"
    tile = np.tile(np.array([[[10, 60, 110]], [[30, 80, 130]]], np.uint8), (256, 512, 1))
    write_tiles(image, tile, height=18_000, width=36_000)
    grid = PatchGrid(18_000, 36_000)
    positions = [(i // grid.cols, i % grid.cols, window) for i, window in enumerate(grid.windows())]
    known = {"filename": "large.tif", "version": "0123456789ab", "content_id": "1-2", "content_hash": None}
    planned = PlannedImage("large.tif", "large.tif", "0123456789ab", "1-2", str(image), 1)
    results = ResultsFolder(str(tmp_path))
    write_manifest(results.manifest, [planned], results.path)
    cells = ["large.tif", "ok", len(grid), *[""] * (len(TABLE_COLUMNS) - 3)]
    Path(results.images).write_bytes(table_bytes(TABLE_COLUMNS, [cells]))
    result = results.version_path("large.tif", "0123456789ab")
    with PredictionWriter(result) as writer:
        writer.append(positions, np.arange(float(len(grid))))
        writer.finish(described(grid) | known | {"counts": {"patches": len(grid)}})
    job = {
        "input": {},
        "output": [str(tmp_path / "drawn")],
        "log": [str(tmp_path / "job.log")],
        "params": {
            "drawings": {"results": str(tmp_path), "maps": True, "channels": None},
            "is_all": True,
            "part": "0-0",
        },
        "resources": {"mem_mb": 1000},
    }
    code, megabytes = run_job("draw_maps.py", job)
    assert code == 0, (tmp_path / "job.log").read_text()
    # The whole image would take 1,900 MB.
    assert megabytes < 300
    (drawn,) = tmp_path.rglob("map.png")
    drawn = np.asarray(Image.open(drawn).convert("RGB"))
    # The mean of a pixel of each of its two rows, shown beside the map.
    assert (np.abs(drawn[:, : drawn.shape[1] // 3] - np.array([20.0, 70, 120])).max(axis=-1) < 2).mean() > 0.3


@pytest.mark.long
def test_memory_of_a_scene_does_not_grow_with_its_height(tmp_path):
    megabytes = []
    for height in (4096, 16_384):
        bands = {}
        for number, scale in enumerate((1, 1, 2, 4)):
            tile = np.full((256, 256), 100 * number, np.uint16)
            coded = imagecodecs.zlib_encode(tile.tobytes(), level=1)
            shape = (height // scale, 8192 // scale)
            count = shape[0] * shape[1] // tile.size
            bands[f"B{number}"] = str(tmp_path / f"{number}.tif")
            place = {"extratags": [(33550, "d", 3, (10 * scale, 10 * scale, 0)), (33922, "d", 6, (0.0,) * 6)]}
            layout = {"tile": tile.shape, "compression": "zlib", "metadata": None, **place}
            tifffile.imwrite(
                bands[f"B{number}"], iter([coded] * count), shape=shape, dtype="uint16", **layout
            )
        code, peak = predict(tmp_path, scene_path(Scene(bands, "bilinear")))
        assert code == 0, (tmp_path / "job.log").read_text()
        assert (pq.read_table(tmp_path / "result.parquet")["prediction"].to_numpy() == 150).all()
        megabytes.append(peak)
    # Twelve thousand more rows of its four bands are 800 MB.
    assert megabytes[1] < megabytes[0] + 30
