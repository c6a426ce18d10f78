"""Results of an earlier commit are those of today: nothing of them is computed, drawn or written again."""

import json
import tarfile

import pytest

from quadrat import RESULTS_VERSION, __version__
from results_of_before import ARCHIVE, RECORD, TARGETS, held
from studies import Study

BEFORE = json.loads(RECORD.read_text())


def files(study):
    """Return when each result, drawing and export was written, and where on the disk."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_ino)
        for folder in ("versions", ".quadrat/drawings", "geotiff")
        for path in (study.results / folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def run_again(tmp_path):
    """Return a function that runs an earlier study, whose results must stay, and returns the run."""
    assert BEFORE["results_version"] == RESULTS_VERSION, f"run {RECORD.stem}.py"

    def run_again(name):
        with tarfile.open(ARCHIVE) as archive:
            members = [member for member in archive if member.name.split("/")[0] == name]
            archive.extractall(tmp_path, members, filter="data")
        study = Study(tmp_path / name)
        before = files(study)
        run = study.run(*TARGETS[name])
        assert run.code == 0, run.output
        after = files(study)
        # Another release writes exports again.
        stay = [path for path in before if __version__ == BEFORE["quadrat"] or path.suffix != ".tif"]
        assert [path for path in stay if after.get(path) != before[path]] == []
        assert held(study) == BEFORE[name]
        return run

    return run_again


def test_finished_study_is_taken_as_it_is(run_again):
    run = run_again("survey")
    assert (run.predicted, run.jobs("predict_shard"), run.jobs("draw_maps")) == (0, 0, 0), run.output
    assert run.jobs("merge_predictions") <= 1


def test_interrupted_study_computes_only_the_shards_that_are_missing(run_again):
    run = run_again("slides")
    assert (run.jobs("predict_shard"), run.predicted, run.jobs("draw_maps")) == (2, 1, 1), run.output
    assert run.merged
