"""Results of an earlier commit are those of today: nothing of them is computed, drawn or written again."""

import json
import tarfile

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


def run_again(folder, name, **jobs):
    """Unpack a study and run it: it must be what it was, by so many jobs of each rule."""
    assert BEFORE["results_version"] == RESULTS_VERSION, f"make the archive anew: {RECORD.stem}.py"
    with tarfile.open(ARCHIVE) as archive:
        members = [member for member in archive if member.name.split("/")[0] == name]
        archive.extractall(folder, members, filter="data")
    study = Study(folder / name)
    before = files(study)
    run = study.run(*TARGETS[name])
    assert run.code == 0, run.output
    assert {rule: run.jobs(rule) for rule in jobs} == jobs, run.output
    assert run.jobs("merge_predictions") <= 1, run.output
    assert held(study) == BEFORE[name]
    after = files(study)
    # Another release writes exports again.
    stay = [path for path in before if __version__ == BEFORE["quadrat"] or path.suffix != ".tif"]
    assert [path for path in stay if after.get(path) != before[path]] == []


def test_finished_study_is_taken_as_it_is(tmp_path):
    run_again(tmp_path, "survey", predict_image=0, predict_shard=0, draw_maps=0)


def test_interrupted_study_computes_only_the_image_whose_shards_another_version_wrote(tmp_path):
    # Its four shards, since two of them are .npz files; their join; and the drawings of their image.
    run_again(tmp_path, "slides", predict_shard=4, predict_image=1, write_overview=1)
