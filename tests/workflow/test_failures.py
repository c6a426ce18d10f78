"""No bad file stops or silently shrinks a run."""

import csv
import shutil

import pytest
import yaml

from studies import PATCH_SIZE, Study, means, write_image


def rows(study):
    """Read images.tsv by filename."""
    with (study.results / "images.tsv").open(newline="") as file:
        return {row["filename"]: row for row in csv.DictReader(file, delimiter="\t")}


def exclude_line(run):
    """Find the line that a user is to put into the configuration."""
    (line,) = [line for line in run.output.splitlines() if line.startswith("exclude:")]
    return yaml.safe_load(line)


@pytest.fixture(scope="module")
def _damaged(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("damaged") / "study")
    study.good = write_image(study.images / "good.tif", 1)
    write_image(study.images / "half.tif", 2)
    whole = (study.images / "half.tif").read_bytes()
    (study.images / "half.tif").write_bytes(whole[: len(whole) // 2])
    (study.images / "empty.tif").write_bytes(b"")
    (study.images / "text.tif").write_text("not an image\n" * 20)
    study.configure(patch_size=PATCH_SIZE, maps=False)
    study.first = study.run()
    return study


@pytest.fixture
def damaged(_damaged, tmp_path):
    """Return a study, run to its end, of one good image and three that cannot be read."""
    shutil.copytree(_damaged.path, tmp_path / "study", symlinks=True)
    study = Study(tmp_path / "study")
    study.good, study.first = _damaged.good, _damaged.first
    return study


def test_bad_files_are_listed_and_the_good_ones_are_in_the_dictionary(damaged):
    run = damaged.first
    assert run.code == 1
    assert damaged.dictionary == {"good.tif": means(damaged.good)}
    table = rows(damaged)
    bad = ["empty.tif", "half.tif", "text.tif"]
    assert list(table) == ["empty.tif", "good.tif", "half.tif", "text.tif"]
    assert all(table[name]["status"] == "failed" and table[name]["message"] for name in bad)
    last_lines = run.output.splitlines()[-12:]
    for name in bad:
        assert any(line.startswith(f"  {name}: ") for line in last_lines), run.output

    # A second run tries nothing again, and still says so.
    again = damaged.run()
    assert (again.code, again.predicted, again.merged) == (1, 0, False)
    assert [line for line in again.output.splitlines() if line.startswith("  half.tif: ")]

    # The line that was printed mends the exit code, and computes nothing.
    damaged.configure(**exclude_line(run))
    mended = damaged.run()
    assert (mended.code, mended.predicted, mended.merged) == (0, 0, True)
    assert list(rows(damaged)) == ["good.tif"]


def test_failures_are_reported_without_failing_when_asked(damaged):
    damaged.configure(on_failure="report", results="reported")
    run = damaged.run()
    assert run.code == 0
    assert "  text.tif: " in run.output


def test_a_mended_file_is_predicted_again(damaged):
    for name in ("half.tif", "empty.tif", "text.tif"):
        write_image(damaged.images / name, 5)
    run = damaged.run()
    assert (run.code, run.predicted, run.merged) == (0, 3, True), run.output
    assert len(damaged.dictionary) == 4


def test_a_predictor_that_raises_names_the_patch_and_is_tried_again_by_the_next_run(study):
    write_image(study.images / "a.tif", 1)
    pixels = write_image(study.images / "bad.tif", 2, 32 * 3, 32 * 2)
    (study.path / "model.py").write_text(
        "import os\n"
        "def predict_patch(patch):\n"
        "    if os.path.exists('broken') and patch.sum() == int(open('broken').read()):\n"
        "        raise ValueError('no')\n"
        "    return 1\n"
    )
    (study.path / "broken").write_text(str(pixels[64:96, 32:64].sum()))
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, retries=1)
    run = study.run()
    assert run.code == 1
    assert "bad.tif: patch row 2, col 1: ValueError: no" in run.output
    assert list(study.dictionary) == ["a.tif"]
    row = rows(study)["bad.tif"]
    assert (row["status"], row["kind"]) == ("failed", "predictor")
    (log,) = (study.results / "logs/predict_image").glob("bad.tif.*.log")
    assert "Traceback" in log.read_text()
    (study.path / "broken").unlink()
    again = study.run()
    assert (again.code, again.predicted, again.merged) == (0, 1, True), again.output
    assert study.dictionary == {"a.tif": [1] * 12, "bad.tif": [1] * 6}


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_is_recorded_and_the_others_are_merged(study, signal):
    write_image(study.images / "a.tif", 1)
    pixels = write_image(study.images / "deadly.tif", 2)
    (study.path / "model.py").write_text(
        "import os, signal\n"
        "def predict_batch(patches):\n"
        f"    if patches[0, 0, 0].tolist() == {pixels[0, 0].tolist()}:\n"
        f"        os.kill(os.getpid(), signal.{signal})\n"
        "    return patches.mean(axis=(1, 2, 3))\n"
    )
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_batch"}, retries=1)
    run = study.run()
    assert run.code == 1
    assert list(study.dictionary) == ["a.tif"]
    assert signal in rows(study)["deadly.tif"]["message"]


def test_nan_predictions_are_kept_counted_and_warned_about(study):
    write_image(study.images / "a.tif", 1, 32, 96)
    (study.path / "model.py").write_text(
        "import itertools\nvalues = itertools.cycle([float('nan'), float('inf'), -1.5])\n"
        "def predict_patch(patch): return next(values)\n"
    )
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"})
    run = study.run()
    assert run.code == 0
    assert study.dictionary == {"a.tif": ["NaN", "Infinity", -1.5]}
    assert rows(study)["a.tif"]["nan"] == "1"
    assert "a.tif" in run.output
    assert "NaN" in run.output


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"images": "nowhere"}, "images nowhere: no such folder"),
        ({"images": "images"}, "images images: no file in it"),
        ({"patchsize": 3}, "patchsize: unknown key; did you mean patch_size?"),
        ({"patch_size": 0}, "patch_size is 0; it must be"),
        ({"channels": [0]}, "channels are [0]; they must be counted from 1"),
    ],
)
def test_what_cannot_be_run_stops_with_one_line(study, keys, message):
    study.configure(**keys)
    run = study.run()
    assert run.code == 1
    (line,) = [line for line in run.output.splitlines() if line.startswith("quadrat: ")]
    assert message in line
    assert "config.yaml" in line
    assert "Traceback" not in run.output


def test_a_missing_model_stops_before_any_job(study):
    write_image(study.images / "a.tif", 1)
    study.configure(predictor={"kind": "python", "path": "gone.py", "name": "predict_patch"})
    run = study.run()
    assert run.code == 1
    assert "quadrat: gone.py: no such file (config.yaml: predictor: path)" in run.output
    assert not study.versions()


def test_an_image_written_to_while_it_is_read_is_not_recorded_as_done(study):
    write_image(study.images / "a.tif", 1)
    (study.path / "model.py").write_text(
        "import os\n"
        "def predict_patch(patch):\n"
        "    if not os.path.exists('done'):\n"
        "        open('done', 'w').close()\n"
        "        os.utime('images/a.tif')\n"
        "    return patch.mean()\n"
    )
    study.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, retries=0)
    run = study.run()
    assert run.code == 1
    assert "  a.tif: images/a.tif was written to during the run" in run.output
    assert study.dictionary == {}
    again = study.run()
    assert (again.code, again.predicted, again.merged) == (0, 1, True), again.output


@pytest.mark.long
def test_a_model_replaced_during_the_run_is_not_taken_for_the_one_that_was_planned(study):
    for seed in range(3):
        write_image(study.images / f"{seed}.tif", seed)
    (study.path / "weights.txt").write_text("2.0")
    (study.path / "model.py").write_text(
        "import os\n"
        "def predict_patch(patch):\n"
        "    weight = float(open('weights.txt').read())\n"
        "    if weight == 2: open('weights.txt', 'w').write('3.0')\n"
        "    return weight\n"
    )
    predictor = {"kind": "python", "path": "model.py", "name": "predict_patch"}
    study.configure(predictor=predictor | {"depends": ["weights.txt"]}, retries=0)
    run = study.run(cores=1)
    assert run.code == 1
    assert "weights.txt was written to during the run; run again" in run.output
    assert study.dictionary == {}
    again = study.run()
    assert (again.code, again.predicted) == (0, 3), again.output
    assert study.dictionary == {f"{seed}.tif": [3.0] * 12 for seed in range(3)}
