import os

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import yaml
from rasterio.transform import Affine

from quadrat import open_image
from quadrat.files.unread import SIDECARS, find_sidecars, not_taken, sidecar_notes
from quadrat.files.world_files import WORLD_ENDINGS, find_world_file

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SCHEMA = "scripts/quadrat/config.schema.yaml"

PLACE = Affine(10, 0, 500_000, 0, -10, 4_000_000)
# Files that may hold the place: lines of a world file count from the centre of the first pixel.
WORLD_FILE = "10\n0\n0\n-10\n500005\n3999995\n"
TAB = """!table
!version 300
!charset WindowsLatin1
Definition Table
  File "a.tif"
  Type "RASTER"
  (500000,4000000) (0,0) Label "1",
  (500640,4000000) (64,0) Label "2",
  (500000,3999360) (0,64) Label "3"
  CoordSys Earth Projection 8, 104, "m", -111, 0, 0.9996, 500000, 0
"""
AUX = "<PAMDataset><GeoTransform>500000, 10, 0, 4000000, 0, -10</GeoTransform></PAMDataset>"
TEXTS = {".tab": TAB, ".xml": AUX}

FORMATS = {
    **dict.fromkeys((".tif", ".TIFF", ".tf8", ".btf", ".ptif", ".qptiff"), "GTiff"),
    **dict.fromkeys((".jpg", ".jpeg", ".JFIF"), "JPEG"),
    ".png": "PNG",
    ".jp2": "JP2OpenJPEG",
    ".gif": "GIF",
    ".webp": "WEBP",
}


@pytest.fixture
def write_image(tmp_path):
    """Return a function that writes an image without a place as GDAL does, and returns its path."""

    def write(name, driver):
        pixels = np.random.default_rng(1).integers(0, 256, (1 if driver == "GIF" else 3, 64, 64), np.uint8)
        size = {"height": 64, "width": 64, "count": len(pixels), "dtype": "uint8"}
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", **size) as plain:
                plain.write(pixels)
            with memory.open() as plain:
                rasterio.shutil.copy(plain, tmp_path / name, driver=driver)
        return tmp_path / name

    return write


@pytest.mark.parametrize("ending", FORMATS)
def test_files_beside_an_image_with_its_place_are_those_from_which_gdal_reads_it(
    ending, write_image, tmp_path
):
    path = write_image(f"a{ending}", FORMATS[ending])
    candidates = [f"a{other}" for other in sorted(SIDECARS | WORLD_ENDINGS | {".TFW", ".Wld"})]
    candidates += [f"a{ending}.aux.xml", "a.aux.xml", f"a{ending}.tfw", "b.wld", "a.prj"]
    used = []
    for name in candidates:
        text = TEXTS.get(os.path.splitext(name)[1], WORLD_FILE)
        (tmp_path / name).write_text(text)
        with rasterio.open(path) as image:
            if image.transform.almost_equals(PLACE):
                used.append(name)
        with open_image(path) as image:
            is_world_file = name in used and not name.endswith((".tab", ".xml", ".Wld"))
            assert image.info.transform == (tuple(PLACE)[:6] if is_world_file else None)
            assert find_world_file(str(path)) == (str(tmp_path / name) if is_world_file else None)
        (tmp_path / name).unlink()
    # In a folder that GDAL lists, it finds endings in mixed case, too.
    found = [name for name in candidates if find_sidecars(f"a{ending}", {name})]
    assert found == [name for name in used if name.endswith((".tab", ".xml"))]
    assert len(found) == (2 if FORMATS[ending] in ("GTiff", "JPEG") else 1)


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_overviews_and_mask_beside_an_image_are_found_where_gdal_reads_them(ending, write_image, tmp_path):
    path = write_image(f"a{ending}", FORMATS[ending])
    for name in (f"a{ending}.ovr", "a.ovr"):
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", height=32, width=32, count=3, dtype="uint8"
        ) as half:
            half.write(np.ones((3, 32, 32), np.uint8))
        with rasterio.open(path) as image:
            assert bool(image.overviews(1)) == bool(find_sidecars(f"a{ending}", {name}))
        (tmp_path / name).unlink()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(path, "r+") as image:
        image.write_mask(np.eye(64, dtype=bool))
    assert (tmp_path / f"a{ending}.msk").exists()
    assert find_sidecars(f"a{ending}", set(os.listdir(tmp_path))) == [".msk"]
    with open_image(path) as image:
        assert not image.mask


@pytest.mark.parametrize("sidecar", [".tab", ".jpg.aux.xml"])
def test_command_of_the_note_writes_the_place_into_the_image(sidecar, write_image, tmp_path):
    path = write_image("a.jpg", "JPEG")
    (tmp_path / f"a{sidecar}").write_text(TEXTS[os.path.splitext(f"a{sidecar}")[1]])
    (note,) = sidecar_notes([sidecar], has_place=False)
    assert "gdal_translate IN OUT.tif" in note
    # What gdal_translate calls.
    rasterio.shutil.copy(path, tmp_path / "OUT.tif", driver="GTiff")
    with open_image(tmp_path / "OUT.tif") as image:
        assert Affine(*image.info.transform).almost_equals(PLACE)


def test_sidecars_of_an_image_with_a_place_are_named_without_a_way_out():
    (note,) = sidecar_notes([".tab", ".aux.xml", ".ovr"], has_place=True)
    assert note == "not read beside the image: .tab, .aux.xml, .ovr"


def test_images_that_were_not_taken_are_counted_with_what_helps():
    left_out = {".nd2": 3, ".nc": 1, ".lif": 12_000, ".txt": 5, "": 2, "hidden": 4, ".tfw": 8, ".xml": 9}
    assert not_taken(left_out) == [
        "not taken: 12,000 .lif, 3 .nd2; export them as OME-TIFF, with QuPath or bfconvert",
        "not taken: 1 .nc; convert the arrays that gdalinfo lists: gdal_translate ARRAY OUT.tif",
    ]
    assert not_taken({".txt": 5, "": 2, "hidden": 4, ".tfw": 8}) == []


def test_lines_on_images_that_were_not_taken_are_few():
    lines = not_taken(dict.fromkeys((".czi", ".nc", ".heic", ".img", ".bmp"), 1))
    assert len(lines) == 3
    assert "snakemake inspect" in lines[-1]


def test_image_of_a_default_ending_that_a_configuration_leaves_out_is_named_with_the_key():
    with open(SCHEMA) as file:
        default = yaml.safe_load(file)["properties"]["extensions"]["default"]
    (line,) = not_taken(dict.fromkeys(default, 1))
    assert all(f"1 {ending}" in line for ending in default)
    assert line.endswith("`extensions` (config.yaml)")


@pytest.mark.parametrize(("ending", "driver"), [(".jfif", "JPEG"), (".j2k", "JP2OpenJPEG"), (".gif", "GIF")])
def test_image_whose_ending_may_be_added_is_read(ending, driver, write_image):
    assert "to take them" in not_taken({ending: 1})[0]
    path = write_image(f"a{ending}", driver)
    with open_image(path) as image:
        assert (image.info.height, image.info.width) == (64, 64)
