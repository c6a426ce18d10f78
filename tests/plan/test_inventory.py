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

    def write(text, encoding="utf-8"):
        path = tmp_path / "images.tsv"
        path.write_bytes(text.encode(encoding))
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
    put("a.tif", "a.tfw", "a.tif.aux.xml", "b.TIF", "b.TFW", "b.TIF.OVR", "c.tif", "c.xml", "north/c.tfw")
    put("north/a.tif", "north/a.tif.msk", "d.tif.jpg", "d.jgw", "a.txt", "C.tfw")
    found = {image.filename: list(image.sidecars) for image in find() if image.sidecars}
    assert found == {"a.tif": [".tfw", ".aux.xml"], "b.TIF": [".tfw", ".ovr"], "north/a.tif": [".msk"]}


def test_sidecars_of_images_in_several_folders_are_not_mixed_up(put, find, images):
    put("2023/a.tif", "2023/a.tfw", "2024/a.tif")
    found = find(images=[str(images / "2023"), str(images / "2024")])
    assert [list(image.sidecars) for image in found] == [[".tfw"], []]


def test_sidecars_of_images_of_a_table_are_found(put, find, write_table):
    put("a.tif", "a.tfw", "north/b.tif", "north/b.tif.ovr", "north/c.tif", "north/c.tfw")
    table = write_table("filename\nimages/a.tif\nimages/north/b.tif\nmissing/d.tif\n")
    assert [list(image.sidecars) for image in find(images=table)] == [[".tfw"], [".ovr"], []]


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
    put("a.czi", "b.czi", "c.txt")
    with pytest.raises(
        ConfigError, match=r"no file in it ends in .*; not taken: 2 \.czi; export them as OME-TIFF"
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
    with pytest.raises(ConfigError, match="both folders are called drop"):
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
    with pytest.raises(ConfigError, match=r"images\.tsv: cannot be read"):
        find(images=write_table("filename\nü.tif\n", encoding="latin-1"))


# nothing there


def test_missing_folder_stops_with_what_to_do(find, tmp_path):
    with pytest.raises(ConfigError) as caught:
        find(images=str(tmp_path / "nowhere"))
    assert str(caught.value) == (
        f"images {tmp_path}/nowhere: no such folder; create it or name another (config.yaml: images)"
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
