"""Exactly what changed is computed again: one test an event."""

import fcntl
import json
import os
import shutil
import time

import pyarrow.parquet as pq
import pytest

from quadrat import open_predictions
from studies import PROJECT, means, write_image


def expect(run, predicted, merged):
    """Check what a run computed."""
    assert run.code == 0, run.output
    assert (run.predicted, run.merged) == (predicted, merged), run.output
    assert run.nothing_to_be_done == (not merged), run.output


def replace(path, seed, mtime_ns=None):
    """Replace an image by other bytes of the same size, perhaps with a given modification time."""
    before = path.stat()
    pixels = write_image(path, seed)
    assert path.stat().st_size == before.st_size
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))
    return pixels


def test_nothing_changed(finished):
    expect(finished.run(), 0, False)


def test_one_image_added(finished):
    pixels = write_image(finished.images / "new.tif", 9)
    expect(finished.run(), 1, True)
    assert finished.dictionary["new.tif"] == means(pixels)


@pytest.mark.parametrize("age", ["newer", "older", "same"])
def test_one_image_replaced_by_other_bytes_of_the_same_size(finished, age):
    path = finished.images / "a.tif"
    # The log of contents must know this copy's inode, as it does of a study that was not copied.
    expect(finished.run(), 0, False)
    before = path.stat().st_mtime_ns
    mtime_ns = {"newer": None, "older": before - 10**12, "same": before}[age]
    pixels = replace(path, 9, mtime_ns)
    expect(finished.run(), 1, True)
    assert finished.dictionary["a.tif"] == means(pixels)


def test_all_images_touched(finished):
    for path in finished.images.rglob("*.tif"):
        path.touch()
    expect(finished.run(), 0, False)


def test_all_images_copied_to_another_folder(finished):
    shutil.copytree(finished.images, finished.path / "elsewhere", copy_function=shutil.copyfile)
    shutil.rmtree(finished.images)
    finished.configure(images="elsewhere")
    expect(finished.run(), 0, False)


def test_one_image_removed(finished):
    (finished.images / "a.tif").unlink()
    run = finished.run()
    expect(run, 0, True)
    assert list(finished.dictionary) == ["b.tif", "north/a.tif", "north/c.tif"]
    assert not (finished.results / "predictions/a.tif.parquet").exists()
    assert "1 superseded result" in run.output
    listed = finished.run("superseded").output
    (path,) = [line for line in listed.splitlines() if line.startswith("results/versions/")]
    assert path.startswith("results/versions/a.tif.")
    pruned = finished.run("prune")
    assert pruned.code == 0, pruned.output
    assert not (finished.path / path).exists()
    assert len(finished.versions()) == 3
    expect(finished.run(), 0, False)


def test_one_image_renamed(finished):
    (finished.images / "a.tif").rename(finished.images / "z.tif")
    expect(finished.run(), 1, True)
    assert list(finished.dictionary) == ["b.tif", "north/a.tif", "north/c.tif", "z.tif"]


def test_image_restored_to_its_earlier_bytes_and_world_file_added_and_removed(finished):
    path, before = finished.images / "a.tif", finished.merged_bytes()
    original, world_file = path.read_bytes(), finished.images / "b.tfw"
    replace(path, 9)
    world_file.write_text("10\n0\n0\n-10\n500005\n3999995\n")
    expect(finished.run(), 2, True)
    footer = pq.read_metadata(finished.results / "predictions/b.tif.parquet").metadata[b"quadrat"]
    assert json.loads(footer)["image"]["transform"] == [10, 0, 5e5, 0, -10, 4e6]
    path.write_bytes(original)
    world_file.unlink()
    expect(finished.run(), 0, True)
    assert finished.merged_bytes() == before


@pytest.mark.parametrize(
    "changed",
    [
        {"patch_size": 48},
        pytest.param({"stride": 16}, marks=pytest.mark.long),
        pytest.param({"edge": "pad"}, marks=pytest.mark.long),
        pytest.param({"channels": [3, 1]}, marks=pytest.mark.long),
    ],
    ids=["patch_size", "stride", "edge", "channels"],
)
def test_configuration_changed_and_set_back(finished, changed):
    before = finished.merged_bytes()
    original = (finished.path / "config.yaml").read_text()
    finished.configure(**changed)
    run = finished.run()
    expect(run, 4, True)
    (line,) = [line for line in run.output.splitlines() if " changed since the last run" in line]
    assert next(iter(changed)) in line.split(" changed")[0]
    (finished.path / "config.yaml").write_text(original)
    expect(finished.run(), 0, True)
    assert finished.merged_bytes() == before


def test_threads_memory_and_profile_changed(finished):
    run = finished.run("--set-threads", "predict_image=2", "--set-resources", "predict_image:mem_mb=900")
    expect(run, 0, False)
    expect(finished.run("--scheduler", "ilp"), 0, False)


PREDICTOR = {
    "kind": "python",
    "path": "model.py",
    "name": "predict_patch",
    "options": {"path": "weights.txt"},
    "depends": ["weights.txt"],
}


@pytest.fixture
def modelled(finished):
    """Return a finished study whose predictor is a Python file with a file that it depends on."""
    (finished.path / "model.py").write_text(
        "def predict_patch(patch, path): return float(open(path).read()) * patch.mean()\n"
    )
    (finished.path / "weights.txt").write_text("2.0")
    finished.configure(predictor=PREDICTOR)
    expect(finished.run(), 4, True)
    return finished


def test_model_file_replaced_with_an_older_mtime_then_touched(modelled):
    weights = modelled.path / "weights.txt"
    before = weights.stat().st_mtime_ns
    weights.write_text("3.0")
    os.utime(weights, ns=(before - 10**12, before - 10**12))
    expect(modelled.run(), 4, True)
    weights.touch()
    expect(modelled.run(), 0, False)


def test_predictor_source_or_its_options_changed(modelled):
    source = modelled.path / "model.py"
    source.write_text(source.read_text().replace("mean", "max"))
    expect(modelled.run(), 4, True)
    modelled.configure(
        predictor={
            "kind": "python",
            "path": "model.py",
            "name": "predict_patch",
            "options": {"path": "weights.txt"},
        }
    )
    expect(modelled.run(), 4, True)


def test_a_fresh_clone_beside_the_same_results(finished, tmp_path):
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("workflow", "scripts", "profiles", "envs"):
        shutil.copytree(PROJECT / name, clone / name)
    shutil.copyfile(PROJECT / "Snakefile", clone / "Snakefile")
    for path in clone.rglob("*"):
        os.utime(path)
    expect(finished.run(project=clone), 0, False)


def test_records_of_snakemake_deleted(finished):
    shutil.rmtree(finished.path / ".snakemake")
    expect(finished.run(), 0, False)
    shutil.rmtree(finished.path / ".snakemake")
    replace(finished.images / "a.tif", 9)
    expect(finished.run(), 1, True)


def test_log_of_contents_deleted(finished):
    (finished.results / ".quadrat/contents.jsonl").unlink()
    replace(finished.images / "a.tif", 9, (finished.images / "a.tif").stat().st_mtime_ns)
    expect(finished.run(), 1, True)


def test_a_result_deleted_by_hand_is_computed_again(finished):
    before = finished.merged_bytes()
    finished.versions()[0].unlink()
    expect(finished.run(), 1, True)
    assert finished.merged_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "exchanged"])
def test_a_result_damaged_by_hand_is_refused_by_name(finished, damage):
    expect(finished.run(), 0, False)
    first, second, *_ = finished.versions()
    first.write_bytes(first.read_bytes()[:-20] if damage == "truncated" else second.read_bytes())
    write_image(finished.images / "new.tif", 9)
    run = finished.run()
    assert run.code == 1
    (line,) = [line for line in run.output.splitlines() if line.startswith("quadrat: ")]
    assert first.name in line
    assert "delete the file and run again" in line
    first.unlink()
    expect(finished.run(), 1, True)
    assert len(finished.dictionary) == 5


def test_results_folder_moved(finished):
    finished.results.rename(finished.path / "moved")
    finished.configure(results="moved")
    expect(finished.run(), 0, False)
    links = list((finished.path / "moved/predictions").rglob("*.parquet"))
    assert sum(pq.read_metadata(link).num_rows for link in links) == 48


def test_mode_changed_on_all_images(finished):
    for path in finished.images.rglob("*.tif"):
        path.chmod(0o640)
    expect(finished.run(), 0, False)


def test_a_dry_run_between_a_change_and_the_run(finished):
    write_image(finished.images / "new.tif", 9)
    (finished.images / "a.tif").unlink()
    dry = finished.run("--dry-run")
    assert dry.code == 0
    assert "would run 1 predict_image, " in dry.output
    expect(finished.run(), 1, True)
    assert list(finished.dictionary) == ["b.tif", "new.tif", "north/a.tif", "north/c.tif"]


def test_a_dry_run_of_another_configuration(finished):
    before = {path: path.read_bytes() for path in finished.results.glob("predictions.*")}
    assert len(before) == 3
    dry = finished.run("--dry-run", "--config", "patch_size=48")
    assert "would run 4 predict_image, " in dry.output
    assert {path: path.read_bytes() for path in finished.results.glob("predictions.*")} == before
    run = finished.run()
    expect(run, 0, False)


@pytest.mark.parametrize("hours", [pytest.param(-1, marks=pytest.mark.long), 1])
def test_clock_of_what_was_merged_differs(finished, hours):
    others = time.time() + 3600 * hours
    for path in finished.results.rglob("*"):
        os.utime(path, (others, others))
    expect(finished.run(), 0, False)
    pixels = write_image(finished.images / "new.tif", 9)
    (finished.images / "bad.tif").write_bytes(b"II*\0 and no more")
    run = finished.run()
    assert (run.code, run.predicted, run.merged) == (1, 2, True)
    assert finished.dictionary["new.tif"] == means(pixels)
    (finished.images / "bad.tif").unlink()
    expect(finished.run(), 0, True)
    assert "bad.tif" not in (finished.results / "images.tsv").read_text()


def test_mark_of_the_merge_changes_only_with_the_dictionary(finished):
    mark = finished.results / "predictions.done"
    before = mark.read_bytes()
    write_image(finished.images / "new.tif", 9)
    expect(finished.run(), 1, True)
    assert mark.read_bytes() != before
    (finished.images / "new.tif").unlink()
    expect(finished.run(), 0, True)
    assert mark.read_bytes() == before


def test_more_than_half_of_the_images_vanish(finished):
    before = finished.merged_bytes()
    for name in ("a.tif", "b.tif", "north/a.tif"):
        (finished.images / name).unlink()
    run = finished.run()
    assert run.code == 1
    (line,) = [line for line in run.output.splitlines() if line.startswith("quadrat: ")]
    assert "3 of the 4 images" in line
    assert "allow_removed" in line
    assert finished.merged_bytes() == before
    finished.configure(allow_removed=True)
    expect(finished.run(), 0, True)
    assert list(finished.dictionary) == ["north/c.tif"]


@pytest.mark.long
def test_two_configurations_into_one_results_folder_in_turn(finished):
    original = (finished.path / "config.yaml").read_text()
    for turn in range(2):
        finished.configure(patch_size=48)
        expect(finished.run(), 4 if turn == 0 else 0, True)
        (finished.path / "config.yaml").write_text(original)
        expect(finished.run(), 0, True)


def test_a_second_run_at_once_stops_with_one_line_and_a_dry_run_does_not(finished):
    write_image(finished.images / "new.tif", 9)
    before = sorted(path for path in finished.results.rglob("*"))
    with (finished.results / ".quadrat/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = finished.run()
        assert run.code == 1
        (line,) = [line for line in run.output.splitlines() if line.startswith("quadrat: ")]
        assert "another run is writing there" in line
        assert sorted(path for path in finished.results.rglob("*")) == before
        assert finished.run("--dry-run").code == 0
    expect(finished.run(), 1, True)


@pytest.mark.parametrize("force", [["--forceall"], ["--forcerun", "predict_image"]])
def test_images_are_predicted_again_if_snakemake_is_asked_to(finished, force):
    before = finished.merged_bytes()
    run = finished.run(*force)
    assert (run.code, run.predicted) == (0, 4), run.output
    assert "4 of 4 images done" in run.output
    assert finished.merged_bytes() == before
    expect(finished.run(), 0, False)


def test_a_graph_shows_all_images(finished):
    run = finished.run("--dag")
    assert run.code == 0, run.output
    assert run.output.count("predict_image") == 4


def test_other_rerun_triggers_may_compute_more_but_never_less(finished):
    replace(finished.images / "a.tif", 9, 10**18)
    run = finished.run("--rerun-triggers", "mtime", "params", "input", "software-env", "code")
    assert run.code == 0, run.output
    assert run.predicted >= 1
    assert run.merged


def test_the_incremental_dictionary_equals_a_fresh_one_byte_for_byte(finished):
    replace(finished.images / "a.tif", 9)
    (finished.images / "b.tif").unlink()
    write_image(finished.images / "new.tif", 10)
    expect(finished.run(), 2, True)
    incremental = finished.merged_bytes()
    finished.configure(results="fresh")
    expect(finished.run(), 4, True)
    finished.results = finished.path / "fresh"
    assert finished.merged_bytes() == incremental
    assert len(open_predictions(finished.results)) == 4


def test_verify_stat_reads_no_bytes_and_says_what_it_may_miss(finished):
    path = finished.images / "a.tif"
    finished.configure(verify="stat")
    replace(path, 9, path.stat().st_mtime_ns)
    run = finished.run()
    expect(run, 0, False)
    assert "verify: stat would miss a file replaced" in run.output
    replace(path, 9, path.stat().st_mtime_ns + 1)
    expect(finished.run(), 1, True)
