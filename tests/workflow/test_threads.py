"""A few images get all cores, and many get one each."""

import re

import pytest

from studies import write_image


@pytest.mark.parametrize(
    ("images", "arguments", "threads"),
    [(1, [], {"8"}), (3, [], {"2"}), (9, [], set()), (9, ["--set-threads", "predict_image=3"], {"3"})],
    ids=["one image", "a few", "many", "many, and threads asked for"],
)
def test_threads_follow_from_cores_and_images_to_do(study, images, arguments, threads):
    for seed in range(images):
        write_image(study.images / f"{seed}.tif", seed, 32, 32)
    planned = study.run("--dry-run", "--quiet", "host", *arguments, cores=8)
    assert planned.code == 0, planned.output
    (_, *jobs) = planned.output.split("rule predict_image:")
    assert len(jobs) == images
    # Snakemake says nothing of a single thread.
    assert {
        found for job in jobs for found in re.findall(r"^ +threads: (\d+)$", job, re.MULTILINE)
    } == threads
