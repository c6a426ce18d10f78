import os
import re
import sys
from dataclasses import fields
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import quadrat
from quadrat.errors import ConfigError
from quadrat.files.hashing import digest, hash_file
from quadrat.plan import versions
from quadrat.plan.plan import make_plan
from quadrat.plan.versions import recipe, version
from quadrat.results.state import StateRow, state
from quadrat.settings import Settings

ROWS = [StateRow("a.tif", "0123456789ab", "", {"site": "1"}), StateRow("b.tif", "", "braces", {"site": "2"})]


@pytest.fixture
def name(make_settings):
    """Return a function from configuration keys to the version of one image."""
    return lambda **config: version("content", digest(recipe(make_settings(**config), hash_file)))


@pytest.fixture
def model(write_model):
    """Return the configuration of a user's predictor whose file exists."""
    return {"kind": "python", "path": write_model("one = 1\n"), "name": "predict_patch"}


def test_version_is_12_hex_digits(name):
    assert re.fullmatch("[0-9a-f]{12}", name())


CHANGES_RESULTS = (
    {"patch_size": 256},
    {"stride": 256},
    {"edge": "pad"},
    {"channels": [1]},
    {"level": 1},
    {"plane": {"z": 2}},
    {"mpp": 0.5},
    {"gsd": 10},
    {"default_mpp": 0.25},
    {"skip": {"nodata": 1.0}},
    {"nodata": 0},
    {"regions": "."},
    {"regions": {"path": ".", "classes": ["Tumor"]}},
    {"scenes": "landsat", "channels": ["SR_B4"]},
)
KEEPS_RESULTS = (
    {"include": ["a*"]},
    {"exclude": ["b*"]},
    {"extensions": [".tif"]},
    {"follow_links": True},
    {"images": "elsewhere"},
    {"results": "elsewhere"},
    {"on_failure": "report"},
    {"shard_pixels": 1_000_000},
    {"retries": 5},
    {"allow_removed": True},
    {"json_max_values": 5},
    {"maps": {"channels": [3, 2, 1]}},
    {"verify": "stat"},
    {"stride": 512},
    {"predictor": {"kind": "mean"}},
)


def test_of_every_key_is_known_whether_it_changes_results():
    known = {key for change in CHANGES_RESULTS + KEEPS_RESULTS for key in change}
    assert known == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("change", CHANGES_RESULTS, ids=str)
def test_key_that_changes_predictions_changes_the_version(name, change):
    assert name(**change) != name()


@pytest.mark.parametrize("change", KEEPS_RESULTS, ids=str)
def test_key_that_does_not_change_predictions_keeps_the_version(name, change):
    assert name(**change) == name()


def test_content_is_part_of_the_version():
    assert version("one", "recipe") != version("other", "recipe")
    assert version("one", "recipe") != version("one", "recipe", "") != version("one", "recipe", "regions")


def test_results_version_of_the_library_is_part_of_the_version(name, monkeypatch):
    before = name()
    monkeypatch.setattr(versions, "RESULTS_VERSION", quadrat.RESULTS_VERSION + 1)
    assert name() != before


@pytest.mark.parametrize(
    "change", [{"name": "Other"}, {"options": {"gain": 2}}, {"batch_size": 3}, {"kind": "mean"}], ids=str
)
def test_configuration_of_the_predictor_is_part_of_the_version(name, model, change):
    changed = model | change if "kind" not in change else change
    assert name(predictor=changed) != name(predictor=model)


def test_order_of_options_is_no_part_of_the_version(name, model):
    one = model | {"options": {"a": 1, "b": 2}}
    other = model | {"options": {"b": 2, "a": 1}}
    assert name(predictor=one) == name(predictor=other)


def test_options_left_out_are_as_empty_ones(name, model):
    assert name(predictor=model) == name(predictor=model | {"options": {}, "depends": []})


def test_bytes_of_the_predictor_file_and_not_its_place_are_part_of_the_version(name, model, write_model):
    before = name(predictor=model)
    moved = model | {"path": write_model("one = 1\n", "moved.py")}
    assert name(predictor=moved) == before
    write_model("one = 2\n")
    assert name(predictor=model) != before


def test_bytes_of_a_dependency_are_part_of_the_version(name, model, tmp_path):
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"1")
    depending = model | {"depends": [str(weights)]}
    before = name(predictor=depending)
    assert before != name(predictor=model)
    weights.write_bytes(b"2")
    assert name(predictor=depending) != before


@pytest.fixture
def network(tmp_path):
    """Return the path of an ONNX model, which keeps its weights in network.data."""
    weights = numpy_helper.from_array(np.ones(4, np.float32), "w")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "graph", [], [y], [weights])
    options = {"save_as_external_data": True, "location": "network.data", "size_threshold": 0}
    onnx.save(helper.make_model(graph), tmp_path / "network.onnx", **options)
    return tmp_path / "network.onnx"


def test_bytes_of_a_model_and_of_its_external_data_are_part_of_the_version(name, network):
    predictor = {"kind": "onnx", "path": str(network)}
    versions_found = {name(predictor=predictor)}
    for file in (network.with_suffix(".data"), network):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        if file == network:
            content = onnx.load(network, load_external_data=False)
            content.doc_string = "other"
            content = content.SerializeToString()
        file.write_bytes(content)
        versions_found.add(name(predictor=predictor))
    assert len(versions_found) == 3


def test_place_of_a_model_is_no_part_of_the_version(name, network, tmp_path):
    before = name(predictor={"kind": "onnx", "path": str(network)})
    (tmp_path / "moved").mkdir()
    for file in (network, network.with_suffix(".data")):
        file.rename(tmp_path / "moved" / file.name)
    assert name(predictor={"kind": "onnx", "path": str(tmp_path / "moved" / network.name)}) == before


def test_external_data_are_watched_during_the_run(make_settings, network):
    settings = make_settings(predictor={"kind": "onnx", "path": str(network)})
    assert versions.predictor_files(settings) == [str(network), str(network.with_suffix(".data"))]


@pytest.mark.parametrize(
    "change", [{"scale": 0.5}, {"device": "cuda"}, {"labels": ["a"]}, {"batch_size": 2}], ids=str
)
def test_contract_and_device_of_a_model_are_part_of_the_version(name, network, change):
    predictor = {"kind": "onnx", "path": str(network)}
    assert name(predictor=predictor | change) != name(predictor=predictor)


@pytest.mark.parametrize("key", ["path", "depends"])
def test_missing_file_of_the_predictor_is_refused_with_its_key(name, model, key):
    missing = {"path": "no_model.py", "depends": ["no_weights.onnx"]}[key]
    with pytest.raises(ConfigError, match=rf"no_.*: no such file \(config\.yaml: predictor: {key}\)"):
        name(predictor=model | {key: missing})


def test_state_does_not_depend_on_the_order_of_images():
    assert state(ROWS, 10) == state(reversed(ROWS), 10)


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:1],
        [ROWS[0]._replace(version="ba9876543210"), ROWS[1]],
        [ROWS[0]._replace(filename="c.tif"), ROWS[1]],
        [ROWS[0]._replace(columns={"site": "3"}), ROWS[1]],
        [ROWS[0]._replace(columns={"place": "1"}), ROWS[1]],
        [ROWS[0], ROWS[1]._replace(problem="broken link")],
    ],
    ids=["removed", "changed", "renamed", "other value", "other column", "other problem"],
)
def test_state_shows_all_that_the_merged_files_show(rows):
    assert state(rows, 10) != state(ROWS, 10)


def test_state_shows_whether_the_json_is_wanted():
    assert state(ROWS, 10) != state(ROWS, 0)


PYTHON = {"kind": "python", "path": "my_model.py", "name": "predict_patch"}
GAINED = {"options": {"gain": 2}, "depends": ["weights"]}
SCALED = {"scale": 0.0001, "resize": "area", "input_size": 224, "labels": ["water", "land"], "argmax": True}

# Folders of users hold results of these configurations, under these names.
NAMES = {
    "mean": ({}, "5428d2439987"),
    "patch_size and stride": ({"patch_size": 256, "stride": 128, "edge": "pad"}, "15d194593d57"),
    "channels": ({"channels": [3, 2, 1]}, "fd0ede6c761f"),
    "mpp": ({"mpp": 0.5, "default_mpp": 0.25}, "b85a2cf2b518"),
    "plane": ({"plane": {"z": 3, "t": 1}, "level": 1}, "f2ecd0edd9c7"),
    "statistics": (
        {"predictor": {"kind": "statistics", "of": ["mean", "p5"], "per_channel": True}},
        "376f3d89e0dc",
    ),
    "onnx": ({"predictor": {"kind": "onnx", "path": "model.onnx"}}, "304c5b8cf878"),
    "resized onnx": ({"predictor": {"kind": "onnx", "path": "model.onnx", **SCALED}}, "945174e46b3a"),
    "torch": ({"predictor": {"kind": "torch", "path": "model.pt", "trust": True}}, "ed79942e067b"),
    "python": ({"predictor": PYTHON}, "1a43aefdc146"),
    "python with options": ({"predictor": PYTHON | GAINED}, "4e2614fdd76e"),
    "skip": ({"skip": {"nodata": 1.0, "background": {"tissue_below": 0.05}}}, "2d7ee1bbd918"),
    "regions": ({"regions": "regions"}, "01fae2ad41bc"),
    "regions by path": ({"regions": {"path": "regions"}}, "01fae2ad41bc"),
    "shards": ({"shard_pixels": 1_000_000}, "5428d2439987"),
}


@pytest.fixture
def planned_version(make_settings, images, monkeypatch):
    """Return a function from a configuration to the version of an image, as a plan names its result."""
    files = {"images/a.tif": b"II*\0", "regions/a.tif.geojson": b"{}", "my_model.py": b"", "weights": b"1"}
    files |= {"model.onnx": b"\x08\x09", "model.pt": b""}  # an ONNX model of which only the version is there
    monkeypatch.chdir(images.parent)
    for name, content in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    os.utime("images/a.tif", ns=(0, 10**18))
    monkeypatch.setattr(versions, "RESULTS_VERSION", 2)
    torch = ModuleType("torch")  # where it is not installed, its kind is refused
    torch.__spec__ = ModuleSpec("torch", None)
    monkeypatch.setitem(sys.modules, "torch", torch)

    def planned_version(config):
        (image,) = make_plan(make_settings(**config), print).images
        return image.version

    return planned_version


@pytest.mark.parametrize(("config", "expected"), NAMES.values(), ids=NAMES)
def test_result_has_the_name_that_it_has_in_folders_of_users(planned_version, config, expected):
    assert planned_version(config) == expected
