import geopandas
import numpy as np
import pytest
import tifffile
from shapely.geometry import box

from quadrat.errors import ConfigError
from quadrat.jobs.trial import try_predictor
from quadrat.plan.region_files import RegionFiles
from studies import write_network


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return the configuration of a network that takes three channels and outputs one number."""
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    write_network(path, [1, 0.5, 0.25])
    return {"kind": "onnx", "path": str(path)}


@pytest.fixture
def outcome(make_task, network):
    """Return a function from images to the one that was predicted, or to why none was."""

    def find(*paths, predictor=network, **changes):
        try:
            return try_predictor([make_task(path, predictor=predictor, **changes) for path in paths])
        except ConfigError as error:
            return str(error)

    return find


@pytest.fixture
def write_gray(images):
    """Return a function that writes an image of one channel, and returns its path."""

    def write(name):
        tifffile.imwrite(images / name, np.zeros((64, 64), np.uint8))
        return images / name

    return write


@pytest.fixture
def broken(images):
    (images / "broken.tif").write_bytes(b"II*\0" + bytes(100))
    return images / "broken.tif"


def test_first_image_that_can_be_read_is_predicted_and_nothing_is_written(
    outcome, broken, write_tiff, images
):
    whole = write_tiff("half.tif").path.read_bytes()
    (images / "half.tif").write_bytes(whole[: len(whole) // 8])
    before = {path.name for path in images.iterdir()}
    paths = [broken, images / "half.tif", images / "gone.tif", write_tiff("a.tif").path]
    assert outcome(*paths) == "a.tif"
    assert {path.name for path in images.iterdir()} == before | {"a.tif"}


def test_images_that_cannot_be_read_blame_no_configuration(outcome, broken):
    assert outcome(broken, broken) == ""


def test_images_whose_patches_are_all_skipped_decide_nothing(outcome, write_tiff, network):
    wrong = network | {"labels": ["land", "water"]}
    skipped = {"skip": {"background": {"mean_above": -1}}}
    assert outcome(write_tiff("a.tif").path, predictor=wrong, **skipped) == ""


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (
            {"labels": ["land", "water"], "argmax": True},
            "predictor: the model outputs 1 classes but 2 labels are given; give one label per class "
            "(config.yaml: predictor: labels); tried on a.tif",
        ),
        (
            {"split": True, "input_size": 24, "reduce": "mean"},
            "predictor: a patch of 32 x 32 px cannot be split into tiles of 24 x 24 px; change one of them "
            "(config.yaml: patch_size, edge, or predictor: split); tried on a.tif",
        ),
    ],
)
def test_predictor_that_fails_is_blamed_by_its_key(outcome, write_tiff, network, wrong, expected):
    paths = [write_tiff(name).path for name in ("a.tif", "b.tif")]
    assert outcome(*paths, predictor=network | wrong) == expected


def test_predictor_that_cannot_be_loaded_needs_no_image_that_can_be_read(outcome, broken, network):
    found = outcome(broken, predictor=network | {"output": "scores"})
    assert found.startswith("predictor: ")
    assert found.endswith("has no output scores; choose one of y (config.yaml: predictor: output)")


def test_predictions_that_cannot_be_stored_are_refused(outcome, write_tiff, user_code):
    code = user_code("def predict_patch(patch):\n    return None\n")
    found = outcome(write_tiff("a.tif").path, predictor=code)
    assert found.startswith("predictor: predictions are None; return numbers")


def test_code_that_fails_on_one_image_is_tried_on_another(outcome, write_tiff, user_code):
    image = write_tiff("a.tif", seed=1)
    corner = image.pixels[:32, :32].sum()
    code = user_code(f"def predict_patch(patch):\n    return 1 / int(patch.sum() != {corner})\n")
    assert outcome(image.path, write_tiff("b.tif", seed=2).path, predictor=code) == "b.tif"
    found = outcome(image.path, predictor=code)
    assert found == (
        "predictor: ZeroDivisionError: division by zero (my_model.py, line 3); "
        "tried on a.tif, patch row 0, col 0"
    )


def test_channels_that_no_image_has_blame_the_configuration(outcome, write_gray, write_tiff):
    grays = [write_gray(name) for name in ("a.tif", "b.tif", "c.tif")]
    assert outcome(*grays) == (
        "no image fits: the model takes 3 channels, but 1 of the image are read; "
        "choose them with channels in config.yaml; tried on a.tif and 2 more"
    )
    assert outcome(*grays, write_tiff("d.tif").path) == "d.tif"


def test_regions_in_a_reference_system_blame_themselves_when_no_image_has_one(outcome, write_tiff, tmp_path):
    path = str(tmp_path / "areas.gpkg")
    geopandas.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs="EPSG:4326").to_file(path)
    paths = [write_tiff(name).path for name in ("a.tif", "b.tif")]
    files = RegionFiles(path)
    files.check()
    found = outcome(*paths, predictor={"kind": "mean"}, regions=files.task("a.tif", files.hash))
    assert found.startswith("no image fits: it has no georeference, which the regions areas.gpkg need; ")
    assert found.endswith("(config.yaml: regions); tried on a.tif and 1 more")
