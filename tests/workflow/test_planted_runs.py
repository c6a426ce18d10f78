"""Links and pipes in the results folder of a finished study: real runs change nothing outside of it."""

import os

import pytest

from studies import write_image


def everything(folder):
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize(
    ("place", "rule"),
    [("predictions", "all"), (".quadrat", "prune"), ("versions/north", "all"), ("logs", "inspect")],
)
def test_run_refuses_a_link_in_one_line_before_it_does_anything(finished, place, rule):
    outside = finished.path / "outside"
    os.rename(finished.results / place, outside)
    (finished.results / place).symlink_to(outside)
    (outside / "canary").write_bytes(b"canary")
    before = everything(outside)
    write_image(finished.images / "north/new.tif", 9)
    run = finished.run(rule)
    assert run.code == 1
    assert everything(outside) == before
    lines = [line for line in run.output.splitlines() if f"results/{place} is a link" in line]
    assert len(lines) == 1
    assert lines[0].startswith("quadrat: ")
    assert lines[0].endswith("delete it and run again")
    assert "Traceback" not in run.output
    # The way out that the line names.
    (finished.results / place).unlink()
    assert finished.run("all").code == 0


def test_pipe_in_the_place_of_the_lock_does_not_hang_planning(finished):
    (finished.results / ".quadrat/lock").unlink()
    os.mkfifo(finished.results / ".quadrat/lock")
    run = finished.run()
    assert run.code == 1
    assert ".quadrat/lock is a pipe, but must be a file of quadrat's; delete it and run again" in run.output


def test_results_folder_may_be_a_link_of_the_user(finished):
    disk = finished.path / "disk"
    os.rename(finished.results, disk)
    finished.results.symlink_to(disk)
    write_image(finished.images / "north/new.tif", 9)
    run = finished.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert (disk / "predictions/north/new.tif.parquet").is_symlink()
