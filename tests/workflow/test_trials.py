"""What all images share is tried on one of them, once, before the others start."""

import re

import geopandas
import pytest
import rasterio
from affine import Affine
from shapely.geometry import box

from studies import write_image, write_network


def last_lines(run):
    return [line for line in run.output.splitlines() if line.startswith("quadrat: ")]


def test_wrong_labels_start_one_job_and_end_in_one_line_and_right_ones_are_tried_once(study):
    (study.images / "a.tif").write_bytes(b"II*\0" + bytes(100))
    for seed, name in enumerate("bcd"):
        write_image(study.images / f"{name}.tif", seed)
    write_network(study.path / "network.onnx", [1, 0.5, 0.25])
    model = {"kind": "onnx", "path": "network.onnx"}
    study.configure(predictor=model | {"labels": ["land", "water"]})
    refused = study.run()
    assert refused.code == 1
    (log,) = (study.results / "logs").rglob("*.log")
    assert last_lines(refused) == [
        "quadrat: predictor: the model outputs 1 classes but 2 labels are given; give one label per class "
        "(config.yaml: predictor: labels); tried on b.tif; no image was predicted "
        f"(log: {log.relative_to(study.path)})"
    ]
    assert "exclude" not in refused.output
    assert "not computed" not in refused.output
    assert "Trying to restart" not in refused.output

    study.configure(predictor=model, exclude=["a.tif"])
    mended = study.run()
    assert (mended.code, mended.jobs("try_predictor"), mended.predicted) == (0, 1, 3), mended.output
    for seed, name in enumerate("ef"):
        write_image(study.images / f"{name}.tif", seed)
    more = study.run()
    assert (more.code, more.jobs("try_predictor"), more.predicted) == (0, 0, 2), more.output


# Runs each job in a Snakemake of its own, as a cluster does.
ON_A_CLUSTER = (
    *("--executor", "cluster-generic", "--jobs", "2"),
    *("--cluster-generic-submit-cmd", "submit() {{ bash $1 > job.log 2>&1 & echo $!; }}; submit"),
    *("--seconds-between-status-checks", "1"),
)


@pytest.mark.parametrize("options", [(), ON_A_CLUSTER], ids=["on this machine", "on a cluster"])
def test_code_that_fails_whatever_the_image_is_tried_once(study, options):
    for seed, name in enumerate("ab"):
        write_image(study.images / f"{name}.tif", seed)
    (study.path / "model.py").write_text("open('started', 'a').write('.')\nimport sklaern\n")
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, retries=2)
    run = study.run(*options)
    assert run.code == 1, run.output
    (line,) = last_lines(run)
    assert "cannot be imported: ModuleNotFoundError: No module named 'sklaern'" in line
    assert (study.path / "started").read_text() == "."
    assert not (study.results / "logs/predict_image").exists()


def test_trial_whose_job_is_killed_is_made_again_and_ends_in_one_line(study):
    for seed, name in enumerate("ab"):
        write_image(study.images / f"{name}.tif", seed)
    (study.path / "model.py").write_text(
        "import os, signal\n"
        "open('started', 'a').write('.')\n"
        "os.kill(os.getppid(), signal.SIGKILL)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, retries=1)
    run = study.run()
    assert run.code == 1
    assert (study.path / "started").read_text() == ".."
    assert "no image was predicted: the trial of the predictor did not end (log: results/logs/" in run.output
    assert "not computed" not in run.output


def test_regions_on_another_body_are_refused_before_any_image(study):
    for seed, name in enumerate("ab"):
        pixels = write_image(study.images / f"{name}.tif", seed)
        placed = {"crs": "EPSG:4326", "transform": Affine(0.01, 0, 10, 0, -0.01, 50)}
        size = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 3, "dtype": "uint8"}
        with rasterio.open(study.images / f"{name}.tif", "w", **placed, **size) as image:
            image.write(pixels.transpose(2, 0, 1))
    regions = geopandas.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs="+proj=longlat +R=1737400 +type=crs")
    regions.to_file(study.path / "areas.gpkg")
    study.configure(regions="areas.gpkg")
    run = study.run()
    assert run.code == 1
    (line,) = last_lines(run)
    assert line.startswith("quadrat: no image fits: its reference system EPSG:4326 cannot be converted to")
    assert "(config.yaml: regions); tried on a.tif and 1 more; no image was predicted" in line


def test_predictors_that_fit_every_image_are_not_tried(finished):
    assert not (finished.results / "logs/try_predictor").exists()


def test_trial_asks_for_the_resources_that_are_set_for_the_images(study):
    for seed, name in enumerate("ab"):
        write_image(study.images / f"{name}.tif", seed)
    (study.path / "model.py").write_text("def predict_patch(patch): return 1\n")
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"})
    set_resources = ("--set-resources", "predict_image:mem_mb=4321", "predict_image:slurm_partition=gpus")
    run = study.run("--dry-run", "--verbose", *set_resources)
    asked = re.search(r"rule try_predictor:\n(?: .*\n)*? +resources: (.*)", run.output)[1].split(", ")
    assert {"mem_mb=4321", "slurm_partition=gpus"} <= set(asked)
