"""No process is forked while threads run, and none depends on how Python starts processes by default."""

import os
import subprocess

import pytest

from studies import write_image

# Imported by every Python that starts. It raises nothing: Python drops errors that come up at a fork.
SITE = """
import multiprocessing, os

multiprocessing.set_start_method("forkserver")  # the default from Python 3.14 on

def count():
    with open({counts!r}, "a") as file:
        print(len(os.listdir("/proc/self/task")), file=file)

os.register_at_fork(before=count)
"""


def threads_at_forks(study, *arguments):
    """Run the workflow, and give the number of threads that each process had when it forked."""
    counts = study.path / "counts"
    counts.write_text("")
    (study.path / "sitecustomize.py").write_text(SITE.format(counts=str(counts)))
    done = subprocess.run(
        study.command(*arguments),
        cwd=study.path,
        env=os.environ | {"PYTHONPATH": str(study.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return counts.read_text().split()


@pytest.mark.long
def test_job_forks_before_it_has_threads(study):
    write_image(study.images / "small.tif", 1)
    write_image(study.images / "large.tif", 2, 2000, 1500, tile=(48, 48))
    study.configure(shard_pixels=2000 * 1500 // 2, maps=True)
    # Snakemake keeps numpy from starting threads in jobs of one thread.
    counts = threads_at_forks(study, "--set-threads", "predict_image=2", "predict_shard=2")
    assert counts == ["1"] * 5  # an image, two shards of the other, their join, and the drawings
