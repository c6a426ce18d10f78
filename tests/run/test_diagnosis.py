import os

import pytest

from quadrat.plan.plan import Plan
from quadrat.results.tables import PlannedImage
from quadrat.run.diagnosis import diagnose


@pytest.fixture
def plan(make_settings, write_tiff):
    """Return the plan of three images, one of which has a problem."""
    planned = [
        PlannedImage(name, name, "0123456789ab", "1-2", str(write_tiff(name).path), 1) for name in "ab"
    ]
    return Plan(
        make_settings(), [*planned, PlannedImage("c", "c", "", "", "nowhere/c", 0, problem="a pipe")], {}, {}
    )


def test_nothing_is_reported_if_nothing_is_in_the_way(plan, tmp_path):
    assert diagnose(plan, [str(tmp_path)]) == []
    assert os.listdir(tmp_path) == ["images"]


def test_images_that_are_gone_are_counted(plan, tmp_path):
    os.unlink(plan.images[1].path)
    (line,) = diagnose(plan, [str(tmp_path)])
    assert line.startswith("1 of the 3 images are gone since the run began, ")
    assert line.endswith(f"such as {plan.images[1].path}; is a disk not mounted?")


def test_folder_that_cannot_be_written_to_is_reported_with_why(plan, tmp_path):
    (tmp_path / "file").touch()
    assert diagnose(plan, [str(tmp_path), f"{tmp_path}/file", f"{tmp_path}/gone"]) == [
        f"{tmp_path}/file: cannot be written to: Not a directory",
        f"{tmp_path}/gone: cannot be written to: No such file or directory",
    ]
