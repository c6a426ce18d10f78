"""What users, profiles and other programs lean on: it changes on purpose, with a line in the CHANGELOG."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import yaml

from studies import PATCH_SIZE, PROJECT, Study

RULES = """
    all draw_maps geopackage geoparquet geotiff inspect maps merge_predictions predict_image
    predict_shard prune qupath superseded tissue try_predictor write_overview wsinfer
"""

DEFAULTS = {
    "images": "images",
    "scenes": None,
    "include": ["*"],
    "exclude": [],
    "extensions": [
        *(".tif", ".tiff", ".tf2", ".tf8", ".btf", ".ptif", ".qptiff"),
        *(".svs", ".ndpi", ".scn", ".bif", ".mrxs", ".dcm", ".vms", ".vmu", ".svslide"),
        *(".png", ".jpg", ".jpeg", ".jp2", ".vrt"),
    ],
    "follow_links": False,
    "results": "results",
    "patch_size": 512,
    "stride": None,
    "edge": "drop",
    "channels": None,
    "level": 0,
    "plane": None,
    "mpp": None,
    "gsd": None,
    "default_mpp": None,
    "nodata": None,
    "skip": None,
    "regions": None,
    "predictor": "mean",
    "on_failure": "fail",
    "shard_pixels": None,
    "retries": 2,
    "allow_removed": False,
    "json_max_values": 10_000_000,
    "maps": "auto",
    "verify": "content",
}

# Files of a study with an image in two shards and a broken one; V is a version or a digest, N names a run.
FILES = """
    .quadrat/contents.jsonl
    .quadrat/drawings/V/a.tif.V/map.png
    .quadrat/drawings/V/a.tif.V/page.html
    .quadrat/lock
    .quadrat/merged.json
    .quadrat/merging
    .quadrat/plan.json
    .quadrat/shards.json
    images.tsv
    inspect.tsv
    logs/inspect.log
    logs/merge_predictions.log
    logs/predict_image/a.tif.V.log
    logs/predict_image/broken.tif.V.log
    logs/predict_shard/a.tif.V.0-15.log
    logs/predict_shard/a.tif.V.16-31.log
    logs/write_overview.log
    manifest.tsv
    maps/a.tif.png
    overview.html
    pages/a.tif.html
    predictions.done
    predictions.json
    predictions.parquet
    predictions/a.tif.parquet
    run.yaml
    summary.tsv
    versions/a.tif.V.parquet
    versions/broken.tif.V.parquet
"""

COLUMNS = {
    "filename": "string",
    "row": "int32",
    "col": "int32",
    "prediction": "double",
    "y": "int64",
    "x": "int64",
    "height": "int32",
    "width": "int32",
    "skipped": "string",
}

FOOTER = """
    channels content_hash content_id counts filename grid image plane prediction_shape predictor regions
    software version
"""
FOOTER_OF_FAILURE = "content_hash content_id failure filename prediction_shape version"
FOOTER_IMAGE = "bounds channels crs downsample dtype format full_size height level mpp notes transform width"
FOOTER_GRID = "cols edge patch_size rows stride"
FAILURE = "hint kind message"
OF_DICTIONARY = "content_hash downsample first_row grid prediction_shape row_group rows"
RUN = "quadrat commit python libraries configuration made_from"

TABLES = {
    "images.tsv": "filename status patches skipped nan dropped content_hash kind message hint notes",
    "summary.tsv": "filename status patches predicted nan area_m2 area_mm2 mean std min max",
    "manifest.tsv": "filename key version content_id path size problem hint regions",
}

# What a profile may set for a rule: --set-resources predict_image:mem_mb=8000
RESOURCES = {
    "predict_image": {"attempt", "gpu", "mem_mb", "runtime"},
    "predict_shard": {"attempt", "gpu", "mem_mb", "runtime"},
    "merge_predictions": {"mem_mb", "runtime"},
}
OF_SNAKEMAKE = {"tmpdir", "mem", "mem_mib"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return a study that was run and inspected, with what its rehearsal, run and list of rules showed."""
    study = Study(tmp_path_factory.mktemp("surface") / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=PATCH_SIZE, shard_pixels=1024 * PATCH_SIZE**2)
    pixels = np.random.default_rng(1).integers(0, 256, (1024, 2048), np.uint8)
    tifffile.imwrite(study.images / "a.tif", pixels, tile=(64, 64))
    (study.images / "broken.tif").write_bytes(b"II*\0" + bytes(100))
    study.rehearsal = study.run("--dry-run", "--printshellcmds")
    study.first = study.run()
    study.inspection = study.run("inspect")
    study.rules = study.run("--list")
    return study


def footer(path):
    return json.loads(pq.read_metadata(path).metadata[b"quadrat"])


def keys(mapping):
    return " ".join(sorted(mapping))


def test_rules_are_those_that_profiles_and_users_name(study):
    listed = study.rules.output.split("\n")
    assert set(RULES.split()) <= set(listed)
    assert {line for line in listed if re.fullmatch(r"[a-z_]+", line)} == set(RULES.split())


def test_keys_of_the_configuration_have_these_defaults():
    schema = yaml.safe_load((PROJECT / "scripts/quadrat/config.schema.yaml").read_text())
    assert {key: rule["default"] for key, rule in schema["properties"].items()} == DEFAULTS


def test_files_of_the_results_folder_have_these_names(study):
    found = [
        path.relative_to(study.results).as_posix() for path in study.results.rglob("*") if not path.is_dir()
    ]
    names = {re.sub(r"\b[0-9a-f]{16}\b", "N", re.sub(r"\b[0-9a-f]{12}\b", "V", name)) for name in found}
    assert names == set(FILES.split())


def test_parquet_files_have_these_columns_and_footers(study):
    for name, left_out in {"predictions.parquet": [], "predictions/a.tif.parquet": ["filename"]}.items():
        schema = pq.read_schema(study.results / name)
        expected = {column: kind for column, kind in COLUMNS.items() if column not in left_out}
        assert dict(zip(schema.names, map(str, schema.types), strict=True)) == expected
    (of_image,) = footer(study.results / "predictions.parquet")["images"].values()
    assert keys(of_image) == OF_DICTIONARY
    whole = footer(study.results / "predictions/a.tif.parquet")
    assert keys(whole) == " ".join(FOOTER.split())
    assert keys(whole["image"]) == FOOTER_IMAGE
    assert keys(whole["grid"]) == FOOTER_GRID
    (failed,) = study.results.glob("versions/broken.tif.*.parquet")
    assert keys(footer(failed)) == FOOTER_OF_FAILURE
    assert keys(footer(failed)["failure"]) == FAILURE


def test_tables_and_the_record_of_the_run_have_these_columns_and_keys(study):
    for name, columns in TABLES.items():
        assert (study.results / name).read_text().split("\n")[0].split("\t") == columns.split()
    assert list(yaml.safe_load((study.results / "run.yaml").read_text())) == RUN.split()
    assert json.loads((study.results / "predictions.json").read_text()).keys() == {"a.tif"}
    assert re.fullmatch("[0-9a-f]{12}", (study.results / "predictions.done").read_text())


@pytest.mark.parametrize("rule", RESOURCES)
def test_jobs_ask_for_these_resources(study, rule):
    shown = re.search(rf"(?:rule|checkpoint) {rule}:\n(?: .*\n)*? +resources: (.*)", study.rehearsal.output)
    assert {part.split("=")[0] for part in shown[1].split(", ")} - OF_SNAKEMAKE == RESOURCES[rule]


def test_exit_code_says_whether_an_image_failed(study):
    codes = [run.code for run in (study.rehearsal, study.inspection, study.rules)]
    assert (study.first.code, codes) == (1, [0, 0, 0])
