"""Studies that are run by the Slurm profile on the tests' own cluster."""

import subprocess
import time

import numpy as np
import tifffile

from slurm import jobs
from studies import PATCH_SIZE, PROJECT, Run, Study

# The nodes are small, and wait for nobody: their jobs ask for little memory, and are looked at often.
SMALL = ("predict_image:mem_mb=700*attempt", "merge_predictions:mem_mb=700")
QUICK = ("--latency-wait", "20", "--slurm-init-seconds-before-status-checks", "5")
SECONDS_TO_FINISH = 240

# What the value of an image makes the model do: wait until it may go on, or take memory for a while.
WAITS, TAKES_MEMORY = 1, 2
MODEL = f"""
import os, time
def predict_patch(patch):
    while patch.max() == {WAITS} and not os.path.exists("go_on"):
        time.sleep(0.1)
    if patch.max() == {TAKES_MEMORY}:
        held = b"x" * 600_000_000
        time.sleep(3)
    return patch.mean()
"""


class SlurmStudy(Study):
    """A folder in which quadrat is run on Slurm."""

    def command(self, *arguments, resources=(), **_options):
        """Give the command that a user of the profile types."""
        profile = ["--workflow-profile", str(PROJECT / "profiles/slurm")]
        asked = ["--set-resources", *SMALL, *resources]
        return [*super().command()[:5], *profile, *asked, *QUICK, *arguments, "--configfile", "config.yaml"]

    def add_model(self, **keys):
        """Make the model one that waits or takes memory where an image says so."""
        (self.path / "model.py").write_text(MODEL)
        self.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, **keys)

    def start(self, **options):
        """Start a run, and give its process."""
        with (self.path / "terminal").open("wb") as terminal:
            return subprocess.Popen(
                self.command(**options), cwd=self.path, stdout=terminal, stderr=subprocess.STDOUT
            )

    def finish(self, process):
        """Wait for a run, and give what it did."""
        code = process.wait(SECONDS_TO_FINISH)
        return Run(code, (self.path / "terminal").read_text())

    def jobs(self, name=""):
        """List this study's jobs, in the order of submission; those of one image where it is named."""
        return [job for job in jobs() if job.folder == str(self.path) and name in job.comment]

    def states(self, name=""):
        """List the states of these jobs."""
        return [job.state for job in self.jobs(name)]

    def wait_for(self, state, name):
        """Wait until the job of an image is in a state, and give its number."""
        ends = time.monotonic() + SECONDS_TO_FINISH
        while time.monotonic() < ends:
            for job in self.jobs(name):
                if job.state == state:
                    return job.number
            time.sleep(0.2)
        raise AssertionError(f"{name}: not {state}, but {self.states(name)}")


def write_flat(path, value):
    """Write an image of one patch that has one value."""
    tifffile.imwrite(path, np.full((PATCH_SIZE, PATCH_SIZE), value, np.uint8))
