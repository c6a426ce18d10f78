"""Files that are bands of one image."""

import os

import pytest

from quadrat.errors import ConfigError
from quadrat.files.scenes import as_scene
from quadrat.plan.inventory import find_images
from quadrat.plan.scenes import describe_layouts

LC09 = "LC09_L2SP_038031_20230712_20230714_02_T1"
L1 = LC09.replace("L2SP", "L1TP")
HLS = "HLS.L30.T13TGF.2021001T174141.v2.0"
ARD = "LC08_CU_026013_20230712_20230801_02"
SAFE = "S2B_MSIL2A_20230712T180919_N0509_R084_T12TUL_20230712T220149.SAFE"
PIXELS = f"{SAFE}/GRANULE/L2A_T12TUL_A033153_20230712T181848/IMG_DATA"


@pytest.fixture
def found(images, make_settings):
    """Return a function that writes empty files, and returns the scenes found by their names."""

    def found(*filenames, **config):
        for filename in filenames:
            path = images / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"pixels")
        return {image.filename: image for image in find_images(make_settings(**config))}

    return found


def bands(image, images):
    """Return the bands of a scene as the names of their files below the images folder."""
    return {name: path.partition(f"{images.name}/")[2] for name, path in as_scene(image.path).bands.items()}


@pytest.mark.parametrize(
    ("scenes", "channels", "files", "scene"),
    [
        ("landsat", ["SR_B5", "SR_B4"], [f"{LC09}_SR_B4.TIF", f"{LC09}_SR_B5.TIF"], LC09),
        ("landsat", ["B10"], [f"a/b/{L1}_B10.TIF"], f"a/b/{L1}"),
        ("landsat", ["SR_B5"], [f"{ARD}_SR_B5.tif"], ARD),
        ("landsat", ["B05", "Fmask"], [f"north/{HLS}.B05.tif", f"north/{HLS}.Fmask.tif"], f"north/{HLS}"),
        ("sentinel-2", ["B8A"], [f"{PIXELS}/R20m/T12TUL_20230712T180919_B8A_20m.jp2"], SAFE),
        (
            "sentinel-2",
            ["B04"],
            [f"x/{SAFE.replace('2A', '1C')}/GRANULE/L1C_T12TUL/IMG_DATA/T12TUL_20230712T180919_B04.jp2"],
            f"x/{SAFE.replace('2A', '1C')}",
        ),
        ({"pattern": "{scene}_{band}.tif"}, ["dapi", "cy3"], ["p/w1_dapi.tif", "p/w1_cy3.tif"], "p/w1"),
        ({"pattern": "{scene}/*_{band}.tif"}, ["red"], ["p/x/2020_red.tif"], "p/x"),
        ({"pattern": "{band}/{scene}.tif"}, ["red", "nir"], ["red/1.tif", "nir/1.tif"], "1"),
    ],
)  # fmt: skip
def test_files_of_the_usual_names_are_one_image(scenes, channels, files, scene, found, images):
    # The first file of its layout that is not chosen is no image of its own.
    images_found = found(*files, scenes=scenes, channels=channels)
    assert list(images_found) == [scene]
    assert images_found[scene].problem == ""
    assert sorted(bands(images_found[scene], images).values()) == sorted(files)
    assert list(bands(images_found[scene], images)) == channels
    assert [path.partition("images/")[2] for path in images_found[scene].files] == [
        bands(images_found[scene], images)[name] for name in channels
    ]


def test_safe_folder_is_its_bands_of_10_metres_and_each_band_the_finest(found, images):
    files = [
        f"{PIXELS}/R{metres}m/T12TUL_20230712T180919_{band}_{metres}m.jp2"
        for metres, names in {10: "B02 B03 B04 B08 TCI", 20: "B02 B03 B04 B05 SCL", 60: "B01 B02 B05"}.items()
        for band in names.split()
    ]
    others = [f"{SAFE}/preview.jp2", f"{SAFE}/GRANULE/x/QI_DATA/T12TUL_PVI.jp2", "S2B-ql.jpg"]
    (scene,) = found(*files, *others, scenes="sentinel-2").values()
    assert scene.filename == SAFE
    assert bands(scene, images) == {
        name: f"{PIXELS}/R10m/T12TUL_20230712T180919_{name}_10m.jp2" for name in ("B02", "B03", "B04", "B08")
    }
    (scene,) = found(scenes="sentinel-2", channels=["B05", "B02", "B01"]).values()
    assert [path.rpartition("_")[2] for path in bands(scene, images).values()] == [
        "20m.jp2",
        "10m.jp2",
        "60m.jp2",
    ]
    # The folder of the images is the scene itself.
    (scene,) = found(scenes="sentinel-2", images=str(images / SAFE)).values()
    assert scene.filename == SAFE


def test_bands_that_are_missing_or_there_twice_are_one_failure(found):
    files = [f"{LC09}_SR_B4.TIF", f"{LC09}_SR_B5.TIF", f"{LC09}_SR_B5.tiff", f"{LC09}_QA_PIXEL.TIF"]
    (scene,) = found(*files, scenes="landsat", channels=["SR_B3", "SR_B4"]).values()
    assert scene.problem == "has no band SR_B3; it has QA_PIXEL, SR_B4, SR_B5"
    assert scene.files == {}
    (scene,) = found(scenes="landsat", channels=["SR_B5"]).values()
    assert scene.problem.startswith(f"has 2 files of band SR_B5: {LC09}_SR_B5.TIF, ")


def test_band_that_is_no_file_of_its_own_is_named(found, images):
    (images / f"{LC09}_SR_B4.TIF").symlink_to("/etc/hostname")
    (scene,) = found(f"{LC09}_SR_B5.TIF", scenes="landsat", channels=["SR_B5", "SR_B4"]).values()
    assert scene.problem == "its band SR_B4: a link that leaves the images folder is not followed"
    assert "follow_links" in scene.hint


def test_include_and_exclude_choose_among_scenes(found):
    files = [f"{place}/{LC09}_SR_B4.TIF" for place in ("north", "south")]
    config = {"scenes": "landsat", "channels": ["SR_B4"]}
    assert list(found(*files, **config, exclude=["south/*"])) == [f"north/{LC09}"]


def test_folder_without_a_scene_is_refused(found):
    with pytest.raises(ConfigError, match=r"none of the 1 files, such as a\.tif, is a band of a scene"):
        found("a.tif", scenes="landsat", channels=["SR_B4"])


def test_names_that_are_no_names_of_results_are_no_scenes(found):
    pattern = {"scenes": {"pattern": "{scene}{band}.tif"}, "channels": ["B1"]}
    odd = ["aB1.tif", "B1.tif", "x/B1.tif", "x/..B1.tif", "x/...B1.tif"]
    assert list(found(*odd, **pattern)) == ["a"]


def test_names_with_quotes_braces_and_spaces_are_kept(found, images):
    names = [f"x y/it's {{\"bands\": 'a\\\\b'}}_{band}.tif" for band in ("B1", "B 2")]
    pattern = {"pattern": "{scene}_{band}.tif"}
    (scene,) = found(*names, scenes=pattern, channels=["B1", "B 2"]).values()
    assert scene.filename == names[0].removesuffix("_B1.tif")
    assert bands(scene, images) == dict(zip(["B1", "B 2"], names, strict=True))
    (scene,) = found("a\u2028b_B1.tif", scenes=pattern, channels=["B1"], include=["a*"]).values()
    assert scene.problem == "its band B1: the name contains a line break or another control character"


def test_file_that_is_called_like_the_path_of_a_scene_is_a_file(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = '{"bands":{"a":"/etc/hostname"},"resample":"nearest"}'
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"pixels")
    (tmp_path / "list.txt").write_text(name)
    (image,) = found(images="list.txt").values()
    assert as_scene(image.path) is None
    assert [os.path.samefile(path, name) for path in image.files] == [True]
    (image,) = found('{"bands":x_B1.tif', images="images").values()
    assert (image.filename, image.problem) == ('{"bands":x_B1.tif', "")


def test_safe_folder_of_two_granules_is_one_failure(found):
    names = [f"{SAFE}/GRANULE/{granule}/IMG_DATA/R10m/{granule}_B02_10m.jp2" for granule in ("A", "B")]
    (scene,) = found(*names, scenes="sentinel-2", channels=["B02"]).values()
    assert scene.problem.startswith(f"has 2 files of band B02: {SAFE}/GRANULE/")


def test_folder_that_is_a_link_is_listed_as_without_scenes(found, images, tmp_path):
    (tmp_path / SAFE).mkdir()
    (images / SAFE).symlink_to(tmp_path / SAFE)
    scenes = found(f"{LC09}_SR_B4.TIF", scenes="landsat", channels=["SR_B4"])
    assert {name: image.problem != "" for name, image in scenes.items()} == {f"{SAFE}/": True, LC09: False}
    assert "follow_links" in scenes[f"{SAFE}/"].hint
    place = tmp_path / PIXELS / "R10m/T12TUL_20230712T180919_B02_10m.jp2"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"pixels")
    followed = found(scenes="sentinel-2", channels=["B02"], follow_links=True)
    assert {name: image.problem for name, image in followed.items()} == {SAFE: ""}


def test_scenes_of_several_folders_and_of_tables(found, images, tmp_path):
    names = [f"{place}/{LC09}_SR_B4.TIF" for place in ("north", "south")]
    config = {"scenes": "landsat", "channels": ["SR_B4"]}
    folders = [str(images / place) for place in ("north", "south")]
    expected = [f"{place}/{LC09}" for place in ("north", "south")]
    assert list(found(*names, images=folders, **config)) == expected
    (tmp_path / "list.txt").write_text("".join(f"images/{name}\n" for name in names))
    assert list(found(images=str(tmp_path / "list.txt"), **config)) == [f"images/{name}" for name in expected]
    table = "filename,path,site\n" + "".join(f"{name},images/{name},{name[0]}\n" for name in names)
    (tmp_path / "list.csv").write_text(table)
    scenes = found(images=str(tmp_path / "list.csv"), **config)
    assert {name: image.columns["site"] for name, image in scenes.items()} == {
        name: name[0] for name in expected
    }


def test_files_beside_a_band_are_beside_the_scene(found):
    names = [f"{LC09}_SR_B4.TIF", f"{LC09}_SR_B4.TIF.ovr", f"{LC09}_SR_B5.TIF", f"{LC09}_SR_B5.TIF.ovr"]
    (scene,) = found(*names, scenes="landsat", channels=["SR_B4", "SR_B5"]).values()
    assert scene.sidecars == [".ovr"]


def test_bands_without_the_key_are_described_with_the_layout():
    names = [f"{LC09}_SR_B4.TIF", f"{LC09}_SR_B5.TIF", f"{HLS}.B05.tif", "a.tif", f"{PIXELS}/T12_TCI.jp2"]
    assert describe_layouts(names) == [
        "3 of the images are single bands of 2 scenes; `scenes: landsat` makes one image of each scene "
        "(config.yaml: scenes)",
        "1 of the images is a single band of 1 scene; `scenes: sentinel-2` makes one image of each scene "
        "(config.yaml: scenes)",
    ]


def test_scenes_look_at_each_file_once(found, images, monkeypatch):
    names = [f"{scene}_{band}.tif" for scene in range(50) for band in ("r", "g", "b", "n")]
    for name in names:
        (images / name).write_bytes(b"pixels")
    looked, stat = [], os.stat
    monkeypatch.setattr(os, "stat", lambda path, *given, **options: (looked.append(path), stat(path))[1])
    assert len(found(scenes={"pattern": "{scene}_{band}.tif"}, channels=["r", "g", "b", "n"])) == 50
    assert len([path for path in looked if str(path).endswith(".tif")]) == len(names)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scenes": "landsat"}, "channels is missing; with scenes, set it to the names of the bands"),
        ({"scenes": "landsat", "channels": [3, 2, 1]}, r"channels is \[3, 2, 1\]; with scenes, set it to"),
        ({"channels": ["SR_B4"]}, r"channels is \[SR_B4\]; it must be a list of channels counted from 1"),
        ({"channels": ["B4", "B4"], "scenes": "landsat"}, r"channels is \[B4, B4\]; it must be"),
        ({"scenes": "modis", "channels": ["B4"]}, "scenes is modis; it must be landsat, sentinel-2, "),
        ({"scenes": {"pattern": "{scene}.tif"}, "channels": ["B4"]}, "scenes: pattern is '{scene}.tif'"),
        ({"scenes": {"pattern": "{scene}{band}{band}"}, "channels": ["B4"]}, "scenes: pattern is "),
        ({"scenes": {"resample": "cubic"}, "channels": ["B4"]}, "scenes: pattern is missing"),
    ],
    ids=str,
)  # fmt: skip
def test_configuration_that_names_no_bands_is_refused_in_one_line(config, message, make_settings):
    with pytest.raises(ConfigError, match=f"^{message}"):
        make_settings(**config)
