"""Measure quadrat beside its peers and its limit; ``make bench`` runs this.

Writes ``bench.md``, a few tables of ratios, to the output folder, and prints it; README.md
beside this file tells how to read it.
"""

import argparse
import json
import os
import platform
import shlex
import sys
from collections import defaultdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from layouts import ALIGNED, LAYOUTS, PATCH, image_path
from process import HERE, PeerError, run_peer, run_python
from table import PEER_TITLES, Rounds, limit_table, memory, peer_table, ratios, spread

QUADRAT = ("limit", "reader", "reader_mean", "job")
WARM_UP_SIZE = 600
WIDE_HEIGHT = 2048
# Layouts whose large images are compared with the plain loop, and their height and width in pixels.
LARGE = {"deflate_tiles": 20480, "jpeg_tiles": 20480, "jpeg_file": 12288, "png_file": 12288}
START_UP_LAYOUT = "deflate_tiles"
STARTS_A_ROUND = 3
STARTED_ALONE = "import numpy, tifffile, pyarrow.parquet"
# A peer that gives fewer bytes of pixels a second is given up.
SLOWEST_BYTES_PER_S = 1e7
# Decoders round the chroma of JPEG differently; a misplaced patch differs by far more.
LOSSY_TOLERANCE = 0.1
PACKAGES = (
    "numpy",
    "tifffile",
    "imagecodecs",
    "pyvips",
    "pyarrow",
    "pillow",
    "rasterio",
    "zarr",
    "tiffslide",
)


def main() -> None:
    options = parse_options()
    images, load = options.output / "images", os.getloadavg()[0]
    print("images ...", file=sys.stderr)
    run_python([str(HERE / "images.py"), str(images), json.dumps(image_sizes(options))])
    results, reasons = {}, defaultdict(list)
    for layout in options.layouts:
        print(f"{layout} ...", file=sys.stderr)
        results[layout], missing = measure_layout(images, layout, options)
        for peer, why in missing.items():
            reasons[f"{PEER_TITLES[peer]}: {why}"].append(LAYOUTS[layout].description)
    print("start-up and width ...", file=sys.stderr)
    rest = [start_up(images, options), *width_lines(images, options), *large_lines(images, options)]
    text = report(options, load, results, rest, reasons)
    (options.output / "bench.md").write_text(text)
    print(text)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure quadrat beside its peers and its limit.")
    parser.add_argument("--size", type=int, default=5120, help="height and width of the images in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each")
    parser.add_argument(
        "--layouts",
        nargs="+",
        choices=LAYOUTS,
        default=list(LAYOUTS),
        metavar="LAYOUT",
        help=f"of {', '.join(LAYOUTS)}",
    )
    sizes = ", ".join(f"{layout} at {size}" for layout, size in LARGE.items())
    parser.add_argument("--large", action="store_true", help=f"also measure the plain loop on {sizes} px")
    parser.add_argument("--output", type=Path, default=HERE / "output", help="takes images and bench.md")
    options = parser.parse_args()
    if options.size < PATCH:
        parser.error(f"--size {options.size}: must be at least {PATCH}, the size of a patch")
    return options


def image_sizes(options: argparse.Namespace) -> list[tuple[int, int, list[str]]]:
    aligned = [layout for layout in options.layouts if layout in ALIGNED]
    large = [(LARGE[layout], LARGE[layout], [layout]) for layout in large_layouts(options)]
    return [
        (WARM_UP_SIZE, WARM_UP_SIZE, [START_UP_LAYOUT, *options.layouts]),
        (options.size, options.size, options.layouts),
        (WIDE_HEIGHT, options.size, aligned),
        (WIDE_HEIGHT, 4 * options.size, aligned),
        *large,
    ]


def large_layouts(options: argparse.Namespace) -> list[str]:
    return [layout for layout in LARGE if options.large and layout in options.layouts]


def measure_layout(images: Path, layout: str, options: argparse.Namespace) -> tuple[Rounds, dict[str, str]]:
    """Run everything in turn, round by round; also give why a peer has no measurement."""
    warm_up = image_path(images, layout, WARM_UP_SIZE, WARM_UP_SIZE)
    image = image_path(images, layout, options.size, options.size)
    read_once(image)
    limit_s = 10 + options.size**2 * LAYOUTS[layout].pixel_bytes / SLOWEST_BYTES_PER_S
    ours = {(peer, options.threads) for peer in QUADRAT}
    if not LAYOUTS[layout].is_one_stream:
        ours |= {("limit", 1), ("reader", 1)}
    rounds: Rounds = {key: [] for key in sorted(ours)}
    rounds |= {(peer, options.threads): [] for peer in PEER_TITLES}
    reasons: dict[str, str] = {}
    for _ in range(options.rounds):
        for (peer, threads), measured in rounds.items():
            if peer in reasons:
                continue
            try:
                measured.append(run_peer(peer, threads, [warm_up, image], limit_s))
            except PeerError as error:
                if peer not in PEER_TITLES:
                    raise SystemExit(f"{layout}: {peer} failed: {error}") from error
                reasons[peer] = str(error)
                measured.clear()
    require_equal_means(layout, rounds, rounds["job", options.threads][0].means)
    return rounds, reasons


def read_once(path: Path) -> None:
    """Bring a file into the page cache: decoders are compared, not disks."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def require_equal_means(layout: str, rounds: Rounds, expected: list[float]) -> None:
    tolerance = LOSSY_TOLERANCE if LAYOUTS[layout].is_lossy else 0
    for (peer, _), measured in rounds.items():
        for means in (one.means for one in measured if one.means):
            differences = [abs(a - b) for a, b in zip(means, expected, strict=False)]
            if len(means) != len(expected) or max(differences) > tolerance:
                raise SystemExit(f"{layout}: the means of {peer} are not those of quadrat's job")


def start_up(images: Path, options: argparse.Namespace) -> str:
    """Compare the whole process of a small job with one that imports what the job needs."""
    image = image_path(images, START_UP_LAYOUT, WARM_UP_SIZE, WARM_UP_SIZE)
    job = ["-c", f"import own; own.job({str(image)!r}, {options.threads})"]
    starts = range(STARTS_A_ROUND * options.rounds)
    ratios = [run_python(job).wall_s / run_python(["-c", STARTED_ALONE]).wall_s for _ in starts]
    return (
        f"- start-up: a job on a {WARM_UP_SIZE} x {WARM_UP_SIZE} image takes {spread(ratios)} times as long "
        f'as `python -c "{STARTED_ALONE}"`'
    )


def width_lines(images: Path, options: argparse.Namespace) -> list[str]:
    lines = []
    for layout in (layout for layout in options.layouts if layout in ALIGNED):
        narrow, wide = (
            [
                job_memory(image_path(images, layout, WIDE_HEIGHT, width), options)
                for _ in range(options.rounds)
            ]
            for width in (options.size, 4 * options.size)
        )
        growth = [w - n for w, n in zip(wide, narrow, strict=True)]
        lines.append(
            f"- memory of a job, {LAYOUTS[layout].description}: {spread(wide)} MB for an image "
            f"{4 * options.size} wide, {spread(growth)} MB more than for one {options.size} wide"
        )
    return lines


def large_lines(images: Path, options: argparse.Namespace) -> list[str]:
    lines = []
    for layout in large_layouts(options):
        size = LARGE[layout]
        print(f"{layout} at {size} ...", file=sys.stderr)
        image = image_path(images, layout, size, size)
        read_once(image)
        rounds = [
            [run_peer(peer, options.threads, [image]) for peer in ("plain_loop", "reader_mean")]
            for _ in range(options.rounds)
        ]
        loops, readers = map(list, zip(*rounds, strict=True))
        lines.append(
            f"- {LAYOUTS[layout].description}, {size} x {size} px: the plain loop takes "
            f"{spread(ratios(loops, readers))} times as long as quadrat's reader + mean, and "
            f"{spread(ratios(loops, readers, memory))} times its memory of "
            f"{max(map(memory, readers)):.0f} MB"
        )
    return lines


def job_memory(image: Path, options: argparse.Namespace) -> float:
    return run_peer("job", options.threads, [image]).memory_mb


def report(
    options: argparse.Namespace, load: float, results: dict[str, Rounds], rest: list[str], reasons: dict
) -> str:
    threads = options.threads
    parts = [
        "# Measurements",
        f"{date.today()}, `{shlex.join(['python', 'benchmarks/run.py', *sys.argv[1:]])}`: "
        f"images of {options.size} x {options.size} px, {options.rounds} rounds, {threads} threads.",
        f"{cpu_model()}, {os.cpu_count()} cores, load {load:.1f} before, {platform.system()}, "
        f"Python {platform.python_version()}, {', '.join(map(package_version, PACKAGES))}.",
        "Each figure is the median [minimum, maximum] of the rounds.",
        "## Beside the limit: time / time of the limit",
        limit_table(results, threads),
        "## Beside the peers: peer / quadrat's reader + mean",
        peer_table(results, threads),
        "## Memory, start-up and large images" if options.large else "## Memory and start-up",
        "\n".join(rest),
        "## No figure",
        "\n".join(
            f"- {why} ({'all layouts' if len(layouts) == len(results) else '; '.join(layouts)})"
            for why, layouts in reasons.items()
        )
        or "None.",
    ]
    return "\n\n".join(parts) + "\n"


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def package_version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} not installed"


if __name__ == "__main__":
    main()
