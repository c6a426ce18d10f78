import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from quadrat.errors import ConfigError
from quadrat.files.hashing import digest, hash_file
from quadrat.grid import PatchGrid, Window
from quadrat.plan import versions
from quadrat.plan.plan import make_plan, read_plan
from quadrat.results.merge import merge_predictions
from quadrat.results.tables import read_manifest
from quadrat.results.writer import PredictionWriter, write_failure

NAMES = ["a.tif", "b.tif", "north/a.tif", "north/c.tif"]


class Study:
    """A folder of tiny files that is planned and finished without Snakemake."""

    def __init__(self, images, make_settings, described):
        self.images = images
        self.lines = []
        self._make_settings, self._described = make_settings, described
        self.config = {}

    def put(self, *filenames, content=None):
        """Write files, each of bytes of its own unless content is given."""
        for filename in filenames:
            path = self.images / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content or f"pixels of {filename}".encode())

    def replace(self, filename, content, ns):
        """Put another file in the place of an image, as `cp -p` or `rsync -a` do."""
        other = self.images / ".other"
        other.write_bytes(content)
        os.utime(other, ns=(ns, ns))
        os.replace(other, self.images / filename)

    def plan(self, **config):
        """Plan a run, and give the plan."""
        self.lines = []
        return make_plan(self._make_settings(**self.config | config), self.lines.append)

    def finish(self, plan, failures=()):
        """Do what a run of the plan would: store a result of each missing image, and merge."""
        for image in plan.images:
            path = next(
                (path for path in plan.missing if path.endswith(f"{image.key}.{image.version}.parquet")), None
            )
            if path is None:
                continue
            known = {"filename": image.filename, "version": image.version, "content_id": image.content_id}
            known["content_hash"] = hash_file(image.path)
            if image.filename in failures:
                write_failure(
                    PredictionWriter(path),
                    known,
                    {"kind": failures[image.filename], "message": "m", "hint": ""},
                )
                continue
            with PredictionWriter(path) as writer:
                writer.append([(0, 0, Window(0, 0, 512, 512))], np.array([1.0]))
                writer.finish(self._described(PatchGrid(512, 512)) | known | {"counts": {"patches": 1}})
        Path(f"{plan.settings.results}/run.yaml").touch()
        columns = read_manifest(f"{plan.settings.results}/manifest.tsv")
        merge_predictions(plan.results, columns, plan.settings.as_dict(), plan.recipe, print)

    def run(self, failures=(), **config):
        """Plan and finish a run, and give what it computed and whether it merged."""
        before = self.plan_stamp()
        plan = self.plan(**config)
        to_compute = sorted(
            image.filename for image in plan.images if self.path_of(plan, image) in plan.missing
        )
        is_merged = self.plan_stamp() != before
        if is_merged:
            self.finish(plan, failures)
        assert is_merged or not to_compute
        return to_compute, is_merged

    def path_of(self, plan, image):
        return f"{plan.settings.results}/versions/{image.key}.{image.version}.parquet"

    def plan_stamp(self):
        """Tell one plan that was written down from another."""
        file = self.images.parent / "results/.quadrat/plan.json"
        return file.read_bytes() if file.exists() else None


@pytest.fixture
def study(images, make_settings, described):
    study = Study(images, make_settings, described)
    study.put(*NAMES)
    return study


@pytest.fixture
def finished(study):
    assert study.run() == (NAMES, True)
    return study


def stat_of(study, filename):
    return os.stat(study.images / filename)


# what changed


def _add(study):
    study.put("north/new.tif")


def _replace_newer(study):
    study.replace("b.tif", b"other pixels", stat_of(study, "b.tif").st_mtime_ns + 10**9)


def _replace_older(study):
    study.replace("b.tif", b"other pixels", 0)


def _replace_alike(study):
    study.replace("b.tif", b"PIXELS of b.tif", stat_of(study, "b.tif").st_mtime_ns)


def _write_in_place(study):
    (study.images / "b.tif").write_bytes(b"longer pixels of b.tif")


def _touch(study):
    for name in NAMES:
        os.utime(study.images / name, ns=(0, 0))


def _change_modes(study):
    for name in NAMES:
        os.chmod(study.images / name, 0o600)


def _copy_folder(study):
    copy = study.images.parent / "copy"
    shutil.copytree(study.images, copy, copy_function=shutil.copyfile)
    study.config["images"] = str(copy)


def _move_folder(study):
    study.images = study.images.rename(study.images.parent / "moved")
    study.config["images"] = str(study.images)


def _remove(study):
    os.unlink(study.images / "b.tif")


def _rename(study):
    os.rename(study.images / "b.tif", study.images / "d.tif")


def _lose_the_log(study):
    os.unlink(study.images.parent / "results/.quadrat/contents.jsonl")


def _lose_log_and_replace(study):
    _lose_the_log(study)
    _replace_older(study)


def _lose_a_result(study):
    (path,) = (study.images.parent / "results/versions").glob("b.tif.*")
    path.unlink()


def _lose_the_plan(study):
    os.unlink(study.images.parent / "results/.quadrat/plan.json")


def _lose_the_record_of_the_merge(study):
    os.unlink(study.images.parent / "results/.quadrat/merged.json")


def _lose_the_dictionary(study):
    os.unlink(study.images.parent / "results/predictions.parquet")


def _cut_the_log(study):
    log = study.images.parent / "results/.quadrat/contents.jsonl"
    log.write_bytes(log.read_bytes()[:-20])


EVENTS = {
    "nothing": (lambda study: None, [], False),
    "one added": (_add, ["north/new.tif"], True),
    "replaced, newer": (_replace_newer, ["b.tif"], True),
    "replaced, older": (_replace_older, ["b.tif"], True),
    "replaced, same size and time": (_replace_alike, ["b.tif"], True),
    "written to in place": (_write_in_place, ["b.tif"], True),
    "all touched": (_touch, [], False),
    "modes changed": (_change_modes, [], False),
    "folder copied": (_copy_folder, [], False),
    "folder moved": (_move_folder, [], False),
    "one removed": (_remove, [], True),
    "one renamed": (_rename, ["d.tif"], True),
    "log lost": (_lose_the_log, [], False),
    "log lost and one replaced": (_lose_log_and_replace, ["b.tif"], True),
    "log cut by a kill": (_cut_the_log, [], False),
    "result lost": (_lose_a_result, ["b.tif"], True),
    "plan lost": (_lose_the_plan, [], True),
    "record of the merge lost": (_lose_the_record_of_the_merge, [], True),
    "dictionary lost": (_lose_the_dictionary, [], True),
}


@pytest.mark.parametrize("event", EVENTS)
def test_what_changed_and_nothing_else_is_planned(finished, event):
    happen, computed, is_merged = EVENTS[event]
    happen(finished)
    assert finished.run() == (computed, is_merged)
    assert finished.run() == ([], False)


def test_restored_image_finds_its_earlier_result(finished):
    before = (finished.images / "b.tif").read_bytes()
    finished.replace("b.tif", b"other pixels", 0)
    assert finished.run() == (["b.tif"], True)
    finished.replace("b.tif", before, 10**9)
    assert finished.run() == ([], True)


def test_image_touched_before_it_was_replaced_is_predicted_again(finished):
    _touch(finished)
    finished.run()
    _replace_alike(finished)
    assert finished.run() == (["b.tif"], True)


def test_plan_that_was_not_run_changes_nothing(finished):
    _replace_older(finished)
    finished.plan()
    finished.plan()
    assert finished.run() == (["b.tif"], True)


def test_plan_that_was_not_run_is_not_merged_once_it_is_taken_back(finished):
    finished.put("a{b}.tif")
    finished.plan()
    os.unlink(finished.images / "a{b}.tif")
    plan = finished.plan()
    manifest = read_manifest(f"{plan.settings.results}/manifest.tsv")
    assert [image.filename for image in manifest] == NAMES


def test_run_that_was_stopped_goes_on_with_what_is_missing(study):
    study.plan()
    study.put("z.tif")
    assert study.run() == ([*NAMES, "z.tif"], True)


def test_verify_stat_trusts_size_and_time(finished):
    finished.config["verify"] = "stat"
    _change_modes(finished)
    _replace_alike(finished)
    assert finished.run() == ([], False)
    _replace_newer(finished)
    assert finished.run() == (["b.tif"], True)
    _touch(finished)
    assert finished.run() == (NAMES, True)


# configuration


@pytest.mark.parametrize(
    "change",
    [{"patch_size": 256}, {"edge": "pad"}, {"channels": [1]}, {"level": 1}, {"plane": {"z": 2}}],
    ids=str,
)
def test_configuration_that_changes_predictions_plans_all_and_setting_it_back_none(finished, change):
    assert finished.run(**change) == (NAMES, True)
    assert finished.run() == ([], True)
    assert finished.run(**change) == ([], True)


@pytest.mark.parametrize("change", [{"retries": 5}, {"on_failure": "report"}, {"verify": "stat"}], ids=str)
def test_other_configuration_plans_nothing(finished, change):
    assert finished.run(**change) == ([], False)


def test_json_limit_plans_the_merge_alone(finished):
    assert finished.run(json_max_values=1) == ([], True)


def test_excluded_image_is_left_out_without_computing(finished):
    assert finished.run(exclude=["b.tif"]) == ([], True)
    assert finished.run() == ([], True)


def test_model_file_touched_plans_nothing_and_replaced_all(finished, write_model, tmp_path):
    model = Path(write_model("one = 1\n"))
    finished.config["predictor"] = {"kind": "python", "path": str(model), "name": "predict_patch"}
    assert finished.run() == (NAMES, True)
    os.utime(model, ns=(0, 0))
    assert finished.run() == ([], False)
    other = tmp_path / "other.py"
    other.write_text("one = 2\n")
    os.utime(other, ns=(0, 0))
    os.replace(other, model)
    assert finished.run() == (NAMES, True)


def test_plan_notes_the_files_of_the_predictor_as_they_are(study, write_model):
    model, weights = write_model("one = 1\n"), write_model("two", "weights.txt")
    study.config["predictor"] = {
        "kind": "python",
        "path": model,
        "name": "predict_patch",
        "depends": [weights],
    }
    files = study.plan().predictor_files
    assert files == {path: [os.stat(path).st_size, os.stat(path).st_mtime_ns] for path in (model, weights)}


def test_missing_file_of_the_predictor_stops_before_the_plan_is_written(study):
    study.config["predictor"] = {"kind": "python", "path": "no_model.py", "name": "predict_patch"}
    with pytest.raises(ConfigError, match=r"no_model\.py: no such file"):
        study.plan()
    assert study.plan_stamp() is None


def test_columns_that_pass_through_plan_the_merge_alone(study, tmp_path):
    table = tmp_path / "images.tsv"
    study.config["images"] = str(table)
    text = "filename\tsite\nimages/a.tif\t1\nimages/b.tif\t2\n"
    table.write_text(text)
    assert study.run() == (["images/a.tif", "images/b.tif"], True)
    table.write_text(text.replace("\t2", "\t3"))
    assert study.run() == ([], True)
    table.write_text(text.replace("\t2", "\t3").replace("site", "place"))
    assert study.run() == ([], True)
    assert study.run() == ([], False)


# failures


def test_image_that_is_broken_is_not_planned_again_until_it_changes(study):
    assert study.run(failures={"b.tif": "data"}) == (NAMES, True)
    assert study.run() == ([], False)
    study.put("b.tif", content=b"mended")
    assert study.run() == (["b.tif"], True)


@pytest.mark.parametrize("kind", ["predictor", "crash", "memory", "changed", "error"])
def test_failure_that_may_pass_is_planned_again(study, kind):
    study.run(failures={"b.tif": kind})
    assert study.run() == (["b.tif"], True)
    assert study.run() == ([], False)


def test_image_that_cannot_be_carried_is_planned_without_a_result(finished):
    finished.put("d\n.tif")
    plan = finished.plan()
    (image,) = [image for image in plan.images if image.problem]
    assert (image.filename, image.version, image.content_id) == ("d\\n.tif", "", "")
    assert len(plan.results) == len(NAMES)
    finished.finish(plan)
    assert finished.run() == ([], False)


# images that vanish


def test_more_than_half_of_the_images_gone_stops_with_what_to_do(finished):
    for name in NAMES[:3]:
        os.unlink(finished.images / name)
    before = finished.plan_stamp()
    with pytest.raises(ConfigError) as caught:
        finished.plan()
    line = str(caught.value)
    assert f"images {finished.images}: 3 of the 4 images of the last run are gone, such as a.tif" in line
    assert "--config allow_removed=true" in line
    assert "--config results=" in line
    assert "\n" not in line
    assert finished.plan_stamp() == before
    assert finished.run(allow_removed=True) == ([], True)


def test_half_of_the_images_may_go(finished):
    for name in NAMES[:2]:
        os.unlink(finished.images / name)
    assert finished.run() == ([], True)


def test_images_left_out_by_the_configuration_are_not_gone(finished):
    assert finished.run(include=["b.tif"]) == ([], True)


def test_links_to_a_disk_that_is_not_mounted_stop_the_run(study, tmp_path):
    disk = study.images.rename(tmp_path / "disk")
    study.images.mkdir()
    for name in NAMES[:3]:
        (study.images / name.replace("/", "_")).symlink_to(disk / name)
    assert study.run(follow_links=True)[1]
    disk.rename(tmp_path / "unmounted")
    with pytest.raises(ConfigError, match="3 of the 3 images of the last run are gone"):
        study.plan(follow_links=True)


# what it tells and keeps


def test_announcement_counts_new_changed_unchanged_and_removed(finished):
    _replace_older(finished)
    _add(finished)
    os.unlink(finished.images / "a.tif")
    finished.plan()
    assert finished.lines[-1] == "4 images: 1 new, 1 changed, 2 unchanged, 1 removed; 2 to predict"


def test_first_announcement_counts_all_as_new(study):
    study.plan()
    assert study.lines == ["4 images: 4 new, 0 changed, 0 unchanged, 0 removed; 4 to predict"]


def test_images_that_are_not_taken_are_announced_and_known_to_the_jobs(study):
    study.put("scan.nd2", "a.tab", "notes.txt")
    plan = study.plan()
    assert study.lines[1:] == ["not taken: 1 .nd2; export them as OME-TIFF, with QuPath or bfconvert"]
    read = read_plan(plan.settings)
    assert (read.not_taken, read.sidecars) == (study.lines[1:], {"a.tif": [".tab"]})


def test_sidecar_or_image_that_is_not_taken_plans_nothing(finished):
    finished.put("scan.nd2", "a.tab")
    assert finished.run() == ([], False)
    assert len(finished.lines) == 2


def test_plan_of_before_that_says_nothing_of_what_is_not_read_is_read(finished):
    path = finished.images.parent / "results/.quadrat/plan.json"
    written = json.loads(path.read_bytes())
    del written["sidecars"], written["not_taken"]
    path.write_text(json.dumps(written))
    assert finished.run() == ([], False)
    read = read_plan(finished.plan().settings)
    assert (read.not_taken, read.sidecars) == ([], {})


def test_announcement_names_the_keys_that_make_all_images_run_again(finished):
    finished.plan(patch_size=256, edge="pad")
    assert finished.lines[-2].endswith("4 unchanged, 0 removed; 4 to predict")
    assert finished.lines[-1].startswith("patch_size, stride, edge changed since the last run")


def test_results_of_earlier_configurations_and_images_are_superseded(finished):
    old = finished.plan().results
    finished.run(patch_size=256)
    os.unlink(finished.images / "b.tif")
    plan = finished.plan(patch_size=256)
    assert set(old) < set(plan.superseded)
    assert len(plan.superseded) == len(old) + 1
    assert not set(plan.superseded) & set(plan.results)


def test_plan_can_be_read_by_the_process_of_a_job(finished):
    plan = finished.plan()
    again = read_plan(plan.settings)
    assert again.images == plan.images
    assert again.results == plan.results
    assert again.recipe == plan.recipe
    assert again.predictor_files == plan.predictor_files


def test_merged_files_hold_the_state_that_was_planned(finished, results):
    finished.put("d\n.tif")
    plan = finished.plan()
    finished.finish(plan)
    assert results.read_merged()["state"] == plan.state


def test_image_is_found_by_key_and_version(finished):
    plan = finished.plan()
    wanted = plan.images[2]
    assert plan.image(wanted.key, wanted.version) is wanted


@pytest.mark.parametrize(("key", "version"), [("nowhere.tif", "0" * 12), ("a.tif", "0" * 12)])
def test_image_that_is_not_in_the_plan_is_refused_with_what_to_do(finished, key, version):
    with pytest.raises(ConfigError, match=rf"{key}\.{version} is not in the plan of this run; .* run again"):
        finished.plan().image(key, version)


def test_version_of_a_plan_is_that_of_content_and_recipe(finished):
    plan = finished.plan()
    for image in plan.images:
        assert image.version == versions.version(image.content_id, digest(plan.recipe))


# regions


@pytest.fixture
def drawn(study, tmp_path):
    """Return a finished study with regions of two of its images, and the folder that holds them."""
    folder = tmp_path / "regions"
    (folder / "north").mkdir(parents=True)
    for name in ("a.tif", "north/a.tif"):
        (folder / f"{name}.geojson").write_text("[]")
    study.config["regions"] = str(folder)
    assert study.run() == (NAMES, True)
    return study, folder


def test_changed_regions_rerun_their_image_alone(drawn):
    study, folder = drawn
    assert study.run() == ([], False)
    (folder / "a.tif.geojson").write_text("[ ]")
    assert study.run() == (["a.tif"], True)
    (folder / "b.tif.geojson").write_text("[]")
    assert study.run() == (["b.tif"], True)
    (folder / "b.tif.geojson").unlink()
    (folder / "a.tif.geojson").write_text("[]")
    assert study.run() == ([], True)  # as they were: the results of then are there


def test_images_without_regions_are_reported(drawn):
    study, folder = drawn
    study.plan()
    assert f"regions {folder}: 2 images have no file there, such as b.tif.geojson; " in "\n".join(study.lines)


def test_regions_are_part_of_every_version_and_go_to_the_jobs(drawn):
    study, folder = drawn
    plan = read_plan(study.plan().settings)
    image = plan.images[0]
    assert plan.regions_of(image) == {
        "path": str(folder / "a.tif.geojson"),
        "hash": hash_file(folder / "a.tif.geojson"),
        "in_pixels": True,
        "classes": None,
    }
    plain = study.plan(regions=None)
    assert plain.regions_of(plain.images[0]) is None
    assert not {one.version for one in plan.images} & {one.version for one in plain.images}


def test_changed_vector_file_reruns_all_and_is_named_as_the_cause(study, tmp_path):
    path = tmp_path / "fields.geojson"
    crs = '"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32612"}}'
    path.write_text(f'{{"type": "FeatureCollection", {crs}, "features": []}}')
    study.config["regions"] = str(path)
    assert study.run() == (NAMES, True)
    path.write_text(f'{{"type": "FeatureCollection", {crs}, "name": "other", "features": []}}')
    assert study.run() == ([], False)  # the same regions
    drawn = '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}'
    path.write_text(f'{{"type": "FeatureCollection", {crs}, "features": [{drawn}]}}')
    assert study.run() == (NAMES, True)
    assert "regions changed since the last run" in "\n".join(study.lines)


def test_regions_that_are_not_there_stop_the_run(study):
    with pytest.raises(ConfigError, match="regions nowhere: no such file or folder"):
        study.plan(regions="nowhere")
