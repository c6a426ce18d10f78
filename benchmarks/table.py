"""Table: measurements as ratios, in Markdown."""

from collections.abc import Callable
from statistics import median

from layouts import LAYOUTS
from process import Measurement

PEER_TITLES = {
    "plain_loop": "plain loop",
    "tifffile_imread": "tifffile.imread",
    "rasterio_patches": "rasterio, patches",
    "rasterio_rows": "rasterio, rows",
    "zarr_patches": "zarr",
    "tiffslide_patches": "tiffslide",
}

# Measurements of one layout: for each peer and number of threads, one a round.
Rounds = dict[tuple[str, int], list[Measurement]]


def _wall(measurement: Measurement) -> float:
    return measurement.wall_s


def _cpu(measurement: Measurement) -> float:
    return measurement.cpu_s


def memory(measurement: Measurement) -> float:
    """Return the peak memory in megabytes."""
    return measurement.memory_mb


def spread(values: list[float]) -> str:
    """Return median, minimum and maximum as text; a dash where there are none."""
    if not values:
        return "-"
    shown = {value: f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}" for value in values}
    middle = median(values)
    digits = 2 if abs(middle) < 9.995 else 1
    return f"{middle:.{digits}f} [{shown[min(values)]}, {shown[max(values)]}]"


def ratios(above: list[Measurement], below: list[Measurement], size: Callable = _wall) -> list[float]:
    """Divide what was measured in the same round: a slow moment of the machine falls on both."""
    return [size(a) / size(b) for a, b in zip(above, below, strict=True)] if above and below else []


def limit_table(results: dict[str, Rounds], threads: int) -> str:
    """Return quadrat's parts beside the limit."""
    header = ["layout", "limit, s", "reader wall", "reader CPU", "reader + mean wall", "job wall"]
    header += ["job memory, MB", f"reader, 1 to {threads} threads", f"limit, 1 to {threads} threads"]
    rows = []
    for layout, rounds in results.items():
        limit, reader, reader_mean, job = (
            rounds[peer, threads] for peer in ("limit", "reader", "reader_mean", "job")
        )
        cells = [spread([_wall(one) for one in limit]), spread(ratios(reader, limit))]
        cells += [spread(ratios(reader, limit, _cpu)), spread(ratios(reader_mean, limit))]
        cells += [spread(ratios(job, limit)), f"{max(map(memory, job)):.0f}"]
        cells += [
            spread(ratios(rounds.get((peer, 1), []), rounds[peer, threads])) for peer in ("reader", "limit")
        ]
        rows.append([LAYOUTS[layout].description, *cells])
    return _markdown(header, rows)


def peer_table(results: dict[str, Rounds], threads: int) -> str:
    """Return the peers beside quadrat's reader + mean, which does the same work."""
    header = ["layout", "quadrat / fastest peer", "plain loop memory"]
    header += [f"{title} wall" for title in PEER_TITLES.values()]
    rows = []
    for layout, rounds in results.items():
        quadrat = rounds["reader_mean", threads]
        peers = {peer: rounds.get((peer, threads), []) for peer in PEER_TITLES}
        cells = [_beside_fastest(quadrat, peers), spread(ratios(peers["plain_loop"], quadrat, memory))]
        cells += [spread(ratios(measured, quadrat)) for measured in peers.values()]
        rows.append([LAYOUTS[layout].description, *cells])
    return _markdown(header, rows)


def _beside_fastest(quadrat: list[Measurement], peers: dict[str, list[Measurement]]) -> str:
    medians = {peer: median(map(_wall, measured)) for peer, measured in peers.items() if measured}
    if not medians:
        return "-"
    fastest = min(medians, key=medians.__getitem__)
    return f"{spread(ratios(quadrat, peers[fastest]))} {PEER_TITLES[fastest]}"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
