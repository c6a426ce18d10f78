"""A slide of several files is one image, and is predicted again when one of its files changes."""

import os
import shutil

import numpy as np
import openslide
import pytest

from slides import dicom, write_mrxs, write_svslide, write_vms
from studies import means


@pytest.mark.long
def test_data_in_the_folder_of_a_slide_replaced(study):
    first, second = np.random.default_rng(0).integers(0, 256, (2, 128, 256, 3), np.uint8)
    write_mrxs(study.images / "a.mrxs", first, tile=64, levels=1)
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert study.dictionary == {"a.mrxs": means(first)}
    run = study.run()
    assert run.nothing_to_be_done, run.output
    write_mrxs(study.path / "a.mrxs", second, tile=64, levels=1)
    shutil.rmtree(study.images / "a")
    (study.path / "a").rename(study.images / "a")
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert study.dictionary == {"a.mrxs": means(second)}


PIXELS = np.random.default_rng(3).integers(0, 256, (128, 256, 3), np.uint8)
OTHER_PIXELS = PIXELS[::-1]
PARTS = 2


def write_part(folder, pixels, number):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.dcm").write_bytes(dicom(pixels, 64, part=(number, PARTS, 4)))


def shown(path):
    """Return the pixels of a slide as OpenSlide shows them."""
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]


@pytest.fixture
def slides(study):
    """Return a study of three slides of different kinds that was run."""
    for number in range(1, PARTS + 1):
        write_part(study.images / "north/dicom", PIXELS, number)
    write_vms(study.images / "a.vms", PIXELS, rows=1)
    write_svslide(study.images / "b.svslide", PIXELS)
    run = study.run()
    assert (run.code, run.predicted) == (0, 3), run.output
    assert study.dictionary == {
        "a.vms": means(shown(study.images / "a.vms")),
        "b.svslide": means(shown(study.images / "b.svslide")),
        "north/dicom": means(PIXELS),
    }
    return study


def test_parts_of_slides_touched_copied_replaced_removed_and_put_back(slides):
    first = slides.dictionary
    files = [path for path in slides.images.rglob("*") if path.is_file()]
    for file in files:
        file.touch()
        shutil.copyfile(file, slides.path / "copy")
        (slides.path / "copy").replace(file)
    run = slides.run()
    assert run.nothing_to_be_done, run.output

    part, jpeg = slides.images / "north/dicom/2.dcm", slides.images / "a(1,0).jpg"
    kept, before = part.read_bytes(), part.stat()
    write_part(part.parent, OTHER_PIXELS, 2)
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert part.stat().st_size == before.st_size
    jpeg.rename(slides.path / "hidden")
    run = slides.run()
    assert (run.code, run.predicted) == (1, 2), run.output
    assert "a.vms: not a slide that OpenSlide can read" in run.output
    mixed = np.vstack([PIXELS[:64], OTHER_PIXELS[64:]])
    assert slides.dictionary == {"b.svslide": first["b.svslide"], "north/dicom": means(mixed)}

    part.write_bytes(kept)
    (slides.path / "hidden").rename(jpeg)
    run = slides.run()
    assert (run.code, run.predicted, run.merged) == (0, 0, True), run.output
    assert slides.dictionary == first

    part.unlink()
    (part.parent / "3.dcm").write_bytes(dicom(PIXELS, 64, series="1.2.4"))
    run = slides.run()
    assert (run.code, run.predicted) == (1, 1), run.output
    assert "north/dicom: its folder contains 2 series of slides, but one is expected" in run.output
