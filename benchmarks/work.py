"""Work: one peer, or one part of quadrat, on one image; each measurement is a process that runs this.

``python benchmarks/work.py NAME THREADS IMAGE...`` prints what the last image took as JSON. The images before
it warm up: imports and the loading of codecs are not what is compared.
"""

import json
import resource
import sys
import time
from typing import Any

import networks
import own
import peers

OWN = (own.limit, own.reader, own.reader_mean, own.job)
PEERS = (
    peers.plain_loop,
    peers.tifffile_imread,
    peers.rasterio_patches,
    peers.rasterio_rows,
    peers.zarr_patches,
    peers.tiffslide_patches,
)
NETWORKS = (
    networks.network_job,
    networks.inference,
    networks.plain_network_loop,
    networks.careful_network_loop,
)


def main(name: str, threads: int, paths: list[str]) -> dict:
    """Work on each image in turn.

    Returns
    -------
    dict
        Of the last image: `wall_s`, `cpu_s` (user and system), and `means`; or `unreadable` with the reason.
    """
    work = {one.__name__: one for one in OWN + PEERS + NETWORKS}[name]
    result: dict[str, Any] = {}
    try:
        for path in paths:
            cpu_before, wall_before = _cpu_seconds(), time.perf_counter()
            means = work(path, threads)
            result = {"wall_s": time.perf_counter() - wall_before, "cpu_s": _cpu_seconds() - cpu_before}
            result["means"] = list(means)
    except peers.UnreadableError as error:
        return {"unreadable": str(error)}
    except ModuleNotFoundError as error:
        return {"unreadable": f"{error.name} is not installed"}
    return result


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    json.dump(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]), sys.stdout)
