"""A job's memory does not grow with its image."""

import json
import subprocess
import sys
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

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
project, job = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, project + "/scripts")
class Resources(dict):
    __getattr__ = dict.__getitem__
job["params"] = SimpleNamespace(**job["params"])
job["resources"] = Resources(job["resources"])
runpy.run_path(project + "/scripts/predict_image.py", init_globals={"snakemake": SimpleNamespace(**job)})
"""


def write_tiles(path, tile):
    """Write an image of one tile, again and again, compressed once."""
    coded = imagecodecs.zlib_encode(tile.tobytes(), level=1)
    count = (-(-SIZE // len(tile))) ** 2
    layout = {"tile": tile.shape[:2], "compression": "zlib", "photometric": "rgb", "metadata": None}
    shape = (SIZE, SIZE, 3)
    tifffile.imwrite(path, iter([coded] * count), shape=shape, dtype="uint8", **layout)


def write_strips(path, tile):
    """Write an image of one strip of 16 rows, again and again, compressed once."""
    strip = np.tile(tile[:16], (1, -(-SIZE // tile.shape[1]), 1))[:, :SIZE]
    coded = imagecodecs.zlib_encode(np.ascontiguousarray(strip).tobytes(), level=1)
    layout = {"rowsperstrip": 16, "compression": "zlib", "photometric": "rgb", "metadata": None}
    shape = (SIZE, SIZE, 3)
    tifffile.imwrite(path, iter([coded] * (SIZE // 16)), shape=shape, dtype="uint8", **layout)


def run_job(folder, image):
    """Run the job of one image on two threads, and give its exit code and its peak memory in MB."""
    task = {
        "filename": image.name,
        "path": str(image),
        "version": "0" * 12,
        "content_id": "1-1",
        "predictor": {"kind": "mean"},
    }
    job = SimpleNamespace(
        output=[str(folder / "result.parquet")],
        log=[str(folder / "job.log")],
        threads=2,
        params={"task": task, "reading": {}, "retries": 0},
        resources={"attempt": 1, "mem_mb": 2000},
    )
    command = [sys.executable, "-c", JOB, str(PROJECT), json.dumps(vars(job))]
    told = subprocess.run(
        [sys.executable, "-S", "-c", SMALL_PARENT, *command], capture_output=True, text=True, check=True
    )
    code, kilobytes = told.stdout.split()
    return int(code), int(kilobytes) / 1024


@pytest.mark.parametrize(("write", "rows"), [(write_tiles, 512), (write_strips, 16)])
def test_an_image_of_20000_by_20000_pixels_takes_less_than_250_mb(tmp_path, write, rows):
    y, x = np.mgrid[:512, :512]
    tile = np.stack([y // 2, x // 2, (y + x) // 4], axis=-1).astype(np.uint8)
    image = tmp_path / "large.tif"
    write(image, tile)
    code, megabytes = run_job(tmp_path, image)
    assert code == 0, (tmp_path / "job.log").read_text()
    # The whole image would take 1,200 MB.
    assert megabytes < 250
    predictions = pq.read_table(tmp_path / "result.parquet")["prediction"].to_numpy()
    assert len(predictions) == 39 * 39
    period = np.tile(tile[:rows], (512 // rows, 1, 1))
    assert (predictions == np.mean(period)).all()
