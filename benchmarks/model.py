"""Measure quadrat with a small network, beside its limits and two loops; ``make bench`` runs this.

Writes ``model.md`` to the output folder, and prints it; README.md beside this file tells how to read it.
"""

import argparse
import json
import os
import shlex
import sys
from datetime import date
from pathlib import Path

from layouts import LAYOUTS, PATCH, image_path
from networks import NETWORK
from process import HERE, Measurement, run_peer, run_python
from table import ratios, spread

from run import WARM_UP_SIZE, cpu_model, package_version, read_once

PACKAGES = ("numpy", "onnxruntime", "tifffile", "imagecodecs", "rasterio", "pillow")
LOOPS = {"plain_network_loop": "plain loop", "careful_network_loop": "careful loop"}
# Sums of float32 differ in their last bits between batches of different sizes.
TOLERANCE = 1e-5


def main() -> None:
    options = parse_options()
    images = options.output / "images"
    sizes = [(size, size, [options.layout]) for size in (WARM_UP_SIZE, options.size)]
    print("images ...", file=sys.stderr)
    run_python([str(HERE / "images.py"), str(images), json.dumps(sizes)])
    run_python([str(HERE / "networks.py"), str(images / NETWORK)])
    measured = measure(images, options)
    require_equal_predictions(measured)
    text = report(measured, options)
    (options.output / "model.md").write_text(text)
    print(text)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure quadrat with a small network.")
    parser.add_argument("--size", type=int, default=5120, help="height and width of the image in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--threads", type=int, default=2, help="threads of each")
    tiffs = [name for name, layout in LAYOUTS.items() if layout.suffix == ".tif" and layout.bits == 8]
    parser.add_argument("--layout", choices=tiffs, default="deflate_tiles", metavar="LAYOUT", help=str(tiffs))
    parser.add_argument("--output", type=Path, default=HERE / "output", help="takes images and model.md")
    options = parser.parse_args()
    if options.size < PATCH:
        parser.error(f"--size {options.size}: must be at least {PATCH}, the size of a patch")
    return options


def measure(images: Path, options: argparse.Namespace) -> dict[tuple[str, int], list[Measurement]]:
    """Run everything in turn, round by round."""
    warm_up = image_path(images, options.layout, WARM_UP_SIZE, WARM_UP_SIZE)
    image = image_path(images, options.layout, options.size, options.size)
    read_once(image)
    threads, half = options.threads, max(1, options.threads // 2)
    keys = dict.fromkeys((name, count) for name in ("reader", "inference") for count in (half, threads))
    keys |= dict.fromkeys((name, threads) for name in ("network_job", *LOOPS))
    measured: dict[tuple[str, int], list[Measurement]] = {key: [] for key in keys}
    for _ in range(options.rounds):
        for (name, count), rounds in measured.items():
            print(f"{name}, {count} threads ...", file=sys.stderr)
            rounds.append(run_peer(name, count, [warm_up, image]))
    return measured


def require_equal_predictions(measured: dict[tuple[str, int], list[Measurement]]) -> None:
    expected = next(rounds[0].means for (name, _), rounds in measured.items() if name == "network_job")
    for (name, _), rounds in measured.items():
        for found in (one.means for one in rounds if one.means):
            differences = [abs(a - b) for a, b in zip(found, expected, strict=True)]
            if max(differences) > TOLERANCE:
                raise SystemExit(f"the predictions of {name} are not those of quadrat's job")


def report(measured: dict[tuple[str, int], list[Measurement]], options: argparse.Namespace) -> str:
    threads, half, size = options.threads, max(1, options.threads // 2), options.size
    job = measured["network_job", threads]
    alone = list(zip(measured["reader", half], measured["inference", half], strict=True))
    overlapped = [max(one.wall_s for one in both) for both in alone]
    shared = list(zip(measured["reader", threads], measured["inference", threads], strict=True))
    in_turn = [sum(one.wall_s for one in both) for both in shared]
    walls = [one.wall_s for one in job]
    lines = [
        "# A small network",
        f"{date.today()}, `{shlex.join(['python', 'benchmarks/model.py', *sys.argv[1:]])}`: an image of "
        f"{size} x {size} px, {LAYOUTS[options.layout].description}, {options.rounds} rounds.",
        f"{cpu_model()}, {os.cpu_count()} cores, {', '.join(map(package_version, PACKAGES))}.",
        "Each figure is the median [minimum, maximum] of the rounds.",
        f"- whole job on {threads} threads: {spread(walls)} s, {spread([one.memory_mb for one in job])} MB",
        *(
            f"- {title} alone on {half}: {spread([one.wall_s for one in measured[name, half]])} s"
            for name, title in (("reader", "decoding"), ("inference", "inference"))
        ),
        f"- whole job / the slower of decoding and inference, each on {half}: {divided(walls, overlapped)}",
        f"- whole job / decoding and then inference, each on {threads}: {divided(walls, in_turn)}",
    ]
    for loop, title in LOOPS.items():
        rounds = measured[loop, threads]
        memory = spread(ratios(rounds, job, lambda one: one.memory_mb))
        lines.append(f"- {title} / whole job: time {spread(ratios(rounds, job))}, memory {memory}")
    return "\n\n".join(lines[:4]) + "\n\n" + "\n".join(lines[4:]) + "\n"


def divided(above: list[float], below: list[float]) -> str:
    return spread([a / b for a, b in zip(above, below, strict=True)])


if __name__ == "__main__":
    main()
