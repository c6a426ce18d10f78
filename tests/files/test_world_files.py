import os

import numpy as np
import pytest
import rasterio
import tifffile

from quadrat.files.world_files import PLACED_ENDINGS, WORLD_ENDINGS, find_world_file, read_world_file

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
WORLD_FILE = "10\n0\n0\n-10\n500005\n3999995\n"


@pytest.fixture
def places(tmp_path):
    """Return a function from a text to the transforms that quadrat and GDAL read of it, and the problem."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.uint8), metadata=None)

    def read(content):
        path = tmp_path / "a.tfw"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with rasterio.open(tmp_path / "a.tif") as image:
            gdal = None if image.transform.is_identity else tuple(image.transform)[:6]
        return *read_world_file(str(path)), gdal

    return read


READABLE = {
    "plain": WORLD_FILE,
    "of Windows": WORLD_FILE.replace("\n", "\r\n"),
    "of an old Macintosh": WORLD_FILE.replace("\n", "\r"),
    "with a comma": "10,5\n0\n0\n-10,5\n500005,25\n3999995\n",
    "with empty lines and spaces": "\n 10 \n\n0\n0\n\t-10\n500005\n3999995",
    "with remarks": "10 metres\n0\n0\n-10 metres\n500005\n3999995\nUTM 12 N\n",
    "with exponents and signs": "+1.0E+1\n0\n.0\n-1e1\n5.00005e5\n3999995.\n",
    "rotated": "8.5\n3\n2\n-9\n500005\n3999995\n",
    "turned by a right angle": "0\n5\n-5\n0\n1\n2\n",
    "upwards": "10\n0\n0\n10\n500005\n3999995\n",
}


@pytest.mark.parametrize("name", READABLE)
def test_place_of_a_world_file_is_that_of_gdal(name, places):
    transform, problem, gdal = places(READABLE[name])
    assert transform == pytest.approx(gdal)
    assert problem == ""


BROKEN = {
    "": "it has 0 of 6 lines",
    WORLD_FILE[:-8]: "it has 5 of 6 lines",
    "10 0 0 -10 500005 3999995": "it has 1 of 6 lines",
    "a\nb\nc\nd\ne\nf\n": "line 1 is not a number",
    WORLD_FILE.replace("3999995", "nan"): "line 6 is not a number",
    WORLD_FILE.replace("3999995", "inf"): "line 6 is not a number",
    WORLD_FILE.replace("500005", "500,005.5"): "line 5 is not a number",
    WORLD_FILE.replace("500005", "5D5"): "line 5 is not a number",
    WORLD_FILE.replace("10\n", "1_0\n"): "line 1 is not a number",
    WORLD_FILE + " " * 10_000: "it is larger than 10 kB",
}


@pytest.mark.parametrize("content", BROKEN)
def test_world_file_without_a_place_has_a_problem(content, places):
    """GDAL takes some of them for another place."""
    transform, problem, _ = places(content)
    assert (transform, problem) == (None, BROKEN[content])


def test_world_file_in_another_encoding_has_a_problem(places):
    assert places(WORLD_FILE.encode("utf-16"))[0] is None
    assert places(b"\xef\xbb\xbf" + WORLD_FILE.encode())[0] == (10, 0, 5e5, 0, -10, 4e6)


def test_huge_world_file_is_not_read_whole(tmp_path):
    with open(tmp_path / "a.tfw", "wb") as file:
        file.truncate(1 << 40)
    assert read_world_file(str(tmp_path / "a.tfw")).problem == "it is larger than 10 kB"


def test_world_file_is_the_one_that_gdal_takes_first(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.uint8), metadata=None)
    names = ["a.tfw", "a.tifw", "a.wld"]
    for number, name in enumerate(names, start=1):
        (tmp_path / name).write_text(f"{number}\n0\n0\n-1\n0\n0\n")
    for number, name in enumerate(names, start=1):
        with rasterio.open(tmp_path / "a.tif") as image:
            assert image.transform.a == number
        assert find_world_file(str(tmp_path / "a.tif")) == str(tmp_path / name)
        (tmp_path / name).unlink()
    assert find_world_file(str(tmp_path / "a.tif")) is None


def test_what_is_no_file_is_no_world_file(tmp_path):
    (tmp_path / "a.tfw").mkdir()
    (tmp_path / "a.TFW").symlink_to("gone")
    os.mkfifo(tmp_path / "a.wld")
    assert find_world_file(str(tmp_path / "a.tif")) is None


def test_every_ending_of_a_world_file_is_looked_for():
    for ending in PLACED_ENDINGS:
        for other in WORLD_ENDINGS:
            assert find_world_file(f"a{ending}", {f"a{other}"}.__contains__) in (None, f"a{other}")
    assert {find_world_file("b.svs", lambda path: True), find_world_file("tif", lambda path: True)} == {None}
