from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quadrat.config import SCHEMA, load_settings
from quadrat.errors import ConfigError

CONFIG = Path(__file__).resolve().parents[1] / "config.yaml"
ONNX = {"kind": "onnx", "path": "model.onnx"}
STATISTICS = {"kind": "statistics", "of": ["mean", "p2.5", "histogram"], "bins": 4, "range": [0, 256]}
MODEL = {"kind": "python", "path": "my_model.py", "name": "predict_patch"}


@pytest.fixture(scope="module")
def schema():
    return yaml.safe_load(SCHEMA.read_text())


@pytest.fixture
def load():
    """Return a function from the configuration to settings."""
    return lambda **config: load_settings(config)


@pytest.fixture
def refusal(load):
    """Return a function from a bad configuration to the line that refuses it."""

    def refuse(**config):
        with pytest.raises(ConfigError) as caught:
            load(**config)
        line = str(caught.value)
        assert "\n" not in line
        return line

    return refuse


# the schema and config.yaml


def test_every_key_of_the_schema_is_explained(schema):
    for key, rule in schema["properties"].items():
        assert rule["description"].strip(), key
        assert rule["expected"].strip(), key
        assert "default" in rule, key


def test_defaults_fit_the_schema(load):
    settings = load()
    assert settings.images == "images"
    assert settings.patch_size == settings.stride == 512
    assert settings.edge == "drop"
    assert settings.predictor == {"kind": "mean"}
    assert settings.json_max_values == 10_000_000


def test_config_yaml_has_every_key_and_the_defaults_of_all_but_images(schema):
    written = yaml.safe_load(CONFIG.read_text())
    assert list(written) == list(schema["properties"])
    defaults = {key: rule["default"] for key, rule in schema["properties"].items()}
    assert written | {"images": "images"} == defaults


def test_config_yaml_points_to_the_images_of_the_first_run(load):
    assert load(**yaml.safe_load(CONFIG.read_text())).images == "examples/first_run/images"


# good values


GOOD = [
    ("images", "scenes", "scenes"),
    ("images", ["north", "south"], ["north", "south"]),
    ("images", "images.tsv", "images.tsv"),
    ("images", "[north, south]", ["north", "south"]),
    ("include", ["north/*"], ["north/*"]),
    ("include", "north/*", ["north/*"]),
    ("include", "[ab]*.tif", ["[ab]*.tif"]),
    ("exclude", '["a.tif", "b.tif"]', ["a.tif", "b.tif"]),
    ("exclude", [], []),
    ("extensions", [".tif"], [".tif"]),
    ("extensions", ".ome.tif", [".ome.tif"]),
    ("results", "/data/results", "/data/results"),
    ("patch_size", 256, 256),
    ("patch_size", "256", 256),
    ("stride", None, 512),
    ("stride", 128, 128),
    ("edge", "pad", "pad"),
    ("edge", "partial", "partial"),
    ("edge", "shift", "shift"),
    ("channels", [3, 2, 1], [3, 2, 1]),
    ("channels", 2, [2]),
    ("channels", "[3, 2]", [3, 2]),
    ("channels", ["3", "2"], [3, 2]),
    ("channels", None, None),
    ("level", 2, 2),
    ("maps", "false", False),
    ("maps", "auto", "auto"),
    ("maps", "{channels: [3, 2, 1]}", {"channels": [3, 2, 1]}),
    ("maps", {"channels": [1]}, {"channels": [1]}),
    ("nodata", None, None),
    ("nodata", 0, 0),
    ("nodata", "0", 0),
    ("nodata", 0.0, 0),
    ("nodata", "-9999", -9999),
    ("nodata", "1e3", 1000),
    ("nodata", 0.1, 0.1),
    ("nodata", "-3.4e38", -3.4e38),
    ("nodata", "9007199254740993", 2**53 + 1),
    ("nodata", float("nan"), "nan"),
    ("nodata", "NaN", "nan"),
    ("nodata", ".nan", "nan"),
    ("nodata", float("-inf"), "-inf"),
    ("nodata", "none", "none"),
    ("nodata", [0, 255.0, "nan", "1e3", 2**63 - 1], [0, 255, "nan", 1000, 2**63 - 1]),
    ("nodata", "[0, .nan]", [0, "nan"]),
    ("plane", None, None),
    ("plane", {"z": 3, "t": 1, "series": 2}, {"z": 3, "t": 1, "series": 2}),
    ("plane", "{z: 3}", {"z": 3}),
    ("plane", {"z": "3"}, {"z": 3}),
    ("regions", "annotations", "annotations"),
    ("regions", "{path: annotations, classes: Tumor}", {"path": "annotations", "classes": ["Tumor"]}),
    ("regions", {"path": "fields.gpkg:LAYER"}, {"path": "fields.gpkg:LAYER"}),
    ("predictor", "mean", {"kind": "mean"}),
    ("predictor", {"kind": "mean"}, {"kind": "mean"}),
    ("predictor", {"kind": "statistics"}, {"kind": "statistics"}),
    ("predictor", STATISTICS, STATISTICS),
    ("predictor", STATISTICS | {"of": "std"}, STATISTICS | {"of": "std"}),
    ("predictor", MODEL, MODEL),
    ("predictor", "{kind: python, path: my_model.py, name: predict_patch}", MODEL),
    ("predictor", MODEL | {"options": {"a": 1}}, MODEL | {"options": {"a": 1}}),
    ("predictor", MODEL | {"depends": ["w.onnx"]}, MODEL | {"depends": ["w.onnx"]}),
    ("predictor", MODEL | {"depends": "w.onnx"}, MODEL | {"depends": ["w.onnx"]}),
    ("predictor", MODEL | {"batch_size": 4}, MODEL | {"batch_size": 4}),
    ("predictor", MODEL | {"batch_size": "4"}, MODEL | {"batch_size": 4}),
    ("predictor", ONNX, ONNX),
    ("predictor", "{kind: onnx, path: model.onnx}", ONNX),
    ("predictor", ONNX | {"scale": "0.5"}, ONNX | {"scale": 0.5}),
    ("predictor", ONNX | {"scale": ["0.5", 2]}, ONNX | {"scale": [0.5, 2]}),
    ("predictor", ONNX | {"scale": "file"}, ONNX | {"scale": "file"}),
    ("predictor", ONNX | {"split": "true", "reduce": "mean"}, ONNX | {"split": True, "reduce": "mean"}),
    (
        "predictor",
        ONNX | {"normalize": {"mean": "0.5", "std": ["0.1", "0.2"]}},
        ONNX | {"normalize": {"mean": 0.5, "std": [0.1, 0.2]}},
    ),
    ("predictor", ONNX | {"output": "logits"}, ONNX | {"output": "logits"}),
    ("predictor", ONNX | {"output": 2}, ONNX | {"output": 2}),
    ("on_failure", "report", "report"),
    ("retries", 0, 0),
    ("allow_removed", True, True),
    ("allow_removed", "true", True),
    ("json_max_values", 0, 0),
    ("verify", "stat", "stat"),
]


@pytest.mark.parametrize(("key", "value", "expected"), GOOD, ids=lambda value: str(value)[:40])
def test_good_value_is_taken(load, key, value, expected):
    taken = load(**{key: value}).as_dict()[key]
    assert taken == expected
    assert type(taken) is type(expected)


def test_stride_follows_the_patch_size_unless_given(load):
    assert load(patch_size=256).stride == 256
    assert load(patch_size=256, stride=64).stride == 64


def test_settings_are_plain_data_that_a_job_can_carry(load):
    settings = load(predictor=MODEL, channels=[1])
    assert yaml.safe_load(yaml.safe_dump(settings.as_dict())) == settings.as_dict()


# bad values


BAD = [
    ("images", 202401),
    ("images", True),
    ("images", ""),
    ("images", []),
    ("images", None),
    ("images", ["a", 3]),
    ("include", []),
    ("include", [1]),
    ("include", None),
    ("exclude", {"a": 1}),
    ("exclude", [""]),
    ("extensions", ["tif"]),
    ("extensions", []),
    ("results", 2024),
    ("results", ""),
    ("patch_size", 0),
    ("patch_size", -512),
    ("patch_size", 0.5),
    ("patch_size", 256.0),
    ("patch_size", "large"),
    ("patch_size", None),
    ("patch_size", True),
    ("patch_size", [512]),
    ("patch_size", 65537),
    ("stride", 0),
    ("stride", "half"),
    ("regions", 5),
    ("edge", "crop"),
    ("edge", None),
    ("edge", "drop\npad"),
    ("channels", []),
    ("channels", [0]),
    ("channels", 0),
    ("channels", [1, 0]),
    ("channels", [-1]),
    ("channels", "red"),
    ("channels", [1.5]),
    ("channels", [1.0]),
    ("level", -1),
    ("level", 1.5),
    ("maps", "yellow"),
    ("maps", {"channels": [1, 2]}),
    ("maps", {"channels": [0]}),
    ("maps", {}),
    ("nodata", "None"),
    ("nodata", "black"),
    ("nodata", True),
    ("nodata", []),
    ("nodata", [None]),
    ("nodata", ["none"]),
    ("nodata", {"value": 0}),
    ("plane", 3),
    ("plane", {}),
    ("plane", {"z": 0}),
    ("plane", {"z": "top"}),
    ("plane", {"c": 1}),
    ("predictor", "median"),
    ("predictor", {}),
    ("predictor", {"kind": "median"}),
    ("predictor", {"kind": ["onnx"]}),
    ("predictor", None),
    ("on_failure", "ignore"),
    ("on_failure", True),
    ("retries", -1),
    ("retries", "twice"),
    ("allow_removed", "perhaps"),
    ("allow_removed", 1),
    ("json_max_values", -1),
    ("verify", "mtime"),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=lambda value: str(value)[:40])
def test_bad_value_is_refused_with_value_expectation_and_place(schema, refusal, key, value):
    line = refusal(**{key: value})
    assert line.startswith(f"{key} ")
    assert "channel 0" in line or schema["properties"][key]["expected"] in line
    assert line.endswith(f"(config.yaml: {key})")


def test_another_number_of_nodata_values_than_of_channels_is_refused(load, refusal):
    line = refusal(nodata=[0, 255], channels=[4, 3, 2])
    assert line.startswith("nodata has 2 values and channels has 3; ")
    assert load(nodata=[0, 255], channels=[4, 2]).nodata_by_channel == {4: 0, 2: 255}
    assert load(nodata=[0, 255]).nodata_by_channel == {1: 0, 2: 255}
    assert load(nodata=0, channels=[4, 3, 2]).nodata_by_channel == 0


def test_the_value_is_shown_as_it_is_written_in_yaml(refusal):
    assert refusal(stride=0).startswith("stride is 0; it must be a whole number of pixels")
    assert refusal(images=None).startswith("images is null; it must be")
    assert refusal(edge="ü").startswith("edge is ü; it must be")


def test_channel_0_is_refused_with_how_channels_are_counted(refusal):
    assert "must be counted from 1, as in GDAL and QGIS" in refusal(channels=[0, 1])


def test_folder_that_yaml_reads_as_a_number_is_refused_with_the_way_to_quote_it(refusal):
    # What `--config images=2024_01` arrives as.
    line = refusal(images=yaml.safe_load("2024_01"))
    assert line.startswith("images is 202401; it must be a folder")
    assert "YAML read 202401 as int: quote it, --config 'images=\"...\"'" in line


BAD_IN_PREDICTOR = [
    (
        MODEL | {"name": "two words"},
        "name is two words; it must be predict_patch, predict_batch, or",
    ),
    (MODEL | {"batch_size": 0}, "batch_size is 0; it must be a whole number, at least 1"),
    (MODEL | {"depends": [1]}, "depends is [1]; it must be a list of files"),
    (MODEL | {"options": None}, "options is null; it must be keyword arguments"),
    (ONNX | {"path": ""}, "path is ''; it must be the model's file"),
    (ONNX | {"layout": "CHW"}, "layout is CHW; it must be NCHW or NHWC"),
    (ONNX | {"scale": "red"}, "scale is red; it must be a number, a list of one for each channel, or file"),
    (ONNX | {"scale": []}, "scale is []; it must be a number, a list of one for each channel, or file"),
    (ONNX | {"resize": "cubic"}, "resize is cubic; it must be area or bilinear"),
    (ONNX | {"output": 0}, "output is 0; it must be the name of an output, or its number, counted from 1"),
    (ONNX | {"reduce": "sum"}, "reduce is sum; it must be mean, fraction or max"),
    (ONNX | {"device": "gpu"}, "device is gpu; it must be cpu, cuda or auto"),
    (ONNX | {"normalize": 0.5}, "normalize is 0.5; it must be {mean: ..., std: ...}"),
    (ONNX | {"normalize": {"mean": 0, "std": 0}}, "normalize: std is 0; it must be a number above 0"),
    (ONNX | {"normalize": {"mean": 0}}, "normalize: std is missing; set it to a number above 0"),
    (ONNX | {"normalize": {"mean": 0, "sd": 1}}, "normalize: sd: unknown key; did you mean std?"),
    (ONNX | {"scael": 2}, "scael: unknown key; did you mean scale? (config.yaml: predictor)"),
    ({"kind": "mean", "path": "a.py"}, "path: unknown key; the keys are kind (config.yaml: predictor)"),
    ({"kind": "onnx"}, "path is missing; set it to the model's file"),
    ({"kind": "statistics", "of": "median"}, "of is median; it must be mean, std, min, max"),
    ({"kind": "statistics", "of": []}, "of is []; it must be mean, std, min, max"),
    ({"kind": "statistics", "of": ["p101"]}, "of is [p101]; it must be mean, std, min, max"),
    ({"kind": "statistics", "of": ["mean", "histogram"]}, "histogram needs bins and range; set both"),
    (STATISTICS | {"range": [0.5]}, "range is [0.5]; it must be the lower end of the first bin"),
    (STATISTICS | {"range": [2.5, 0.5]}, "range is [2.5, 0.5]; it must be the lower end of the first bin"),
    (
        STATISTICS | {"range": [0, float("inf")]},
        "range is [0.0, inf]; it must be the lower end",
    ),
    (
        STATISTICS | {"range": [float("nan"), 1]},
        "range is [nan, 1.0]; it must be the lower end",
    ),
    (STATISTICS | {"bins": 0}, "bins is 0; it must be a whole number, from 1 to 65536"),
    ({"kind": "python", "path": "my_model.py"}, "name is missing; set it to predict_patch"),
    (ONNX | {"split": True}, "reduce is missing; set it to mean, fraction or max"),
    (
        ONNX | {"split": True, "reduce": "mean", "resize": "area"},
        "split and resize exclude each other",
    ),
]


@pytest.mark.parametrize(("value", "message"), BAD_IN_PREDICTOR, ids=str)
def test_bad_value_within_the_predictor_is_refused_with_its_own_expectation(refusal, value, message):
    line = refusal(predictor=value)
    assert line.startswith(f"predictor: {message}")
    assert "(config.yaml: predictor" in line


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"classes": ["Tumor"]}, "path is missing; set it to a folder of <filename>.geojson"),
        ({"path": "a", "classes": []}, "classes is []; it must be a list of classes, such as [Tumor]"),
        ({"path": "a", "class": "Tumor"}, "class: unknown key; did you mean classes?"),
    ],
    ids=str,
)
def test_bad_value_within_the_regions_is_refused_with_its_own_expectation(refusal, value, message):
    assert refusal(regions=value).startswith(f"regions: {message}")


def test_every_key_of_a_predictor_is_explained(schema):
    for kind in schema["properties"]["predictor"]["anyOf"][1:]:
        for key, rule in kind["properties"].items():
            assert rule["expected"].strip(), key


@pytest.mark.parametrize(
    ("key", "meant"), [("patchsize", "patch_size"), ("Images", "images"), ("channel", "channels")]
)
def test_unknown_key_is_refused_with_the_one_that_was_meant(refusal, key, meant):
    assert refusal(**{key: 1}) == f"{key}: unknown key; did you mean {meant}? (config.yaml)"


def test_unknown_key_like_no_other_is_refused_with_all_keys(schema, refusal):
    line = refusal(zzz=1)
    assert line.startswith("zzz: unknown key; the keys are ")
    assert all(key in line for key in schema["properties"])


def test_unknown_key_of_control_characters_is_refused_in_one_line(refusal):
    assert refusal(**{"a\rb": 1}).startswith("a\\rb: unknown key")


def test_key_that_is_no_text_is_refused():
    with pytest.raises(ConfigError, match="7: unknown key"):
        load_settings({7: 1})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.data(), json_values)
def test_any_value_is_taken_or_refused_in_one_line(schema, data, value):
    key = data.draw(st.sampled_from(sorted(schema["properties"])))
    line = ""
    try:
        load_settings({key: value})
    except ConfigError as error:
        line = str(error)
    assert len(line.splitlines()) <= 1


@given(st.data(), json_values)
def test_any_value_within_a_predictor_is_taken_or_refused_in_one_line(schema, data, value):
    kinds = schema["properties"]["predictor"]["anyOf"][1:]
    kind = data.draw(st.sampled_from([option["properties"]["kind"]["enum"][0] for option in kinds]))
    keys = {key for option in kinds for key in option["properties"]} - {"kind"}
    key = data.draw(st.sampled_from(sorted(keys)) | st.text(max_size=4))
    line = ""
    try:
        load_settings({"predictor": {"kind": kind, "path": "a", "name": "b", key: value}})
    except ConfigError as error:
        line = str(error)
    assert len(line.splitlines()) <= 1


# resolution


def test_one_of_level_mpp_and_gsd_is_given(refusal, load):
    assert load(level=0, mpp=0.5).reading.mpp == 0.5
    assert refusal(level=1, mpp=0.5) == (
        "level 1 and mpp 0.5 exclude each other; keep one of level, mpp and gsd (config.yaml: level, mpp)"
    )
    assert "mpp 0.5 and gsd 10.0 exclude each other" in refusal(mpp=0.5, gsd=10)


def test_whole_number_for_mpp_names_the_same_results_as_a_decimal(load):
    for value in (1, 1.0, "1", "1.0"):
        assert load(mpp=value).reading.as_dict() == load(mpp=1.0).reading.as_dict()
        assert str(load(mpp=value).mpp) == "1.0"


@pytest.mark.parametrize("value", [0, -1, "wide", True])
def test_mpp_is_a_positive_number(refusal, value):
    assert "must be micrometres per pixel" in refusal(mpp=value)


# skipping


def test_bounds_of_skipping_are_numbers_wherever_they_are_written(load):
    given = {"nodata": 1, "background": {"tissue_below": 0.1}}
    from_shell = {"nodata": "1", "background": {"tissue_below": "0.1"}}
    for skip in (given, from_shell, str(from_shell)):
        assert str(load(skip=skip).reading.skip) == "{'nodata': 1.0, 'background': {'tissue_below': 0.1}}"


@pytest.mark.parametrize(
    "skip",
    [
        {},
        {"nodata": 0},
        {"nodata": 1.5},
        {"background": {}},
        {"background": {"tissue": 1}},
        {"cloud": 1},
        "all",
    ],
)
def test_skip_takes_bounds_of_what_it_knows(refusal, skip):
    assert "skip" in refusal(skip=skip)


def test_refusal_of_a_bound_names_its_place(refusal):
    assert refusal(skip={"background": {"tissue_below": 2}}) == (
        "skip: background: tissue_below is 2.0; it must be a share of pixels over 0 and up to 1 "
        "(config.yaml: skip: background: tissue_below)"
    )
