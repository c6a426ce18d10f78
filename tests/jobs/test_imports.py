"""What a job imports: a small image takes less time than a large library."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# None of them is needed for the means of a TIFF.
SPARED = ("jsonschema", "matplotlib", "openslide", "pandas", "pyvips", "rasterio", "snakemake", "torch")

JOB = """
import sys
from quadrat.jobs.predict import predict_image
from quadrat.jobs.task import ImageTask
from quadrat.settings import ReadSettings

predict_image(
    ImageTask(
        filename="a.tif", path="a.tif", version="0123456789ab", content_id="1-2", output="a.parquet",
        predictor={"kind": "mean"}, reading=ReadSettings(patch_size=32, stride=32),
    )
)
print(*sys.modules, sep="\\n")
"""


def test_job_imports_no_library_that_it_does_not_need(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", JOB],
        cwd=tmp_path,
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "a.parquet").exists()
    assert not {*SPARED} & {*done.stdout.splitlines()}


def test_run_begins_without_the_libraries_of_its_jobs():
    code = "import sys, quadrat.run.snakemake; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"pyarrow", "rasterio", "tifffile", "pyvips"} & {*done.stdout.split()}


MERGE_AND_DRAW = """
import os, sys
from pathlib import Path
from quadrat.config import load_settings
from quadrat.plan.plan import make_plan
from quadrat.jobs.predict import predict_image
from quadrat.jobs.task import ImageTask
from quadrat.results.merge import merge_predictions
from quadrat.results.folder import ResultsFolder
from quadrat.run.record import write_run_record
from quadrat.views.draw import draw_image
from quadrat.views.drawings import DrawingsFolder
from quadrat.views.overview import write_overview

settings = load_settings({"images": ".", "patch_size": 32})
plan = make_plan(settings, print)
(image,), (path,) = plan.images, plan.results
keep = {*sys.modules}
task = ImageTask(
    image.filename, image.path, image.version, image.content_id, settings.reading, settings.predictor, path
)
predict_image(task)
folder = ResultsFolder("results")
write_run_record(folder.run, {}, {}, ".", "results")
merge_predictions([path], plan.images, settings.as_dict(), {}, print)
draw_image(image, DrawingsFolder("results", "auto"), 1, None, print)
write_overview(folder)
print(*{*sys.modules} - keep, sep="\\n")
"""


def test_merge_and_drawings_import_no_library_that_they_do_not_need(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8))
    env = {"PYTHONPATH": str(SCRIPTS)}
    run = partial(subprocess.run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    done = run([sys.executable, "-c", MERGE_AND_DRAW])
    assert (tmp_path / "results/predictions.parquet").exists()
    assert (tmp_path / "results/overview.html").exists()
    assert not {"bokeh", "matplotlib", "pandas", "scipy"} & {*done.stdout.splitlines()}


def test_the_process_that_starts_a_job_stays_small():
    code = "import sys, quadrat.jobs.worker; print('numpy' in sys.modules or 'pyarrow' in sys.modules)"
    env = {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_pyarrow_imports_pandas_to_make_an_array():
    code = "import sys, pyarrow; pyarrow.array([1.0]); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
