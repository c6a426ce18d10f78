"""Maps, pages and the overview follow the predictions; the report shows them after the fact."""

import shutil

import numpy as np
import pytest
from PIL import Image

from studies import PATCH_SIZE, Study, write_image


@pytest.fixture(scope="module")
def _drawn(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("drawn") / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=PATCH_SIZE, on_failure="report")
    write_image(study.images / "north/a.tif", 1)
    write_image(study.images / "b.tif", 2)
    write_image(study.images / "small.tif", 3, height=20, width=20)
    (study.images / "broken.tif").write_bytes(b"II*\0" + bytes(100))
    run = study.run()
    assert run.code == 0, run.output
    assert (run.jobs("draw_maps"), run.jobs("write_overview")) == (0, 1), run.output
    return study


@pytest.fixture
def drawn(_drawn, tmp_path):
    """Return a study of four images, two with predictions, that was run to its end."""
    shutil.copytree(_drawn.path, tmp_path / "study", symlinks=True)
    return Study(tmp_path / "study")


def shown(study):
    """List the maps and pages that a person finds."""
    return sorted(
        path.relative_to(study.results).as_posix()
        for folder in ("maps", "pages")
        for path in (study.results / folder).rglob("*")
        if path.is_file()
    )


def names(*filenames):
    """List what there is to see of some images."""
    maps = [f"maps/{filename}.png" for filename in filenames]
    return [*maps, *(f"pages/{filename}.html" for filename in filenames)]


def drawings(study):
    """Return when each drawing was made."""
    return {path: path.stat().st_mtime_ns for path in study.results.rglob(".quadrat/drawings/*/**/*.*")}


def test_images_with_predictions_have_a_map_and_a_page(drawn):
    assert shown(drawn) == names("b.tif", "north/a.tif")
    colours = np.asarray(Image.open(drawn.results / "maps/north/a.tif.png").convert("RGB"))
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 1000
    overview = (drawn.results / "overview.html").read_text()
    assert all(name in overview for name in ("north/a.tif", "small.tif", "broken.tif", "not a readable TIFF"))


def test_what_is_drawn_stays_and_is_reported_whatever_snakemake_remembers(drawn):
    shutil.rmtree(drawn.path / ".snakemake")
    run = drawn.run()
    assert run.nothing_to_be_done, run.output
    run = drawn.run("--report", "report.html")
    assert run.code == 0, run.output
    report = (drawn.path / "report.html").read_text()
    assert report.count('"patch by patch"') == 2
    assert all(name in report for name in ("overview.html", "images.tsv", "summary.tsv", "run.yaml"))


def test_only_added_images_and_deleted_maps_are_drawn(drawn):
    drawn.configure(maps=True)
    write_image(drawn.images / "c.tif", 4)
    (drawn.images / "b.tif").unlink()
    deleted = (drawn.results / "maps/north/a.tif.png").resolve()
    deleted.unlink()
    before = drawings(drawn)
    run = drawn.run()
    assert run.code == 0, run.output
    assert run.predicted == 1
    assert shown(drawn) == names("c.tif", "north/a.tif")
    assert deleted.exists()
    kept = {path for path in before if "b.tif" in path.parent.name}
    assert len(kept) == 2
    assert all(drawings(drawn)[path] == before[path] for path in kept)


def test_maps_that_a_person_asked_for_stay_and_belong_to_the_results(drawn):
    before = drawings(drawn)
    shutil.rmtree(drawn.results / ".quadrat/drawings")
    assert drawn.run().nothing_to_be_done  # an earlier run has predicted and drawn them
    asked = drawn.run("maps")
    assert (asked.code, asked.predicted, asked.jobs("maps")) == (0, 0, 1), asked.output
    assert drawings(drawn).keys() == before.keys()
    write_image(drawn.images / "c.tif", 4)
    run = drawn.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert shown(drawn) == names("b.tif", "c.tif", "north/a.tif")
    assert "0 superseded results removed" in drawn.run("prune").output
    assert shown(drawn) == names("b.tif", "c.tif", "north/a.tif")


def test_run_of_more_than_a_hundred_images_draws_none(tmp_path):
    study = Study(tmp_path / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=PATCH_SIZE)
    for seed in range(100):
        write_image(study.images / f"{seed:03}.tif", seed, height=8, width=8)
    assert "draw_maps" in study.run("--dry-run").output
    write_image(study.images / "100.tif", 100, height=8, width=8)
    planned = study.run("--dry-run")
    assert (planned.code, "draw_maps" in planned.output) == (0, False), planned.output
    study.configure(maps=True)
    assert "draw_maps" in study.run("--dry-run").output


@pytest.mark.parametrize("shard_pixels", [None, 150 * 200])
def test_picture_is_made_of_the_pixels_that_are_predicted_and_kept_until_it_is_drawn(tmp_path, shard_pixels):
    study = Study(tmp_path / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=PATCH_SIZE, shard_pixels=shard_pixels)
    pixels = write_image(study.images / "a.tif", 1, height=410, width=210, tile=(16, 16))
    run = study.run("--until", "merge_predictions")
    assert run.code == 0, run.output
    (saved,) = study.results.rglob(".quadrat/thumbnails/*/*.npz")
    np.testing.assert_array_equal(np.load(saved)["pixels"], pixels)
    again = study.run()
    assert (again.code, again.predicted) == (0, 0), again.output
    assert shown(study) == names("a.tif")
    assert not list(study.results.rglob("*.npz"))
