"""Studies that are run by the Slurm profile on the tests' own cluster."""

import os
import subprocess
import sys
import time
import zlib

import numpy as np
import tifffile

from slurm import jobs
from studies import PATCH_SIZE, PROJECT, Run, Study

# The nodes are small, and wait for nobody: their jobs ask for little memory, and are looked at often.
SMALL = (
    "predict_image:mem_mb=700*attempt",
    "predict_shard:mem_mb=700*attempt",
    "merge_predictions:mem_mb=700",
)
QUICK = ("--latency-wait", "20", "--slurm-init-seconds-before-status-checks", "2")
SECONDS_TO_FINISH = 600

# What Slurm calls the job that a run itself is.
HEAD = "head_job"

# What the value of an image makes the model do, except in a trial: wait until it may go on, or take memory.
WAITS, TAKES_MEMORY = 1, 2
MODEL = f"""
import os, pathlib, sys, time
def predict_patch(patch):
    if "try_predictor" in sys.argv[0]:
        return 1.0
    while patch.max() == {WAITS} and not os.path.exists("go_on"):
        pathlib.Path("waits").touch()
        time.sleep(0.1)
    if patch.max() == {TAKES_MEMORY}:
        held = b"x" * 600_000_000
        time.sleep(3)
    return patch.mean()
"""

HUGE, TILE = 40_000, (512, 512)


class SlurmStudy(Study):
    """A folder in which quadrat is run on Slurm."""

    process = None

    def command(self, *arguments, resources=(), **_options):
        """Return the command that a user of the profile types."""
        profile = ["--workflow-profile", str(PROJECT / "profiles/slurm")]
        asked = ["--set-resources", *SMALL, *resources]
        return [*super().command()[:5], *profile, *asked, *QUICK, *arguments, "--configfile", "config.yaml"]

    def add_model(self, **keys):
        """Make the model one that waits or takes memory where an image says so."""
        (self.path / "model.py").write_text(MODEL)
        self.configure(predictor={"kind": "python", "path": "model.py", "name": "predict_patch"}, **keys)

    def start(self, *arguments, **options):
        """Start a run."""
        self.start_command(self.command(*arguments, **options), self.path)

    def start_command(self, command, folder):
        """Start a run by another command, in another folder."""
        with (self.path / "terminal").open("wb") as terminal:
            self.process = subprocess.Popen(command, cwd=folder, stdout=terminal, stderr=subprocess.STDOUT)

    def finish(self):
        """Wait for the run that was started, and give what it did."""
        code = self.process.wait(SECONDS_TO_FINISH)
        return Run(code, (self.path / "terminal").read_text(), self.logs()[-1].read_text())

    def kill(self):
        """Kill the run that was started, if it goes on."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def sbatch(self):
        """Submit a run as a job by the script that the profile has for that, and give the job's number."""
        programs = {"PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}
        script = str(PROJECT / "profiles/slurm/head_job.sh")
        # Without the interpreter, since the script calls the program, and the profile, which it names.
        command = self.command()
        snakemake = command[3:5] + command[7:]
        return subprocess.run(
            ["sbatch", "--parsable", f"--comment={HEAD}", "--mem=1000", "--time=10", script, *snakemake],
            cwd=self.path,
            env=os.environ | programs,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def jobs(self, name=""):
        """List this study's jobs, in the order of submission; those of one image where it is named."""
        return [job for job in jobs() if job.folder == str(self.path) and name in job.comment]

    def states(self, name=""):
        """List the states of these jobs."""
        return [job.state for job in self.jobs(name)]

    def wait_for(self, state, name):
        """Wait until the job of an image is in a state, and give its number."""
        self.wait_until(
            lambda: state in self.states(name), lambda: f"{name}: {self.states(name)}, not {state}"
        )
        return next(job.number for job in self.jobs(name) if job.state == state)

    def wait_until(self, condition, describe):
        """Wait until something is true, and show what is instead if that takes too long."""
        ends = time.monotonic() + SECONDS_TO_FINISH
        while not condition():
            if time.monotonic() > ends:
                raise AssertionError(f"{describe()}\n{(self.path / 'terminal').read_text()}")
            time.sleep(0.2)


def write_flat(path, value):
    """Write an image of one patch that has one value."""
    tifffile.imwrite(path, np.full((PATCH_SIZE, PATCH_SIZE), value, np.uint8))


def write_huge(path, waits_at):
    """Write an image of 40,000 x 40,000 px of few tiles, repeated, and give the mean of each whole one.

    Parameters
    ----------
    path : Path
    waits_at : tuple of int
        Row and column of the tile that makes the model wait.
    """
    random = np.random.default_rng(0)
    kinds = [random.choice([3, 4, 200], TILE, p=[0.9, 0.05, 0.05]).astype(np.uint8) for _ in range(61)]
    kinds.append(np.full(TILE, WAITS, np.uint8))
    encoded, means = [zlib.compress(kind) for kind in kinds], [float(kind.mean()) for kind in kinds]
    across, whole = -(-HUGE // TILE[0]), HUGE // TILE[0]
    order = np.arange(across * across).reshape(across, across) % 61
    order[waits_at] = 61
    layout = {"tile": TILE, "compression": "zlib", "photometric": "minisblack"}
    tiles = (encoded[kind] for kind in order.ravel())
    tifffile.imwrite(path, tiles, shape=(HUGE, HUGE), dtype=np.uint8, **layout)
    return [means[kind] for kind in order[:whole, :whole].ravel()]
