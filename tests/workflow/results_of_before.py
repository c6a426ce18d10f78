"""Results of an earlier quadrat, as a user's folders hold them: what later ones must take as their own.

Two studies are kept in results_of_before.tar.xz; what they hold, and by which commit they were made, in
results_of_before.json. Another RESULTS_VERSION computes all results anew; then make both files anew, from a
checkout without changes: ``python tests/workflow/results_of_before.py``.
"""

import hashlib
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tifffile
import yaml

from studies import Study, write_network

ARCHIVE = Path(__file__).with_suffix(".tar.xz")
RECORD = Path(__file__).with_suffix(".json")

NODATA = (42113, "s", 0, "0", True)  # the tag GDAL_NODATA
# Rules that finish each study, one of which is exported.
TARGETS = {"survey": ("all", "geotiff", "superseded"), "slides": ("all", "superseded")}


def main():
    """Make both studies, and write down what they hold."""
    with tempfile.TemporaryDirectory() as folder:
        surveyed, scanned = Study(f"{folder}/survey"), Study(f"{folder}/slides")
        for study in (surveyed, scanned):
            study.images.mkdir(parents=True)
        survey(surveyed)
        finished = slides(scanned)
        made_by = yaml.safe_load((surveyed.results / "run.yaml").read_text())
        record = {key: made_by[key] for key in ("quadrat", "commit")}
        record |= {"results_version": made_by["made_from"]["results_version"]}
        record |= {"survey": held(surveyed), "slides": finished}
        RECORD.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
            for study in (surveyed, scanned):
                archive.add(study.path, study.path.name, filter=_kept)


def survey(study):
    """Make a finished study of means, two of whose results belong to an earlier configuration."""
    write_image(study.images / "north/ü b.tif", 1, extratags=[NODATA])
    for seed, name in enumerate(["red", "green"], start=2):
        write_image(study.path / f"stored/{name}.tif", seed)
    write_vrt(study.images / "a.vrt", ["red", "green"])
    study.configure(patch_size=32, channels=[2, 1])
    run(study)
    (study.images / "broken.tif").write_bytes(b"II*\0" + bytes(100))
    skip = {"nodata": 1.0, "background": {"std_below": 4}}
    study.configure(patch_size=16, stride=8, edge="pad", skip=skip, on_failure="report")
    run(study, *TARGETS["survey"])


def slides(study):
    """Make a study of a model, interrupted before all shards of an image that was replaced were computed.

    Returns
    -------
    dict
        What the study holds once it is finished.
    """
    write_network(study.path / "network.onnx", [1, 0.5, 0.25])
    study.configure(
        patch_size=8,
        predictor={"kind": "onnx", "path": "network.onnx", "scale": 0.5},
        skip={"background": {"tissue_below": 0.05}},
        regions="regions",
        shard_pixels=128 * 128 // 4,
    )
    for seed, name in enumerate(["a.tif", "large.tif"]):
        write_image(study.images / name, seed, subifds=1)
        write_regions(study.path / f"regions/{name}.geojson", 24 + 40 * seed)
    run(study)
    write_image(study.images / "large.tif", 3, subifds=1)
    run(study, "--until", "predict_shard")
    finished = Study(shutil.copytree(study.path, study.path.with_name("finished"), symlinks=True))
    shutil.rmtree(finished.results / "shards")
    finished.configure(shard_pixels=None)
    run(finished, *TARGETS["slides"])
    for path in sorted(study.results.glob("shards/*"))[1:3]:
        path.unlink()
    return held(finished)


def held(study):
    """Return what a finished study holds, read without quadrat.

    Returns
    -------
    dict
        `names` of the results by image, digests of the `rows` of each Parquet and of the `dictionary`, and
        the `superseded` files, as the last run listed them.
    """
    links = sorted((study.results / "predictions").rglob("*.parquet"))
    tables = [study.results / "predictions.parquet", *links]
    listed = (study.results / "logs/superseded.log").read_text().splitlines()
    return {
        "names": {name_in(study, link): name_in(study, link.resolve()) for link in links},
        "rows": {name_in(study, table): digest(pq.read_table(table).to_pylist()) for table in tables},
        "dictionary": digest(study.dictionary),
        "superseded": [line for line in listed if (study.path / line).is_file()],
    }


def name_in(study, path):
    """Return the place of a file in the folder of a study."""
    return path.relative_to(study.path.resolve()).as_posix()


def digest(value):
    """Return 16 hex digits that name a value made of JSON's types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def run(study, *targets):
    """Run a study, which must succeed."""
    done = study.run(*targets)
    assert done.code == 0, done.output


def write_image(path, seed, subifds=0, **options):
    """Write an image of 128 x 128 px in tiles: noise so coarse that its file is small, and a black corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(1, 256, (32, 32, 3), np.uint8)
    noise[:12, :16] = 0
    pixels = noise.repeat(4, axis=0).repeat(4, axis=1)
    storage = {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)}
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=subifds, **storage, **options)
        for level in range(subifds):
            writer.write(pixels[:: 2 << level, :: 2 << level], subfiletype=1, **storage)


def write_vrt(path, sources):
    """Write a VRT whose channels are the first channels of some images of the folder `stored`."""
    bands = (
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">'
        f"../stored/{name}.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for band, name in enumerate(sources, start=1)
    )
    path.write_text(f'<VRTDataset rasterXSize="128" rasterYSize="128">{"".join(bands)}</VRTDataset>')


def write_regions(path, left):
    """Write the regions of an image, as QuPath does: all that is right of a column of pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ring = [[left, 0], [128, 0], [128, 128], [left, 128], [left, 0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": geometry}]})
    )


def _kept(member):
    """Leave out what is of one machine, and what drawings show: all that counts is whether they exist."""
    parts = Path(member.name).parts
    if ".snakemake" in parts or "logs" in parts:
        return None
    if "drawings" in parts and member.isfile():
        member.size = 0  # a page alone has 1.3 MB
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
