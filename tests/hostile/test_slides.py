"""No slide, however broken, ends the process of a job, or takes more memory and time than a good one."""

import struct

import numpy as np
import pytest

from quadrat.results.schema import read_footer
from slides import dicom, write_czi, write_dicom, write_svslide, write_vms, write_vmu
from test_hostile import run_jobs

PIXELS = np.kron(np.random.default_rng(0).integers(0, 256, (16, 32, 3)), np.ones((8, 8, 1))).astype(np.uint8)
EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
EACH = 6


def write_parts(path):
    path.parent.mkdir()
    for number in (1, 2):
        path.with_name(f"{number}.dcm").write_bytes(dicom(PIXELS, 32, part=(number, 2, 16)))


def write_jpegs(path):
    write_dicom(path.parent, PIXELS, 32, levels=2, jpeg={"quality": 90, "subsampling": 1})


# Of each: the slide, the file that is broken, and where it is: after a text, in so many bytes.
KINDS = {
    "dicom": (write_jpegs, "a/level_0.dcm", "level_0.dcm", b"DICM", 1100),
    "parts": (write_parts, "a/1.dcm", "2.dcm", b"DICM", 900),
    "vms": (lambda path: write_vms(path, PIXELS, 1, 1), "a.vms", "a.vms", b"NoLayers", 200),
    "jpeg": (lambda path: write_vms(path, PIXELS, 1, 1), "a.vms", "a.jpg", b"JFIF", 700),
    "vmu": (lambda path: write_vmu(path, PIXELS), "a.vmu", "a.ngr", b"GN", 26),
    "svslide": (lambda path: write_svslide(path, PIXELS), "a.svslide", "a.svslide", b"SQLite", 10**6),
    "czi": (lambda path: write_czi(path, PIXELS, tile=32), "a.czi", "a.czi", b"ZISRAWDIRECTORY", 6000),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Return the ending of each job and the path of its result, by name; one slide of each kind is good."""
    folder = tmp_path_factory.mktemp("slides")
    random = np.random.default_rng(5)
    jobs = []
    for kind, (write, name, part, text, size) in KINDS.items():
        for number in range(EACH + 1):
            place = folder / f"{kind}.{number}"
            place.mkdir()
            write(place / name)
            if number:
                file = (place / name).with_name(part)
                start = file.read_bytes().index(text)
                file.write_bytes(changed(file.read_bytes(), start, size, number, random))
            task = {
                "filename": place.name,
                "path": str(place / name),
                "version": "0" * 12,
                "content_id": "1-1",
                "predictor": {"kind": "mean"},
                "output": str(place / "result.parquet"),
                "memory_mb": 1000,
            }
            jobs.append((task, str(place / "job.log")))
    endings = run_jobs(jobs)
    return {job["filename"]: (ending, job["output"]) for (job, _), ending in zip(jobs, endings, strict=True)}


def changed(content, start, size, number, random):
    """Cut a file off, turn a bit over, or put an extreme number, somewhere in a part of it."""
    content = bytearray(content)
    at = int(random.integers(start, min(start + size, len(content) - 4)))
    if number % 4 == 0:
        return content[:at]
    if number % 4 == 1:
        content[at] ^= 1 << int(random.integers(8))
    else:
        length = 2 if number % 4 == 2 else 4
        content[at : at + length] = struct.pack("<I", int(random.choice(EXTREMES)))[:length]
    return content


def test_every_job_ends_by_itself_within_its_bounds(broken):
    endings = {name: ending for name, (ending, _) in broken.items()}
    assert {name: ending for name, ending in endings.items() if ending["code"] != 0} == {}
    assert {name: ending for name, ending in endings.items() if ending["cpu_s"] >= 10} == {}
    assert {name: ending for name, ending in endings.items() if ending["memory_mb"] >= 200} == {}


def test_failure_is_that_of_the_slide_and_good_slides_are_good(broken):
    failures = {name: read_footer(output)[0].get("failure") for name, (_, output) in broken.items()}
    kinds = {name: failure["kind"] for name, failure in failures.items() if failure}
    assert {name: kind for name, kind in kinds.items() if kind not in ("data", "memory")} == {}
    assert [name for name in kinds if name.endswith(".0")] == []
    assert len(kinds) > len(failures) / 4
