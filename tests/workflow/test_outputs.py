"""From a folder of images to the dictionary: what it holds, under which names."""

import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
import yaml
from PIL import Image

from quadrat import open_predictions
from studies import means, patches, write_image

NOISE = np.random.default_rng(0)
RGB = NOISE.integers(0, 256, (90, 130, 3), np.uint8)
PLANES = RGB.transpose(2, 0, 1)
DEEP = NOISE.integers(0, 65536, (90, 130), np.uint16)
SMOOTH = np.add.outer(np.arange(90), np.arange(130)).astype(np.uint8)[..., None].repeat(3, 2)

DEFLATE = {"compression": "zlib", "predictor": True}

LAYOUTS = {
    "strips.tif": (RGB, {"photometric": "rgb", "rowsperstrip": 7}),
    "deflate_tiles.tif": (RGB, {"photometric": "rgb", "tile": (16, 32), **DEFLATE}),
    "lzw.tif": (DEEP, {"tile": (32, 32), "compression": "lzw"}),
    "planar.tif": (PLANES, {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 9}),
    "jpeg.tif": (SMOOTH, {"photometric": "rgb", "tile": (32, 32), "compression": "jpeg"}),
    "bigtiff.tif": (DEEP, {"bigtiff": True}),
    "big_endian.tif": (DEEP, {"byteorder": ">", **DEFLATE}),
}


@pytest.fixture(scope="module")
def all_formats(tmp_path_factory):
    """Return a study of one image of each layout, run on two cores, and the pixels of each image."""
    from studies import PATCH_SIZE, Study

    study = Study(tmp_path_factory.mktemp("formats") / "study")
    study.images.mkdir(parents=True)
    study.configure(patch_size=PATCH_SIZE)
    for name, (pixels, options) in LAYOUTS.items():
        tifffile.imwrite(study.images / name, pixels, **options)
    Image.fromarray(RGB).save(study.images / "rgb.png")
    Image.fromarray(DEEP).save(study.images / "deep.png")
    Image.fromarray(SMOOTH).save(study.images / "baseline.jpg", quality=90)
    Image.fromarray(SMOOTH).save(study.images / "progressive.jpg", quality=90, progressive=True)
    # Beside them metadata of GDAL, a scan in a format that is not read, and an array in a folder.
    (study.images / "rgb.png.aux.xml").write_text("<PAMDataset/>")
    (study.images / "scan.nd2").write_bytes(b"nd2")
    (study.images / "array.zarr/0").mkdir(parents=True)
    (study.images / "array.zarr/0/0.png").touch()
    study.first = study.run()
    assert study.first.code == 0, study.first.output
    loaded = {name: tifffile.imread(study.images / name) for name in LAYOUTS}
    loaded["planar.tif"] = loaded["planar.tif"].transpose(1, 2, 0)
    for name in ("rgb.png", "deep.png", "baseline.jpg", "progressive.jpg"):
        loaded[name] = np.asarray(Image.open(study.images / name))
    return study, loaded


def test_run_says_what_it_did_not_read_and_what_was_done_to_pixels(all_formats):
    study, _ = all_formats
    notes = pd.read_csv(study.results / "images.tsv", sep="\t", index_col=0).notes.dropna()
    place = "no place on Earth, and not read beside the image: .aux.xml "
    assert set(notes.index) == {"jpeg.tif", "rgb.png"}
    assert notes["jpeg.tif"] == "YCbCr converted to RGB"
    assert notes["rgb.png"].startswith(place)
    overview = (study.results / "overview.html").read_text()
    for shown in (study.first.output, overview):
        assert shown.count(f"rgb.png: {place}") == 1
        assert "jpeg.tif: YCbCr converted to RGB" in shown
        assert "not taken: 1 .nd2; export them as OME-TIFF" in shown
        assert "not taken: 1 .zarr; " in shown


def test_every_layout_gives_the_means_of_the_plain_loop_bit_for_bit(all_formats):
    study, loaded = all_formats
    assert study.dictionary == {name: means(loaded[name]) for name in sorted(loaded)}


def test_the_parquet_and_the_mapping_hold_what_the_json_holds(all_formats):
    study, _ = all_formats
    predictions = open_predictions(study.results)
    assert predictions.to_dict() == study.dictionary
    table = pq.read_table(study.results / "predictions.parquet").to_pandas()
    grouped = table.groupby("filename", sort=False).prediction.apply(list).to_dict()
    assert grouped == study.dictionary


@pytest.mark.long
def test_one_core_and_two_give_the_same_bytes(all_formats):
    study, _ = all_formats
    before = study.merged_bytes()
    study.configure(results="one_core", maps=False)
    run = study.run(cores=1)
    assert run.code == 0, run.output
    study.results = study.path / "one_core"
    assert study.merged_bytes() == before


def test_files_come_out_under_their_own_names(study):
    names = [
        "a b.tif",
        "a.tif",
        "a.png",
        "x/a.tif",
        "y/a.tif",
        "ü.tif",
        "100%.tif",
        "-a.tif",
        "it's.tif",
        "#1.tif",
        "$HOME.tif",
        "a&b;c.tif",
        'quo"te.tif',
        "back\\slash.tif",
        "site=1/a.tif",
        "*.tif",
        "[a].tif",
        "_a.tif",
        "tab\there.tif",
        "{a}.tif",
        "<key>.tif",
        "n" * 240 + ".tif",
        "deep/" + "ü" * 110 + ".tif",
    ]
    pixels = {}
    for seed, name in enumerate(names):
        if name.endswith(".png"):
            pixels[name] = np.full((40, 40), seed, np.uint8)
            Image.fromarray(pixels[name]).save(study.images / name)
        else:
            pixels[name] = write_image(study.images / name, seed, 40, 70)
    (study.images / "line\nbreak.tif").write_bytes((study.images / "a.tif").read_bytes())
    run = study.run()
    assert study.dictionary == {name: means(pixels[name]) for name in sorted(names)}
    assert run.code == 1
    failed = [line for line in run.output.splitlines() if line.startswith("  line\\nbreak.tif:")]
    assert len(failed) == 1
    assert "rename" in failed[0]
    links = {
        os.path.relpath(os.path.join(folder, name), study.results / "predictions")
        for folder, _, found in os.walk(study.results / "predictions")
        for name in found
    }
    assert {f"{name}.parquet" for name in names if len(os.fsencode(name)) < 180} <= links
    assert len(links) == len(names)
    assert study.run().predicted == 0


def test_a_users_function_equals_the_built_in_mean_bit_for_bit(all_formats):
    study, _ = all_formats
    expected = study.dictionary
    (study.path / "model.py").write_text("from numpy import mean as predict_patch\n")
    predictor = {"kind": "python", "path": "model.py", "name": "predict_patch"}
    study.configure(results="by_function", maps=False, predictor=predictor)
    run = study.run()
    assert run.code == 0, run.output
    assert open_predictions(study.path / "by_function").to_dict() == expected


def test_settings_can_be_given_on_the_command_line(study):
    write_image(study.images / "a.tif", 1)
    pixels = write_image(study.images / "b.tif", 2)
    run = study.run("--config", "patch_size=48", "channels=[2,1]", "include=b*", "results=elsewhere")
    assert run.code == 0, run.output
    study.results = study.path / "elsewhere"
    assert study.dictionary == {"b.tif": means(pixels[..., [1, 0]], 48)}


def test_what_a_later_configuration_file_says_is_not_mixed_with_what_an_earlier_one_says(study):
    pixels = write_image(study.images / "a.tif", 1)
    write_image(study.images / "b.tif", 2)
    (study.path / "function.py").write_text("from numpy import max as predict_patch\n")
    predictor = {"kind": "statistics", "of": ["mean", "max"], "per_channel": True}
    study.configure(predictor=predictor, skip={"nodata": 1.0}, include=["a*"])
    own = {"kind": "python", "path": "function.py", "name": "predict_patch"}
    mine = {"predictor": own, "skip": {"background": {"mean_above": 255}}}
    (study.path / "mine.yaml").write_text(yaml.safe_dump(mine))
    run = study.run("--configfile", "mine.yaml", "--config", "predictor={kind: statistics, of: min}")
    assert run.code == 0, run.output
    assert study.dictionary == {"a.tif": [float(patch.min()) for patch in patches(pixels)]}
    used = yaml.safe_load((study.results / "run.yaml").read_text())["configuration"]
    assert used["predictor"] == {"kind": "statistics", "of": "min"}
    assert used["skip"] == {"background": {"mean_above": 255}}
    assert study.run("--configfile", "mine.yaml").code == 0
    assert study.dictionary == {"a.tif": [float(patch.max()) for patch in patches(pixels)]}


def test_columns_of_a_users_table_pass_through(study):
    pixels = write_image(study.images / "a.tif", 1)
    write_image(study.images / "b.tif", 2)
    (study.images / "chosen.tsv").write_text("site\tfilename\tyear\nnorth; wet\ta.tif\t2024\n")
    study.configure(images="images/chosen.tsv")
    run = study.run()
    assert run.code == 0, run.output
    assert study.dictionary == {"a.tif": means(pixels)}
    table = pd.read_csv(study.results / "images.tsv", sep="\t")
    assert table[["filename", "status", "patches", "site", "year"]].values.tolist() == [
        ["a.tif", "ok", 12, "north; wet", 2024]
    ]


def test_folders_of_a_list_prefix_their_filenames(study):
    pixels = write_image(study.path / "drop_1/a.tif", 1), write_image(study.path / "drop_2/a.tif", 2)
    study.configure(images=["drop_1", "drop_2"])
    run = study.run()
    assert run.code == 0, run.output
    assert study.dictionary == {"drop_1/a.tif": means(pixels[0]), "drop_2/a.tif": means(pixels[1])}


def test_the_library_beside_the_workflow_is_used_whatever_is_installed(study):
    pixels = write_image(study.images / "a.tif", 1)
    (study.path / "installed/quadrat").mkdir(parents=True)
    (study.path / "installed/quadrat/__init__.py").write_text("raise RuntimeError('the wrong quadrat')\n")
    run = study.run(python_path=study.path / "installed")
    assert run.code == 0, run.output
    assert study.dictionary == {"a.tif": means(pixels)}
