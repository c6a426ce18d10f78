"""Measure a run and reruns of many images beside a bare Snakemake workflow of the same shape.

``python benchmarks/workflow.py --images 10000 --computed 10000``. The results of images that are rerun are
written by the library, not by ten thousand jobs: a rerun takes the same.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from process import HERE, Ending, run, run_python
from table import spread

PROJECT = HERE.parent
FLAGS = ["--cores", str(os.cpu_count()), "--scheduler", "greedy", "--scheduler-subsample", "50"]
FLAGS += ["--rerun-triggers", "mtime"]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
LIMIT_S = 4 * 3600
SIDE = 600  # of images that are computed, in pixels
DRAWN = ((1, SIDE), (100, SIDE), (1, 9216))  # number and side of images that are drawn
NOTHING = "Nothing to be done"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--computed", type=int, default=200, help="number of images that a run computes")
    parser.add_argument("--images", type=int, default=2000, help="number of images of the reruns")
    parser.add_argument("--side", type=int, default=SIDE, help="width and height of these in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    options = parser.parse_args()
    if options.computed:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            run_python(["-c", f"import workflow; workflow.make_images({options.computed}, {SIDE})"])
            print(f"# A run of {options.computed:,} images, {os.cpu_count()} cores\n", flush=True)
            all_computed(options.rounds)
        for count, side in DRAWN:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                run_python(["-c", f"import workflow; workflow.make_images({count}, {side})"])
                drawn(f"{count:,} of {side:,} x {side:,} px", options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # In processes of their own: what this one holds would count as memory of those that it starts.
        run_python(["-c", f"import workflow; workflow.make_images({options.images}, {options.side})"])
        made_bare = make_bare()
        run_python(["-c", "import workflow; workflow.make_results()"])
        merging = quadrat()
        print(f"# A rerun of {options.images:,} images, {options.rounds} rounds, {os.cpu_count()} cores\n")
        nothing_changed(options.rounds)
        touched(options.rounds)
        one_added(options.rounds)
        print(f"- merge of all results, with Snakemake's start: {merging.wall_s:.1f} s, ", end="")
        print(f"at most {merging.memory_mb:.0f} MB; gathering of the bare workflow: {made_bare.wall_s:.1f} s")


def quadrat(*arguments: str) -> Ending:
    command = [*SNAKEMAKE, "--snakefile", str(PROJECT / "Snakefile"), *FLAGS]
    profile = ["--workflow-profile", str(PROJECT / "profiles/default"), "--configfile", "config.yaml"]
    return checked(run([*command, *profile, *arguments], LIMIT_S))


def bare() -> Ending:
    return checked(run([*SNAKEMAKE, "--snakefile", str(HERE / "bare/Snakefile"), *FLAGS], LIMIT_S))


def checked(ending: Ending) -> Ending:
    if ending.exit_code:
        raise SystemExit(ending.output + ending.errors)
    return ending


def make_images(count: int, side: int) -> None:
    import numpy as np
    import tifffile

    os.mkdir("images")
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    tile = (256, 256) if side > 1000 else None
    compression = "zlib" if side > 1000 else None
    tifffile.imwrite("image.tif", pixels, photometric="rgb", tile=tile, compression=compression)
    for number in range(count):
        shutil.copyfile("image.tif", f"images/{number:06}.tif")
    Path("config.yaml").write_text("images: images\n")


def make_bare() -> Ending:
    os.mkdir("bare")
    for name in os.listdir("images"):
        Path(f"bare/{name}.txt").write_text("done\n")
    return bare()


def make_results() -> None:
    """Write what the job of each image would."""
    import numpy as np

    from quadrat.config import load_settings
    from quadrat.files.hashing import hash_file
    from quadrat.grid import PatchGrid
    from quadrat.plan.plan import make_plan
    from quadrat.results.writer import PredictionWriter

    settings = load_settings({})
    plan = make_plan(settings, lambda line: None)
    grid = PatchGrid(512, 51200)
    positions = [(0, col, window) for col, window in enumerate(grid.windows())]
    counts = {"patches": len(positions), "skipped": 0, "nan": 0, "infinite": 0, "dropped": 0.0}
    footer = {
        "counts": counts,
        "image": dict.fromkeys(("crs", "mpp", "transform", "bounds"))
        | {"height": 512, "width": 51200, "full_size": [512, 51200], "downsample": [1, 1]},
        "grid": {"rows": grid.rows, "cols": grid.cols, "patch_size": 512, "stride": 512},
        "content_hash": hash_file("image.tif"),
    }
    for image, path in zip(plan.images, plan.results, strict=True):
        with PredictionWriter(path) as writer:
            writer.append(positions, np.random.default_rng(0).random(len(positions)))
            identity = {"filename": image.filename, "version": image.version, "content_id": image.content_id}
            writer.finish(footer | identity)


def all_computed(rounds: int) -> None:
    """Compare runs that compute all images with jobs that only import what a job of quadrat does."""
    walls, memories = [], []
    for _ in range(rounds):
        ours, theirs = quadrat(), bare()
        run_python(["-c", "import workflow; workflow.check_dictionary()"])
        start_anew("results")
        walls.append(ours.wall_s / theirs.wall_s)
        memories.append(ours.memory_mb / theirs.memory_mb)
        print(f"- round: {ours.wall_s:.0f} s and {theirs.wall_s:.0f} s, ", end="")
        print(f"{ours.memory_mb:.0f} MB and {theirs.memory_mb:.0f} MB", flush=True)
    print(f"- all computed / bare workflow: wall {spread(walls)}, memory {spread(memories)}\n")


def start_anew(*results: str) -> None:
    """Remove what the runs of a round have made."""
    for made in (*results, "bare", ".snakemake"):
        shutil.rmtree(made)
    os.remove("bare.txt")


def drawn(images: str, rounds: int) -> None:
    """Compare the default, which draws few images, with runs that draw none and with the bare workflow."""
    walls, over = [], []
    for _ in range(rounds):
        endings = [quadrat(), quadrat("--config", "maps=false", "results=undrawn"), bare()]
        start_anew("results", "undrawn")
        walls.append(endings[0].wall_s / endings[1].wall_s)
        over.append([ours.wall_s - endings[2].wall_s for ours in endings[:2]])
    ours, undrawn = (median(differences) for differences in zip(*over, strict=True))
    print(f"- {images}, default / maps: false: wall {spread(walls)}; more than the bare workflow: ", end="")
    print(f"{ours:.2f} s, and {undrawn:.2f} s without maps", flush=True)


def check_dictionary() -> None:
    """Stop unless each image is in the dictionary, with the means that numpy gives."""
    import json

    import numpy as np
    import tifffile

    # The default drops patches that are cut off at the edges: one is left.
    means = [float(np.mean(tifffile.imread("image.tif")[:512, :512]))]
    predictions = json.loads(Path("results/predictions.json").read_text())
    if predictions != dict.fromkeys(os.listdir("images"), means):
        raise SystemExit("the dictionary does not hold the means of each image")


def nothing_changed(rounds: int) -> None:
    walls, memories = [], []
    for _ in range(rounds):
        ours, theirs = quadrat(), bare()
        if NOTHING not in ours.errors + ours.output or NOTHING not in theirs.errors + theirs.output:
            raise SystemExit("something was done where nothing had changed")
        walls.append(ours.wall_s / theirs.wall_s)
        memories.append(ours.memory_mb / theirs.memory_mb)
    print(f"- nothing changed / bare workflow: wall {spread(walls)}, memory {spread(memories)}")


def touched(rounds: int) -> None:
    """Compare what hashing adds to a plan with xxhsum on the same files and as many threads."""
    if shutil.which("xxhsum") is None:
        print("- hashing of touched images: xxhsum is not installed")
        return
    xxhsum_s()  # Fills the page cache for whoever comes first: hashing is compared and not disks.
    speeds = []
    for _ in range(rounds):
        for path in Path("images").iterdir():
            path.touch()
        with_hashing, without = plan_s(), plan_s()
        speeds.append(xxhsum_s() / (with_hashing - without))
    print(f"- hashing of touched images, speed / that of xxhsum: {spread(speeds)}")


def plan_s() -> float:
    """Return the seconds that a fresh process takes to plan."""
    return float(run_python(["-c", "import workflow; workflow.time_plan()"]).output)


def time_plan() -> None:
    """Print the seconds that planning takes."""
    from quadrat.config import load_settings
    from quadrat.plan.plan import make_plan

    settings = load_settings({})
    start = time.perf_counter()
    make_plan(settings, lambda line: None)
    print(time.perf_counter() - start)


def xxhsum_s() -> float:
    """Return the seconds that xxhsum, in as many processes as there are cores, takes for all images."""
    paths = sorted(str(path) for path in Path("images").iterdir())
    cores = os.cpu_count() or 1
    groups = [paths[first::cores] for first in range(cores)]
    start = time.perf_counter()
    running = [
        subprocess.Popen(["xxhsum", "-H2", *group], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for group in groups
    ]
    if any(process.wait() for process in running):
        raise SystemExit("xxhsum failed")
    return time.perf_counter() - start


def one_added(rounds: int) -> None:
    times = []
    for number in range(rounds):
        before = quadrat().wall_s
        shutil.copyfile("image.tif", f"images/new{number}.tif")
        times.append(quadrat().wall_s - before)
    print(f"- one image added: {median(times):.1f} s more than where nothing changed")


if __name__ == "__main__":
    main()
