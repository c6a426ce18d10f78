"""Measure what Slurm adds to small images, one a job and in groups, on the cluster that the tests bring up.

``python benchmarks/cluster.py --images 200``; the groups are those of the lines of the profile that are to be
uncommented for that.
"""

import argparse
import os
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from process import HERE, run
from table import spread

from workflow import SIDE, SNAKEMAKE, make_images

PROJECT = HERE.parent
sys.path.insert(0, str(PROJECT / "tests/cluster"))

from slurm import running_slurm, why_not  # noqa: E402

PROFILE = PROJECT / "profiles/slurm/config.yaml"
GROUPING = re.compile(r"^# (?=groups:|group-components:|cores:|set-resources: \{)", re.MULTILINE)
QUICK = ["--slurm-init-seconds-before-status-checks", "5"]
FINISHED = re.compile(r"StartTime=(\S+) EndTime=(\S+) .*ProcCnt=(\d+)")


class Measured(NamedTuple):
    """What a run on the cluster took.

    Attributes
    ----------
    wall_s : float
        From Snakemake's start to its end.
    core_s : float
        For which Slurm gave its jobs their cores.
    jobs : int
        That were submitted, the merge among them.
    """

    wall_s: float
    core_s: float
    jobs: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50, help="number of images")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each")
    options = parser.parse_args()
    if reason := why_not():
        print(f"No figures of a cluster: {reason}")
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_images(options.images, SIDE)
        write_profiles()
        with running_slurm(cpus=max(1, (os.cpu_count() or 1) // 2)) as cluster:
            rounds = [measure_round(number, cluster) for number in range(options.rounds)]
    show(options, rounds)


def write_profiles() -> None:
    """Write the profile as it is, and with the lines that group images."""
    text = PROFILE.read_text()
    grouping, taken_in = GROUPING.subn("", text)
    if taken_in != 4:
        raise SystemExit(f"{PROFILE}: {taken_in} lines group images, 4 were expected")
    for name, profile in (("alone", text), ("grouped", grouping)):
        os.mkdir(name)
        Path(name, "config.yaml").write_text(profile)


def measure_round(number: int, cluster: Path) -> tuple[Measured, Measured]:
    alone, grouped = (measure(profile, number, cluster) for profile in ("alone", "grouped"))
    return alone, grouped


def measure(profile: str, number: int, cluster: Path) -> Measured:
    """Run all images by a profile, in a folder that holds no results."""
    study = Path(f"{profile}_{number}").resolve()
    study.mkdir()
    config = study / "config.yaml"
    config.write_text(f"images: {Path('images').resolve()}\nmaps: false\n")
    command = [*SNAKEMAKE, "--snakefile", str(PROJECT / "Snakefile"), "--workflow-profile", profile, *QUICK]
    ending = run([*command, "--directory", str(study), "--configfile", str(config)])
    if ending.exit_code:
        raise SystemExit(ending.output + ending.errors)
    lines = (cluster / "finished.txt").read_text().splitlines()
    ours = [line for line in lines if f"WorkDir={study} " in line]
    spans = [FINISHED.findall(line)[0] for line in ours]
    return Measured(ending.wall_s, sum(core_s(*span) for span in spans), len(spans))


def core_s(start: str, end: str, cores: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() * int(cores)


def show(options: argparse.Namespace, rounds: list[tuple[Measured, Measured]]) -> None:
    print(f"# {options.images} images as Slurm jobs, {options.rounds} rounds, {os.cpu_count()} cores\n")
    for title, size in (
        ("wall time", lambda one: one.wall_s),
        ("time of a core that Slurm gave", lambda one: one.core_s),
    ):
        alone, grouped = ([size(one) / options.images for one in ones] for ones in zip(*rounds, strict=True))
        ratios = [a / g for a, g in zip(alone, grouped, strict=True)]
        print(
            f"- {title}, an image: {spread(alone)} s alone, {spread(grouped)} s in a group; "
            f"alone / in a group: {spread(ratios)}"
        )
    jobs = [max(one.jobs for one in ones) for ones in zip(*rounds, strict=True)]
    print(f"- Slurm jobs, the merge among them: {jobs[0]} and {jobs[1]}")


if __name__ == "__main__":
    main()
