"""Large images in several jobs: the results of one job, and only what failed is computed again."""

import csv

import pytest
import tifffile

from studies import means, write_image

# Predictions that depend on their batch, and that are whole numbers in the upper half of the image.
MODEL = """
def predict_batch(patches):
    means = patches.mean(axis=(1, 2, 3))
    return means + means.mean() if means.mean() > 100 else (means.astype(int) + len(means))
"""

# Dies once, at a patch in the middle of the image.
LETHAL = [1, 2, 3]
MORTAL = f"""
import os, pathlib
with open("loads", "a") as loads:
    loads.write("1")
def predict_patch(patch):
    if (patch[0, 0] == {LETHAL}).all() and not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
    return patch.mean()
"""


def write_large(path, seed, dark_rows=0):
    """Write an image of 62 x 46 patches in tiles that do not meet them, its upper rows dark."""
    pixels = write_image(path, seed, 2000, 1500)
    pixels[:dark_rows] //= 4
    pixels[960, 64] = LETHAL
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(48, 48), compression="zlib")
    return pixels


def break_segment(path, share):
    """Overwrite what a TIFF holds at a share of its size."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * share))
        file.write(bytes(4000))


def statuses(study):
    with (study.results / "images.tsv").open(newline="") as file:
        return {row["filename"]: (row["status"], row["kind"]) for row in csv.DictReader(file, delimiter="\t")}


def version_bytes(study):
    return {path.relative_to(study.results): path.read_bytes() for path in study.versions()}


@pytest.fixture
def large_study(study):
    """Return a study of a large image, a large one that is broken, and a small one."""
    write_large(study.images / "north/large.tif", 1, dark_rows=1000)
    write_large(study.images / "broken.tif", 2)
    break_segment(study.images / "broken.tif", 0.6)
    write_image(study.images / "small.tif", 3)
    (study.path / "model.py").write_text(MODEL)
    predictor = {"kind": "python", "path": "model.py", "name": "predict_batch", "batch_size": 7}
    study.configure(predictor=predictor, on_failure="report")
    return study


def test_results_in_shards_are_those_of_one_job_an_image_byte_for_byte(large_study):
    study = large_study
    study.configure(shard_pixels=1_000_000)
    run = study.run()
    assert run.code == 0, run.output
    assert "3 to predict, 2 of them in 6 shards" in run.output
    assert (run.jobs("predict_shard"), run.predicted) == (6, 3)
    assert "3 of 3 images and 6 of 6 shards done" in run.output
    assert statuses(study) == {
        "broken.tif": ("failed", "data"), "north/large.tif": ("ok", ""), "small.tif": ("ok", "")
    }  # fmt: skip
    assert not (study.results / "shards").exists()
    in_shards, merged = version_bytes(study), study.merged_bytes()
    study.configure(shard_pixels=400_000)
    assert study.run().nothing_to_be_done
    study.configure(shard_pixels=None, results="whole")
    study.results = study.path / "whole"
    run = study.run()
    assert (run.jobs("predict_shard"), run.predicted) == (0, 3)
    assert version_bytes(study) == in_shards
    assert study.merged_bytes() == merged


def test_shard_that_is_killed_is_computed_again_alone(study):
    pixels = write_large(study.images / "large.tif", 1)
    write_image(study.images / "small.tif", 3)
    (study.path / "model.py").write_text(MORTAL)
    predictor = {"kind": "python", "path": "model.py", "name": "predict_patch"}
    study.configure(predictor=predictor, shard_pixels=1_000_000, retries=0)
    first = study.run()
    assert first.code == 1
    assert statuses(study) == {"large.tif": ("failed", "crash"), "small.tif": ("ok", "")}
    assert len(list(study.results.glob("shards/*.parquet"))) == 2
    again = study.run()
    assert again.code == 0, again.output
    assert (again.jobs("predict_shard"), again.predicted) == (1, 1)
    assert study.dictionary["large.tif"] == means(pixels)
    assert (study.path / "loads").read_text() == "1" * (1 + 3 + 1 + 1)  # first the trial
    assert list(study.results.glob("shards/*.parquet")) == []
