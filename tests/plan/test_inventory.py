import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from quadrat.errors import ConfigError
from quadrat.plan.inventory import find_images


@pytest.fixture
def put(images):
    """Return a function that writes files of a few bytes into the images folder."""

    def write(*filenames):
        for filename in filenames:
            path = images / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"pixels")

    return write


@pytest.fixture
def find(make_settings):
    """Return a function from configuration keys to the images found."""
    return lambda **config: find_images(make_settings(**config))


@pytest.fixture
def filenames(find):
    """Return a function from configuration keys to the filenames found."""
    return lambda **config: [image.filename for image in find(**config)]


@pytest.fixture
def write_table(tmp_path):
    """Return a function that writes a table beside the images folder, and returns its path."""

    def write(text, encoding="utf-8", ending=".tsv"):
        path = tmp_path / f"images{ending}"
        path.write_bytes(text.encode(encoding, "surrogateescape"))
        return str(path)

    return write


# folders


def test_folder_is_searched_recursively_and_filenames_are_relative_to_it(put, filenames):
    put("b.tif", "a.tif", "north/a.tif", "north/far/c.tif")
    assert filenames() == ["a.tif", "b.tif", "north/a.tif", "north/far/c.tif"]


def test_image_is_found_with_the_path_and_status_of_its_file(put, find, images):
    put("north/a.tif")
    (image,) = find()
    assert os.path.samefile(image.path, images / "north/a.tif")
    assert list(image.files.values()) == [os.stat(images / "north/a.tif")]
    assert (image.problem, image.hint, image.columns) == ("", "", {})


def test_files_of_one_stem_are_different_images(put, filenames):
    put("a.tif", "a.png", "a.tif.jpg")
    assert filenames() == ["a.png", "a.tif", "a.tif.jpg"]


def test_hidden_files_and_folders_of_file_servers_are_no_images(put, filenames):
    put(
        "a.tif",
        ".a.tif",
        "._a.tif",
        ".snapshot/a.tif",
        "@eaDir/a.tif",
        "north/.thumbs/a.tif",
        "north/@eaDir/a.tif",
    )
    assert filenames() == ["a.tif"]


def test_results_folder_among_the_images_is_not_searched(put, filenames, images):
    put("a.tif", "north/results/predictions/a.tif", "results/b.tif")
    assert filenames(results=str(images / "north/results")) == ["a.tif", "results/b.tif"]


def test_results_folder_is_not_searched_by_another_way_to_it(put, filenames, images, tmp_path):
    put("a.tif", "results/b.tif")
    (tmp_path / "link").symlink_to(images / "results")
    assert filenames(results=str(tmp_path / "link")) == ["a.tif"]


def test_extensions_hold_in_any_case_and_other_files_are_passed_over(put, filenames):
    put("a.tif", "b.TIF", "c.Tiff", "d.PNG", "e.txt", "f.tif.aux.xml", "tif", "g.SVS")
    assert filenames() == ["a.tif", "b.TIF", "c.Tiff", "d.PNG", "g.SVS"]


def test_tiff_files_of_other_names_are_images_by_default(put, filenames):
    names = ["a.ome.btf", "b.ptif", "c.qptiff", "d.tf2", "e.ome.tf8"]
    put(*names)
    assert filenames() == names


def test_extensions_of_the_configuration_hold(put, filenames):
    put("a.tif", "b.ome.tif", "c.dat")
    assert filenames(extensions=[".OME.tif", ".dat"]) == ["b.ome.tif", "c.dat"]


def test_sidecars_of_an_image_are_those_beside_it_with_its_name(put, find):
    put("a.tif", "a.tab", "a.tif.aux.xml", "b.TIF", "b.TAB", "b.TIF.OVR", "c.tif", "c.xml", "north/c.tab")
    put("north/a.tif", "north/a.tif.msk", "d.tif.jpg", "d.tab", "a.txt", "C.tab")
    found = {image.filename: list(image.sidecars) for image in find() if image.sidecars}
    assert found == {"a.tif": [".tab", ".aux.xml"], "b.TIF": [".tab", ".ovr"], "north/a.tif": [".msk"]}


def test_sidecars_of_images_in_several_folders_are_not_mixed_up(put, find, images):
    put("2023/a.tif", "2023/a.tab", "2023/a.tfw", "2024/a.tif")
    found = find(images=[str(images / "2023"), str(images / "2024")])
    assert [list(image.sidecars) for image in found] == [[".tab"], []]
    assert [len(image.files) for image in found] == [2, 1]


def test_sidecars_of_images_of_a_table_are_found(put, find, write_table):
    put("a.tif", "a.tfw", "a.tab", "north/b.tif", "north/b.tif.ovr", "north/c.tif", "north/c.tfw")
    table = write_table("filename\nimages/a.tif\nimages/north/b.tif\nmissing/d.tif\n")
    found = find(images=table)
    assert [list(image.sidecars) for image in found] == [[".tab"], [".ovr"], []]
    assert [len(image.files) for image in found] == [2, 1, 0]


def test_world_file_of_an_image_is_one_of_its_files(put, find, images):
    put(
        "a.tif",
        "a.wld",
        "a.tfw",
        "b.JPG",
        "b.JGW",
        "c.png",
        "c.tfw",
        "north/c.pgw",
        "d.svs",
        "d.wld",
        "e.tif",
    )
    found = {image.filename: [*map(os.path.basename, image.files)] for image in find()}
    assert found == {
        "a.tif": ["a.tif", "a.tfw"],
        "b.JPG": ["b.JPG", "b.JGW"],
        "c.png": ["c.png"],
        "d.svs": ["d.svs"],
        "e.tif": ["e.tif"],
    }
    (image, *_) = find()
    assert list(image.files.values()) == [os.stat(images / "a.tif"), os.stat(images / "a.tfw")]
    assert image.size == 12


def test_images_of_other_formats_are_counted_by_their_endings(put, find, make_settings):
    put("a.tif", "b.czi", "north/c.CZI", "d", "notes.txt")
    left_out = Counter()
    find_images(make_settings(), left_out)
    assert {ending: left_out[ending] for ending in (".czi", "", ".txt", ".tif")} == {
        ".czi": 2,
        "": 1,
        ".txt": 1,
        ".tif": 0,
    }


def test_zarr_folder_is_one_thing_and_not_searched(put, images, make_settings):
    put("a.tif", "plate.ome.zarr/0/0.0", "plate.ome.zarr/0/thumb.png", "B.ZARR/0")
    (images / "linked.zarr").symlink_to(images / "B.ZARR")
    left_out = Counter()
    found = find_images(make_settings(), left_out)
    assert [(image.filename, image.problem) for image in found] == [("a.tif", "")]
    assert +left_out == {".zarr": 3}


def test_folder_without_an_image_that_is_taken_is_refused_with_what_it_holds(put, find):
    put("a.nd2", "b.nd2", "c.txt")
    with pytest.raises(
        ConfigError, match=r"no file in it ends in .*; not taken: 2 \.nd2; export them as OME-TIFF"
    ):
        find()


def test_include_and_exclude_choose_by_filename(put, filenames):
    put("a.tif", "north/a.tif", "north/a_mask.tif", "south/a.tif")
    assert filenames(include=["north/*", "a.tif"], exclude=["*_mask.tif"]) == ["a.tif", "north/a.tif"]


def test_star_of_a_glob_also_matches_a_slash(put, filenames):
    put("north/far/a.tif", "south/a.tif")
    assert filenames(include=["north/*"]) == ["north/far/a.tif"]


def test_globs_distinguish_upper_from_lower_case(put, filenames):
    put("a.tif", "A.tif")
    assert filenames(exclude=["A*"]) == ["a.tif"]


def test_folders_of_a_list_prefix_the_filenames(put, filenames, images):
    put("2023/a.tif", "2024/a.tif", "2024/north/b.tif", "2025/a.tif")
    chosen = [str(images / "2024") + "/", str(images / "2023")]
    assert filenames(images=chosen) == ["2023/a.tif", "2024/a.tif", "2024/north/b.tif"]


def test_two_folders_of_one_name_are_refused(put, find, images):
    put("2023/drop/a.tif", "2024/drop/a.tif")
    with pytest.raises(ConfigError, match="both are called drop"):
        find(images=[str(images / "2023/drop"), str(images / "2024/drop")])


@pytest.fixture
def disk(tmp_path):
    """Return a folder outside of the images, which holds an image, and a folder with another."""
    disk = tmp_path / "disk"
    (disk / "far").mkdir(parents=True)
    for filename in ("a.tif", "far/b.tif"):
        (disk / filename).write_bytes(b"pixels of another disk")
    return disk


def problems(found):
    return {image.filename: image.problem for image in found if image.problem}


def test_link_within_the_images_is_an_image_with_the_status_of_the_file(put, find, images):
    put("north/a.tif")
    (images / "b.tif").symlink_to(images / "north/a.tif")
    first, second = find()
    assert (first.filename, second.filename) == ("b.tif", "north/a.tif")
    assert [*first.files.values(), *second.files.values()] == [os.stat(images / "north/a.tif")] * 2


def test_links_that_leave_the_images_are_listed_with_the_key_that_follows_them(put, find, images, disk):
    put("c.tif")
    (images / "a.tif").symlink_to(disk / "a.tif")
    (images / "b.tif").symlink_to("../disk/far/b.tif")
    (images / "d.tif").symlink_to("b.tif")
    found = find()
    assert [image.filename for image in found] == ["a.tif", "b.tif", "c.tif", "d.tif"]
    assert set(problems(found)) == {"a.tif", "b.tif", "d.tif"}
    assert all("leaves the images folder" in problem for problem in problems(found).values())
    assert all("follow_links: true" in image.hint for image in found if image.problem)


def test_links_that_leave_the_images_are_followed_when_asked(find, images, disk):
    (images / "a.tif").symlink_to(disk / "a.tif")
    (images / "north").symlink_to(disk)
    found = find(follow_links=True)
    assert [image.filename for image in found] == ["a.tif", "north/a.tif", "north/far/b.tif"]
    assert problems(found) == {}
    assert list(found[0].files.values()) == [os.stat(disk / "a.tif")]


def test_images_folder_may_itself_be_a_link(put, find, images, tmp_path):
    put("a.tif")
    (tmp_path / "link").symlink_to(images)
    (images / "b.tif").symlink_to(images / "a.tif")
    assert problems(find(images=str(tmp_path / "link"))) == {}


def test_file_that_a_table_names_by_a_link_out_of_its_folder_is_listed(put, find, write_table, disk):
    (disk.parent / "images/link").symlink_to(disk / "far")
    put("a.tif")
    table = write_table("filename\nimages/a.tif\nimages/link/b.tif\ndisk/a.tif\n")
    assert problems(find(images=table)) == {}
    (disk.parent / "images/out.tif").symlink_to("/etc/hostname")
    table = write_table("filename\nimages/a.tif\nimages/out.tif\n")
    assert set(problems(find(images=table))) == {"images/out.tif"}
    assert problems(find(images=table, follow_links=True)) == {}


@pytest.mark.parametrize("linked", ["folder", "file"])
def test_slide_whose_folder_or_file_is_a_link_out_of_the_images_is_listed(linked, put, find, images, disk):
    put("a.mrxs", "b.mrxs", "b/Slidedat.ini")
    (disk / "Slidedat.ini").write_bytes(b"secret")
    if linked == "folder":
        (images / "a").symlink_to(disk)
    else:
        (images / "a").mkdir()
        (images / "a/Slidedat.ini").symlink_to(disk / "Slidedat.ini")
    (problem,) = [image.problem for image in find() if image.filename == "a.mrxs"]
    name = "a" if linked == "folder" else "Slidedat.ini"
    assert problem == f"{name}: a link that leaves the images folder is not followed"
    assert problems(find(follow_links=True)) == {}
    (images / "chosen.tsv").write_text("filename\na.mrxs\nb.mrxs\n")
    assert set(problems(find(images=str(images / "chosen.tsv")))) == {"a.mrxs"}


def test_image_whose_world_file_is_a_link_out_of_the_images_is_listed(put, find, images, disk):
    put("a.tif", "b.tif", "c.tfw", "d.tif")
    (images / "a.tfw").symlink_to(disk / "a.tif")
    (images / "b.tfw").symlink_to("c.tfw")
    (images / "d.tfw").symlink_to("gone")
    put("d.wld")
    assert problems(find()) == {
        "a.tif": "its world file a.tfw: a link that leaves the images folder is not followed"
    }
    found = find(follow_links=True)
    assert [len(image.files) for image in found] == [2, 2, 2]
    assert str(images / "d.wld") in found[2].files


def test_vrt_that_a_table_names_is_no_image_where_extensions_leave_vrt_out(put, find, write_table):
    put("a.vrt", "b.dat")
    table = write_table("filename\nimages/a.vrt\nimages/b.dat\n")
    assert problems(find(images=table)) == {}
    found = problems(find(images=table, extensions=[".tif"]))
    assert found == {"images/a.vrt": "a VRT, which extensions leave out"}


def test_linked_folder_is_listed_and_not_searched(put, find, images, disk):
    put("a.tif")
    (images / "north").symlink_to(disk)
    found = find()
    assert [image.filename for image in found] == ["a.tif", "north/"]
    assert "follow_links: true" in found[1].hint


@pytest.mark.parametrize("follow_links", [False, True])
def test_loops_of_links_end_and_are_listed(put, find, images, follow_links):
    put("a.tif", "north/b.tif")
    (images / "north/up").symlink_to(images)
    (images / "north/same").symlink_to(".")
    (images / "c.tif").symlink_to("d.tif")
    (images / "d.tif").symlink_to("c.tif")
    found = find(follow_links=follow_links)
    listed = ["a.tif", "c.tif", "d.tif", "north/b.tif", "north/same/", "north/up/"]
    assert [image.filename for image in found] == listed
    assert set(problems(found)) == {"c.tif", "d.tif", "north/same/", "north/up/"}
    assert problems(found)["c.tif"] == "cannot be opened: Too many levels of symbolic links"


def test_folder_that_several_links_lead_to_is_searched_once_as_the_first_of_them(find, images, disk):
    (images / "z").symlink_to(disk)
    (images / "y").symlink_to(disk / "far")
    found = find(follow_links=True)
    assert [image.filename for image in found] == ["y/b.tif", "z/a.tif", "z/far/"]
    assert problems(found) == {"z/far/": "it is already searched, as y"}


def test_doors_between_folders_do_not_multiply_what_is_searched(find, images, disk):
    for number in range(30):
        folder = disk / str(number)
        folder.mkdir()
        for side in "lr":
            (folder / side).symlink_to(disk / str(number + 1))
    (images / "in").symlink_to(disk / "0")
    (disk / "30").mkdir()
    (disk / "30/a.tif").write_bytes(b"pixels")
    found = find(follow_links=True)
    assert len(found) == 31
    assert len(problems(found)) == 30


def test_broken_link_is_listed_with_its_problem(put, find, images):
    put("a.tif")
    (images / "b.tif").symlink_to("no_such_file")
    assert [(image.filename, image.problem) for image in find()] == [
        ("a.tif", ""),
        ("b.tif", "cannot be opened: No such file or directory"),
    ]


def test_what_is_no_file_is_listed_and_not_opened(put, find, images):
    put("a.tif")
    os.mkfifo(images / "b.tif")  # opening it would wait for a writer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(images / "c.tif"))
    (images / "d.tif").symlink_to("/dev/zero")
    assert problems(find()) == {
        "b.tif": "it is not a file but a pipe",
        "c.tif": "it is not a file but a socket",
        "d.tif": "it is not a file but a device",
    }


def test_folder_that_ends_like_an_image_is_searched(put, filenames):
    put("scene.tif/a.tif")
    assert filenames() == ["scene.tif/a.tif"]


@pytest.fixture
def closed_folder():
    """Return a folder of an image and a folder that only root can list."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        (images / "closed").mkdir(parents=True)
        (images / "a.tif").write_bytes(b"a")
        (images / "closed/b.tif").write_bytes(b"b")
        os.chmod(folder, 0o755)
        (images / "closed").chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        yield images
        if is_root:
            os.seteuid(0)
        (images / "closed").chmod(0o755)


@contextmanager
def as_owner():
    """Let a test change what the closed folder holds."""
    effective = os.geteuid()
    os.seteuid(os.getuid())
    yield
    os.seteuid(effective)


def test_folder_that_cannot_be_listed_is_a_problem_of_its_own(find, closed_folder):
    found = find(images=str(closed_folder), results=str(closed_folder / "results"))
    assert [image.filename for image in found] == ["a.tif", "closed/"]
    assert "Permission denied" in found[1].problem


def test_images_folder_that_cannot_be_listed_stops_with_its_name(find, closed_folder):
    folder = str(closed_folder / "closed")
    with pytest.raises(
        ConfigError, match=r"^images .*/closed: the folder cannot be listed: Permission denied \(config"
    ):
        find(images=folder, results=str(closed_folder / "results"))


def test_file_that_cannot_be_read_is_listed_with_its_problem(find, closed_folder):
    with as_owner():
        (closed_folder / "a.tif").chmod(0)
    found = find(images=str(closed_folder), results=str(closed_folder / "results"))
    assert problems(found)["a.tif"] == "cannot be opened: Permission denied"


def test_files_of_a_folder_that_can_only_be_listed_are_problems(find, closed_folder):
    with as_owner():
        (closed_folder / "closed").chmod(0o755)
        (closed_folder / "closed/inner").mkdir(mode=0o755)
        (closed_folder / "closed").chmod(0o444)
    found = find(images=str(closed_folder), results=str(closed_folder / "results"))
    assert problems(found) == {
        "closed/b.tif": "cannot be opened: Permission denied",
        "closed/inner/": "folder cannot be listed: Permission denied",
    }


@pytest.mark.parametrize("names", [("a.tif", "A.tif", "a.TIF"), ("\u00e9.tif", "e\u0301.tif")])
def test_names_that_differ_in_case_or_normalisation_are_different_images(put, filenames, names):
    put(*names)
    assert filenames() == sorted(names)


# names that cannot be carried


def test_name_that_is_not_utf_8_is_listed_and_can_be_shown(find, images):
    (Path(os.fsdecode(os.fsencode(images) + b"/a\xff.tif"))).write_bytes(b"")
    (image,) = find()
    assert image.filename.encode() == rb"a\xff.tif"
    assert "not valid UTF-8" in image.problem
    assert "rename" in image.hint


def test_folder_whose_name_cannot_be_shown_is_listed_as_it_can(find, images):
    (images / "a\x1b[2J").symlink_to(".")
    (Path(os.fsdecode(os.fsencode(images) + b"/b\xff"))).symlink_to(".")
    assert [image.filename for image in find()] == [r"a\x1b[2J/", r"b\xff/"]


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x7f", "\x9b"])
def test_name_with_a_control_character_is_listed_in_one_line(put, find, character):
    put(f"a{character}b.tif")
    (image,) = find()
    assert image.filename == f"a{character}b.tif".encode("unicode_escape").decode()
    assert "line break or another control character" in image.problem


@pytest.mark.parametrize(
    "name", ["a b.tif", "ü.tif", "100%.tif", "-a.tif", "it's.tif", "#1.tif", "a\tb.tif", '"a".tif', "雪.tif"]
)
def test_other_names_are_taken(put, find, name):
    put(name)
    (image,) = find()
    assert (image.filename, image.problem) == (name, "")


# tables


def test_table_lists_images_relative_to_itself(put, find, images):
    put("a.tif", "north/b.tif", "c.tif")
    (images / "chosen.tsv").write_text("filename\nnorth/b.tif\na.tif\n")
    found = find(images=str(images / "chosen.tsv"))
    assert [image.filename for image in found] == ["a.tif", "north/b.tif"]
    assert all(os.path.samefile(image.path, images / image.filename) for image in found)


def test_columns_of_a_table_pass_through(put, find, write_table):
    put("a.tif", "b.tif")
    table = write_table("site\tfilename\tnote\n7\timages/a.tif\t\nü\timages/b.tif\ttwo words\n")
    assert [image.columns for image in find(images=table)] == [
        {"site": "7", "note": ""},
        {"site": "ü", "note": "two words"},
    ]


def test_table_takes_files_of_any_extension_and_the_globs_hold(put, filenames, write_table):
    put("a.dat", "b.dat")
    table = write_table("filename\nimages/a.dat\nimages/b.dat\n")
    assert filenames(images=table, exclude=["*/b.dat"]) == ["images/a.dat"]


def test_table_of_another_system_is_read(put, find, write_table):
    put("a.tif", "ü.tif")
    table = write_table("filename\tsite\r\nimages/a.tif\t1\r\nimages/ü.tif\t2\r\n\r\n", encoding="utf-8-sig")
    assert [(image.filename, image.columns, image.problem) for image in find(images=table)] == [
        ("images/a.tif", {"site": "1"}, ""),
        ("images/ü.tif", {"site": "2"}, ""),
    ]


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x85", "\x1c"])
def test_only_line_ends_divide_the_rows_of_a_table(put, find, write_table, separator):
    put("a.tif")
    (image,) = find(images=write_table(f"filename\tnote\nimages/a.tif\tone{separator}two\n"))
    assert image.columns == {"note": f"one{separator}two"}


def test_file_that_a_table_lists_and_is_not_there_is_listed_as_failed(put, find, write_table):
    put("a.tif")
    found = find(images=write_table("filename\tsite\nimages/a.tif\t1\nimages/gone.tif\t2\nimages\t3\n"))
    assert [(image.filename, image.problem, image.columns["site"]) for image in found] == [
        ("images", "it is not a file but a folder", "3"),
        ("images/a.tif", "", "1"),
        ("images/gone.tif", "cannot be opened: No such file or directory", "2"),
    ]


BAD_TABLES = {
    "duplicate": ("filename\na.tif\nb.tif\na.tif\n", "a.tif is on lines 2 and 4"),
    "the same file in two spellings": ("filename\na.tif\n./a.tif\n", "a.tif is on lines 2 and 3"),
    "absolute": ("filename\n/data/a.tif\n", "'/data/a.tif' on line 2 must be a path relative to the table"),
    "parent": ("filename\nx/../a.tif\n", "'x/../a.tif' on line 2 must be a path relative to the table"),
    "blank": ("filename\tsite\n\t1\n", "'' on line 2 must be a path relative to the table"),
    "no column filename": (
        "file\tsite\na.tif\t1\n",
        "has the columns file, site; it needs a column `filename`",
    ),
    "commas": ("filename,site\na.tif,1\n", "has the columns filename,site; it needs a column `filename`"),
    "nothing": ("", "has the columns none; it needs a column `filename`"),
    "short line": ("filename\tsite\na.tif\n", "line 2 and line 1 have different numbers of columns"),
    "long line": (
        "filename\tsite\na.tif\t1\nb.tif\t1\t2\n",
        "line 3 and line 1 have different numbers of columns",
    ),
    "folder": ("filename\n./\n", "'./' on line 2 must be a path relative to the table"),
    "no rows": ("filename\n", "lists no image"),
    "two files of one name": (
        "filename\tpath\na.tif\tx/a.tif\na.tif\ty/a.tif\n",
        "a.tif is on lines 2 and 3",
    ),
    "open quote": ('filename\n"a.tif\nb.tif\n', "the row below line 1 has a quote that is not closed"),
    "long cell": (
        f"filename\n{'a' * 200_000}\n",
        "the row below line 1 has a quote that is not closed or that other text follows, or a cell of more",
    ),
    "own column": ("filename\tstatus\na.tif\tgood\n", "column status"),
    "column twice": ("filename\tsite\tsite\na.tif\t1\t2\n", "column site"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_table_is_refused_in_one_line(find, write_table, case):
    text, message = BAD_TABLES[case]
    table = write_table(text)
    with pytest.raises(ConfigError) as caught:
        find(images=table)
    assert message in str(caught.value)
    assert table in str(caught.value)
    assert "\n" not in str(caught.value)


def test_table_that_cannot_be_read_is_refused(find, tmp_path, write_table):
    with pytest.raises(ConfigError, match=r"no\.tsv: cannot be read"):
        find(images=str(tmp_path / "no.tsv"))
    with pytest.raises(ConfigError, match=r"images\.tsv: line 2 is not UTF-8; save the table as UTF-8"):
        find(images=write_table("filename\nü.tif\n", encoding="latin-1"))
    with pytest.raises(ConfigError, match=r"images\.txt: has null bytes, as UTF-16 and find -print0"):
        find(images=write_table("images/a.tif\0images/b.tif\0", ending=".txt"))


def test_table_of_commas_is_read_with_its_quotes(put, find, write_table):
    put("a.tif", "b, c.tif", "d.tif")
    text = 'filename{0}note\nimages/a.tif{0}"say ""yes"", or\nno"\n"images/b, c.tif"{0}\n"images/d.tif"{0}1\n'
    for separator in ",;":
        table = write_table(text.format(separator).replace("\n", "\r\n"), "utf-8-sig", ending=".CSV")
        assert [(image.filename, image.columns["note"], image.problem) for image in find(images=table)] == [
            ("images/a.tif", 'say "yes", or\nno', ""),
            ("images/b, c.tif", "", ""),
            ("images/d.tif", "1", ""),
        ]


def test_path_of_a_table_says_where_an_image_is_and_filename_how_it_is_called(put, find, write_table, disk):
    put("a.tif", "c.tif", "c.tif.ovr")
    table = write_table(
        "filename,path,site\n"
        f"north/1.svs,{disk}/far/b.tif,7\n"
        "2.svs,images/a.tif,8\n"
        "images/c.tif,,9\n"
        "4.svs,../nowhere.tif,\n",
        ending=".csv",
    )
    found = find(images=table)
    assert [image.filename for image in found] == ["2.svs", "4.svs", "images/c.tif", "north/1.svs"]
    assert [os.path.realpath(image.path) for image in found] == [
        *(str(disk.parent / "images/a.tif"), str(disk.parent.parent / "nowhere.tif")),
        *(str(disk.parent / "images/c.tif"), str(disk / "far/b.tif")),
    ]
    assert problems(found) == {"4.svs": "cannot be opened: No such file or directory"}
    assert [image.columns["site"] for image in found] == ["8", "", "9", "7"]
    assert list(found[2].sidecars) == [".ovr"]


def test_name_in_a_table_that_cannot_be_carried_is_listed_whatever_its_path(put, find, write_table):
    put("a.tif")
    (image,) = find(images=write_table('filename,path\n"a\nb.tif",images/a.tif\n', ending=".csv"))
    assert (image.filename, image.problem) == (
        r"a\nb.tif",
        "the name contains a line break or another control character",
    )


def found_by_find(folder, *start):
    """Return what find writes of the images below some places, for somebody in a folder."""
    command = ["find", *start, "-name", "*.tif"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


def test_list_that_find_writes_names_the_images_as_their_folder_does(put, find, filenames, images):
    put("b.tif", "a b.tif", "north/a,1;.tif", 'north/"q".tif', "#1.tif")
    (Path(os.fsdecode(os.fsencode(images) + b"/\xff.tif"))).write_bytes(b"")
    in_folder = [(image.filename, image.problem) for image in find()]
    (images / "list.txt").write_bytes(found_by_find(images, "."))
    listed = find(images=str(images / "list.txt"))
    assert [(image.filename, image.problem) for image in listed] == in_folder
    assert all(os.path.samefile(image.path, images / image.filename) for image in listed if not image.problem)


def test_paths_of_a_list_that_leave_its_folder_are_named_by_all_of_the_path(put, find, tmp_path, images):
    put("a.tif", "north/b.tif")
    (tmp_path / "lists/new").mkdir(parents=True)
    whole = [f"{images}/{name}".lstrip("/") for name in ("a.tif", "north/b.tif")]
    for start, place in ((images, "lists/absolute.txt"), ("../../images", "lists/new/relative.txt")):
        table = tmp_path / place
        table.write_bytes(found_by_find(table.parent, start))
        found = find(images=str(table))
        assert [(image.filename, image.problem) for image in found] == [(name, "") for name in whole]
        assert all(os.path.samefile(image.path, f"/{image.filename}") for image in found)


def test_names_of_a_list_do_not_depend_on_its_other_lines(put, filenames, write_table, images):
    put("north/a.tif", "south/b.tif")
    alone = filenames(images=write_table(f"{images}/north/a.tif\n", ending=".txt"))
    with_others = write_table(f"{images}/north/a.tif\n/elsewhere/c.tif\nimages/south/b.tif\n", ending=".txt")
    assert set(alone) < set(filenames(images=with_others))


def test_list_of_another_system_with_blank_and_repeated_lines_is_read(put, filenames, write_table, images):
    put("a.tif", "b.tif")
    text = f"\r\nimages/b.tif\r\n \r\nimages/a.tif\r\n./images/b.tif\r\n{images}/b.tif\r\n"
    assert filenames(images=write_table(text, "utf-8-sig", ".txt")) == ["images/a.tif", "images/b.tif"]


@pytest.mark.parametrize("header", ["filename\tsite", '"filename"\t"site"', "filename,site", "filename;site"])
def test_text_file_with_a_column_filename_is_a_table(put, find, write_table, header):
    put("a.tif")
    separator = header.strip('"').replace("filename", "").replace("site", "").strip('"')
    (image,) = find(images=write_table(f"{header}\nimages/a.tif{separator}1\n", ending=".txt"))
    assert (image.filename, image.columns) == ("images/a.tif", {"site": "1"})


def test_two_files_of_one_name_in_a_list_are_refused(find, write_table):
    table = write_table("data/a.tif\n/data/a.tif\n", ending=".txt")
    with pytest.raises(ConfigError, match=r"data/a.tif is on lines 1 and 2; list it once, or rename"):
        find(images=table)


def test_drawings_in_the_results_are_no_images_of_a_list(put, filenames, make_settings, tmp_path):
    put("a.png")
    (tmp_path / "results/maps").mkdir(parents=True)
    (tmp_path / "results/maps/a.png.png").write_bytes(b"a map")
    (tmp_path / "list.txt").write_text("./images/a.png\n./results/maps/a.png.png\n")
    left_out = Counter()
    found = find_images(make_settings(images=str(tmp_path / "list.txt")), left_out)
    assert [image.filename for image in found] == ["images/a.png"]
    assert left_out["in the results folder"] == 1


def test_links_of_a_list_are_followed_within_its_folder_and_elsewhere_when_asked(
    find, write_table, images, disk
):
    (images / "link.tif").symlink_to(disk / "a.tif")
    (disk / "same.tif").symlink_to("a.tif")
    (disk / "out.tif").symlink_to("/etc/hostname")
    (images / "far").symlink_to(disk / "far")
    # Lines of the folder of the list may be links to anything in it, others to what lies beside them.
    text = "images/link.tif\nimages/far/b.tif\n"
    table = write_table(text, ending=".txt")
    assert problems(find(images=table)) == {}
    (images / "lists").mkdir()
    table = images / "lists/list.txt"
    table.write_text(f"{disk}/same.tif\n{disk}/out.tif\n{images}/far/b.tif\n{images}/link.tif\n")
    refused = {f"{disk}/out.tif".lstrip("/"), f"{images}/link.tif".lstrip("/")}
    assert set(problems(find(images=str(table)))) == refused
    assert problems(find(images=str(table), follow_links=True)) == {}


def test_long_list_takes_few_looks_at_the_disk(images, find, monkeypatch):
    for number in range(200):
        (images / f"{number}.tif").write_bytes(b"")
    (images / "list.txt").write_text("".join(f"./{number}.tif\n" for number in range(200)))
    looks = Counter()
    for name in ("stat", "lstat", "readlink"):
        looked = getattr(os, name)

        def count(*arguments, _name=name, _look=looked, **options):
            looks[_name] += 1
            return _look(*arguments, **options)

        monkeypatch.setattr(os, name, count)
    assert len(find(images=str(images / "list.txt"))) == 200
    assert looks.total() < 2.5 * 200


# one file


def test_one_file_is_named_by_its_own_name_whatever_its_ending(put, find, images):
    put("north/a.dat", "north/b.tif", "c.tif")
    (image,) = find(images=str(images / "north/a.dat"))
    assert (image.filename, image.path, image.problem) == ("a.dat", str(images / "north/a.dat"), "")


def test_files_and_folders_can_be_listed_together(put, filenames, images):
    put("2023/a.tif", "2024/a.tif", "b.svs")
    chosen = [str(images / name) for name in ("2023", "b.svs", "2024/a.tif")]
    assert filenames(images=chosen) == ["2023/a.tif", "a.tif", "b.svs"]
    with pytest.raises(ConfigError, match=r"both are called a\.tif"):
        filenames(images=[str(images / "2023/a.tif"), str(images / "2024/a.tif")])


def test_table_among_several_is_refused(put, filenames, images, write_table):
    put("a.tif")
    with pytest.raises(ConfigError, match=r"images\.csv: a table cannot be one of several; name it alone"):
        filenames(images=[str(images), write_table("filename\nimages/a.tif\n", ending=".csv")])


def test_folder_that_ends_like_a_table_is_a_folder(put, filenames, images):
    put("scans.csv/a.tif", "scans.txt/b.tif")
    assert filenames(images=str(images / "scans.csv")) == ["a.tif"]
    assert filenames(images=[str(images / "scans.txt")]) == ["scans.txt/b.tif"]


def test_link_that_the_configuration_names_is_followed_and_its_parts_are_not(put, find, images, disk):
    (images / "a.tif").symlink_to(disk / "a.tif")
    assert problems(find(images=str(images / "a.tif"))) == {}
    put("b.mrxs")
    (images / "b").symlink_to(disk)
    assert set(problems(find(images=str(images / "b.mrxs")))) == {"b.mrxs"}


def test_one_slide_or_vrt_is_found_with_all_its_files(put, find, images):
    put("a.mrxs", "a/Slidedat.ini", "a/Data0.dat", "b.tif")
    source = '<SourceFilename relativeToVRT="1">b.tif</SourceFilename>'
    (images / "c.vrt").write_text(f"<VRTDataset>{source}</VRTDataset>")
    names = {"a.mrxs": ["a.mrxs", "a/Data0.dat", "a/Slidedat.ini"], "c.vrt": ["c.vrt", "b.tif"]}
    for name, files in names.items():
        (image,) = find(images=str(images / name))
        assert [os.path.relpath(file, images) for file in image.files] == files
    (image,) = find(images=str(images / "c.vrt"), extensions=[".tif"])
    assert image.problem == "a VRT, which extensions leave out"


def test_what_is_no_file_is_listed_and_not_opened_where_the_configuration_names_it(find, images):
    os.mkfifo(images / "b.tif")
    assert problems(find(images=str(images / "b.tif"))) == {"b.tif": "it is not a file but a pipe"}


# nothing there


def test_missing_folder_stops_with_what_to_do(find, tmp_path):
    with pytest.raises(ConfigError) as caught:
        find(images=str(tmp_path / "nowhere"))
    assert str(caught.value) == (
        f"images {tmp_path}/nowhere: no such folder or file; create it or name another, such as "
        "--config images=/data/my_images (config.yaml: images)"
    )


def test_key_of_a_storage_that_is_given_for_a_folder_is_not_reported(find):
    with pytest.raises(ConfigError, match=r"^images s3://\*\*\*@bucket: no such folder"):
        find(images="s3://key:secret@bucket")


def test_folder_without_images_stops_with_what_to_do(put, find):
    put("notes.txt")
    with pytest.raises(ConfigError, match=r"no file in it ends in \.tif .*\.vrt; put images there"):
        find()


def test_globs_that_leave_nothing_stop_with_their_keys(put, find):
    put("a.tif", "b.tif")
    with pytest.raises(
        ConfigError,
        match=r"include and exclude leave out all 2 images; change them \(config\.yaml: include, exclude\)",
    ):
        find(exclude=["*"])


def test_order_does_not_depend_on_the_disk(put, filenames):
    names = [f"{index:02d}.tif" for index in range(20)]
    put(*reversed(names), "z/a.tif", "z.tif")
    listed = filenames()
    assert listed == sorted([*names, "z/a.tif", "z.tif"])


def test_inventory_needs_no_image_library(put, make_settings, tmp_path):
    put("a.tif")
    program = (
        "import sys; from quadrat.plan import inventory; "
        "print(*sorted({'numpy', 'pandas', 'pyvips', 'rasterio', 'pyarrow'} & set(sys.modules)))"
    )
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


# slides of several files


def files_of(image, images):
    return [os.path.relpath(file, images) for file in image.files]


def test_folder_with_dicom_files_is_one_image_with_the_name_of_the_folder(put, find, images):
    put("b/2.dcm", "b/1.DCM", "b/notes.txt", "c/d/e.dcm", "b/f/3.dcm", "a.tif", "slide.dcm/4.dcm")
    found = {image.filename: files_of(image, images) for image in find()}
    assert found == {
        "a.tif": ["a.tif"],
        "b": ["b/1.DCM", "b/2.dcm"],
        "b/f": ["b/f/3.dcm"],
        "c/d": ["c/d/e.dcm"],
        "slide.dcm": ["slide.dcm/4.dcm"],
    }


def test_dicom_files_in_the_images_folder_itself_are_an_image_with_its_name(put, find, images):
    put("1.dcm", "2.dcm")
    for folder in (str(images), [str(images)]):
        (image,) = find(images=folder)
        assert (image.filename, files_of(image, images)) == ("images", ["1.dcm", "2.dcm"])


def test_two_dicom_slides_that_would_have_one_name_stop_with_what_to_do(put, find):
    put("1.dcm", "images/2.dcm")
    with pytest.raises(ConfigError, match="DICOM slides in it and in its folder images would have one name"):
        find()


def test_table_names_the_folder_of_a_dicom_slide(put, find, write_table, images):
    put("b/1.dcm", "b/2.dcm", "c/1.dcm", "d/notes.txt", "e.dcm/1.dcm", "f.dcm/1.dcm")
    paths = ("images/b", "images/c/1.dcm", "images/e.dcm")
    rows = [f"{name}\t{path}\n" for name, path in zip(("one", "two", "three"), paths, strict=True)]
    table = write_table("filename\tpath\n" + "".join(rows))
    assert {image.filename: files_of(image, images) for image in find(images=table)} == {
        "one": ["b/1.dcm", "b/2.dcm"],
        "two": ["c/1.dcm"],
        "three": ["e.dcm/1.dcm"],
    }
    table = write_table("filename\nimages/b/1.dcm\nimages/b/2.dcm\nimages/d\nimages/none/1.dcm\n")
    part, none = (
        "it is one of the files of a DICOM slide",
        "it is not a file but a folder",
    )
    assert problems(find(images=table)) == {
        "images/b/1.dcm": part,
        "images/b/2.dcm": part,
        "images/d": none,
        "images/none/1.dcm": "cannot be opened: No such file or directory",
    }
    assert find(images=table)[0].hint == f"name its folder, {images}/b"
    assert problems(find(images=str(images / "b/1.dcm"))) == {"1.dcm": part}


def test_dicom_files_are_no_image_where_extensions_leave_them_out(put, make_settings):
    put("a.tif", "b/1.dcm")
    left_out = Counter()
    (image,) = find_images(make_settings(extensions=[".tif"]), left_out)
    assert (image.filename, left_out[".dcm"]) == ("a.tif", 1)


@pytest.mark.parametrize("ending", [".vms", ".vmu"])
def test_files_that_a_hamamatsu_slide_names_are_parts_of_it_and_no_images(ending, put, make_settings, images):
    put("a.jpg", "a(1,0).jpg", "a_map.jpg", "a_macro.jpg", "a.opt", "b.jpg")
    text = (
        "[X]\r\nImageFile=a.jpg\r\nImageFile(1,0) = a(1,0).jpg \nMapFile=a_map.jpg\nMacroImage=a_macro.jpg\n"
    )
    (images / f"a{ending}").write_text(
        f"{text}OptimisationFile=a.opt\nOther=b.jpg\nImageFile(0,1)=gone.jpg\n"
    )
    left_out = Counter()
    found = {image.filename: files_of(image, images) for image in find_images(make_settings(), left_out)}
    parts = ["a.jpg", "a(1,0).jpg", "a_map.jpg", "a_macro.jpg", "a.opt"]
    assert found == {f"a{ending}": [f"a{ending}", *parts], "b.jpg": ["b.jpg"]}
    assert left_out["parts of slides"] == 4


@pytest.mark.parametrize(("slide", "part"), [("b", "b/2.dcm"), ("a.vms", "a.jpg")])
def test_slide_with_a_part_that_is_a_link_out_of_the_images_is_listed(slide, part, put, find, images, disk):
    put("b/1.dcm")
    (images / "a.vms").write_text("[X]\nImageFile=a.jpg\n")
    (disk / "secret").write_bytes(b"secret")
    (images / part).symlink_to(disk / "secret")
    found = problems(find(extensions=[".vms", ".dcm"]))
    assert found == {slide: f"{os.path.basename(part)}: a link that leaves the images folder is not followed"}
    assert problems(find(extensions=[".vms", ".dcm"], follow_links=True)) == {}
