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
    assert run.jobs("draw_maps") == 1, run.output
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
    assert all(name in report for name in ("overview.html", "images.tsv", "run.yaml"))


def test_only_added_images_and_deleted_maps_are_drawn(drawn):
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
