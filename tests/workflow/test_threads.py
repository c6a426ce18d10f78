"""What jobs ask for: a few images get all cores and many one each, a large file minutes."""

import os
import re

import pytest

from studies import write_image


def test_job_asks_for_ten_minutes_and_one_more_for_each_10_mb_of_its_image(study):
    for name in ("large.tif", "small.tif"):
        write_image(study.images / name, 1)
    os.truncate(study.images / "large.tif", 25_000_000)
    planned = study.run("--dry-run", "--printshellcmds")
    job = r"wildcards: key=(\S+), .*\n(?: .*\n)*? +resources: .*runtime=(\d+), .*mem_mb=(\d+),"
    assert sorted(re.findall(job, planned.output)) == [
        ("large.tif", "12", "2000"),
        ("small.tif", "10", "2000"),
    ]


@pytest.mark.parametrize(
    ("images", "arguments", "threads"),
    [(1, [], {"8"}), (3, [], {"2"}), (9, [], set()), (9, ["--set-threads", "predict_image=3"], {"3"})],
    ids=["one image", "a few", "many", "many, and threads asked for"],
)
def test_threads_follow_from_cores_and_images_to_do(study, images, arguments, threads):
    for seed in range(images):
        write_image(study.images / f"{seed}.tif", seed, 32, 32)
    planned = study.run("--dry-run", "--printshellcmds", *arguments, cores=8)
    assert planned.code == 0, planned.output
    (_, *jobs) = planned.output.split("rule predict_image:")
    assert len(jobs) == images
    # Snakemake says nothing of a single thread.
    assert {
        found for job in jobs for found in re.findall(r"^ +threads: (\d+)$", job, re.MULTILINE)
    } == threads
