"""Files that are bands of one image."""

import pytest

from quadrat.errors import ConfigError
from quadrat.files.scenes import as_scene
from quadrat.plan.inventory import find_images

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
