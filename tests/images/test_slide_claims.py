"""Slides of several files and of strange containers: what OpenSlide never gets to see."""

import os
import re
import sqlite3
import struct
from contextlib import closing

import numpy as np
import openslide
import pytest

from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError, MemoryBudgetError
from slides import CT_IMAGE, dicom, write_czi, write_dicom, write_mrxs, write_svslide, write_vms, write_vmu
from traps import RGB

PIXELS = np.ascontiguousarray(np.tile(RGB, (1, 2, 1))[:256, :512])
TILE = 64


def write_parts(path, tile, count=4):
    """Write a DICOM slide whose only level is in several files."""
    path.parent.mkdir()
    tiles = (PIXELS.shape[0] // tile) * (PIXELS.shape[1] // tile)
    for number in range(1, count + 1):
        content = dicom(PIXELS, tile, part=(number, count, tiles // count))
        path.with_name(f"{number}.dcm").write_bytes(content)


KINDS = {
    "dicom": ("a/level_0.dcm", lambda path: write_dicom(path.parent, PIXELS, TILE, levels=3)),
    "dicom of JPEG": (
        "a/level_0.dcm",
        lambda path: write_dicom(path.parent, PIXELS, TILE, levels=2, jpeg={"quality": 90, "subsampling": 1}),
    ),
    "dicom in parts": ("a/1.dcm", lambda path: write_parts(path, TILE)),
    "vms": ("a.vms", lambda path: write_vms(path, PIXELS)),
    "vmu": ("a.vmu", lambda path: write_vmu(path, PIXELS)),
    "svslide": ("a.svslide", lambda path: write_svslide(path, PIXELS, levels=3)),
    "czi": ("a.czi", lambda path: write_czi(path, PIXELS, levels=3)),
}
VENDORS = {"vms": "hamamatsu", "vmu": "hamamatsu", "svslide": "sakura", "czi": "zeiss"}


@pytest.fixture(scope="module", params=KINDS)
def slide(request, tmp_path_factory):
    """Return the kind and the path of a slide."""
    name, write = KINDS[request.param]
    path = tmp_path_factory.mktemp("slides") / name
    write(path)
    return request.param, path


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a slide of a kind, and returns its path."""

    def make(kind):
        name, write_kind = KINDS[kind]
        write_kind(tmp_path / name)
        return tmp_path / name

    return make


def refusal(path, **options):
    with pytest.raises(ImageError) as caught:
        open_reader(path, **options)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize("grid", [(512, 512, "pad"), (100, 64, "shift")])
@pytest.mark.parametrize("level", [0, 1])
def test_slide_is_read_as_openslide_shows_it(slide, level, grid):
    kind, path = slide
    with openslide.OpenSlide(path) as shown:
        level = min(level, shown.level_count - 1)
        size = shown.level_dimensions[level]
        expected = np.asarray(shown.read_region((0, 0), level, size))[..., :3]
        mpp = [shown.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
    with open_reader(path, level=level) as reader:
        assert_reads(reader, expected, row_blocks(reader.info, *grid))
        assert reader.info.format == VENDORS.get(kind, "dicom")
        assert reader.info.mpp == (tuple(map(float, mpp)) if all(mpp) else None)
    if level == 0 and kind not in ("dicom of JPEG", "vms", "svslide"):
        np.testing.assert_array_equal(expected, PIXELS)


def test_claim_of_a_slide_beyond_the_memory_is_refused(slide):
    _, path = slide
    with pytest.raises(MemoryBudgetError, match="decoding the tiles of the slide needs about"):
        open_reader(path, memory_mb=60)


# DICOM


@pytest.mark.parametrize("first", ["0_label.dcm", "z_label.dcm"])
def test_label_and_overview_of_a_dicom_slide_are_not_among_its_levels(first, write):
    path = write("dicom")
    for name, flavour in ((first, "LABEL"), ("overview.dcm", "OVERVIEW"), ("thumbnail.dcm", "THUMBNAIL")):
        content = dicom(np.full((64, 64, 3), 7, np.uint8), TILE, level=5, flavour=flavour)
        path.with_name(name).write_bytes(content)
    with open_reader(min(path.parent.iterdir())) as reader:
        assert reader.info.level_count == 3
        assert_reads(reader, PIXELS, row_blocks(reader.info, 256, 256, "drop"))


def test_folder_with_several_series_is_refused_with_their_number(write):
    path = write("dicom")
    for series in ("1.2.4", "1.2.5"):
        path.with_name(f"{series}.dcm").write_bytes(dicom(PIXELS, TILE, series=series))
    reason, hint = refusal(path)
    assert reason == "its folder contains 3 series of slides, but one is expected"
    assert "a folder of its own" in hint


def test_dicom_that_is_no_slide_is_refused_with_what_converts_it(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(dicom(PIXELS, TILE, kind=CT_IMAGE))
    reason, hint = refusal(tmp_path / "0.dcm")
    assert reason == f"no DICOM file in its folder is a slide; their class is {CT_IMAGE}"
    assert "TIFF" in hint


def test_other_objects_in_the_folder_of_a_slide_are_left_alone(write):
    path = write("dicom")
    path.with_name("0.dcm").write_bytes(dicom(PIXELS, TILE, kind=CT_IMAGE))
    path.with_name("DICOMDIR").write_bytes(dicom(PIXELS, TILE, kind="1.2.840.10008.1.3.10"))
    path.with_name("notes.txt").write_text("notes")
    path.with_name("._level_0.dcm").write_bytes(b"AppleDouble")
    with open_reader(path.with_name("0.dcm")) as reader:
        assert_reads(reader, PIXELS, row_blocks(reader.info, 256, 256, "drop"))


@pytest.mark.parametrize("name", ["level_9", "level_9.tif", ".level_9"])
def test_part_of_a_slide_that_openslide_reads_and_nobody_watches_is_refused(name, write):
    path = write("dicom")
    path.with_name("level_2.dcm").rename(path.with_name(name))
    with openslide.OpenSlide(path) as shown:
        assert shown.level_count == 3
    reason, hint = refusal(path)
    assert reason == f"{name}: a part of the slide by another ending"
    assert ".dcm" in hint


def test_dicom_by_another_ending_is_named_as_such(tmp_path):
    (tmp_path / "a.png").write_bytes(dicom(PIXELS, TILE))
    reason, hint = refusal(tmp_path / "a.png")
    assert reason == "a DICOM file by another ending"
    assert ".dcm" in hint


def test_dicom_that_is_a_tiff_too_is_read_as_dicom(write):
    path = write("dicom")
    path.write_bytes(b"II*\0\x08\0\0\0" + path.read_bytes()[8:])
    with open_reader(path) as reader:
        assert reader.info.level_count == 3
        assert_reads(reader, PIXELS, row_blocks(reader.info, 256, 256, "drop"))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(200)])
def test_part_that_is_no_dicom_file_is_refused(content, write):
    path = write("dicom")
    path.with_name("level_1.dcm").write_bytes(content)
    assert refusal(path)[0] == "level_1.dcm: not a DICOM file"


def test_pipe_in_the_folder_of_a_slide_is_refused_and_not_read(write):
    path = write("dicom")
    os.mkfifo(path.with_name("pipe"))
    assert refusal(path)[0] == "pipe: is expected to be a file or a folder"


def test_missing_part_of_a_level_is_refused_and_not_read_as_glass(write):
    path = write("dicom in parts")
    path.with_name("3.dcm").unlink()
    reason, hint = refusal(path)
    assert reason == "not a slide that OpenSlide can read: Missing SOP instance 3/4 in concatenation"
    assert hint.startswith("copy it again")


def test_slide_without_its_finest_level_has_a_note(write):
    path = write("dicom")
    with open_reader(path) as reader:
        assert len(reader.info.notes) == 1
    path.unlink()
    with open_reader(path.with_name("level_1.dcm")) as reader:
        assert reader.info.mpp == (0.5, 0.5)
        assert "level 0 is resampled: the files of a finer level are not in the folder" in reader.info.notes
        assert_reads(reader, PIXELS[::2, ::2], row_blocks(reader.info, 128, 128, "drop"))


def test_truncated_part_is_refused_where_its_pixels_are_read(write):
    path = write("dicom")
    path.write_bytes(path.read_bytes()[:-100_000])
    with (
        open_reader(path) as reader,
        pytest.raises(ImageError, match=r"^pixels at y \d+, x \d+ cannot be dec"),
    ):
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "drop"), 1))


def test_header_that_is_cut_off_is_refused_by_the_name_of_its_file(write):
    path = write("dicom")
    path.with_name("level_1.dcm").write_bytes(path.read_bytes()[:400])
    assert refusal(path)[0] == "level_1.dcm: truncated: the file ends within its header"


@pytest.mark.parametrize("parts", [1, 2])
def test_claim_of_absurdly_many_tiles_is_refused_before_openslide_lists_them(parts, tmp_path):
    huge = {name: struct.pack("<I", 2**32 - 1) for name in ("t00480006", "t00480007")}
    for number in range(1, parts + 1):
        content = dicom(PIXELS, TILE, part=(number, parts, 16), **huge)
        (tmp_path / f"{number}.dcm").write_bytes(content)
    side = -(-(2**32 - 1) // TILE)
    assert refusal(tmp_path / "1.dcm")[0] == (
        f"broken: it claims {side**2:,} tiles, but at most 10,000,000 are expected"
    )


def test_claim_of_huge_tiles_is_refused_before_they_are_allocated(tmp_path):
    huge = {name: struct.pack("<H", 60_000) for name in ("t00280010", "t00280011")}
    (tmp_path / "a.dcm").write_bytes(dicom(PIXELS, TILE, **huge))
    with pytest.raises(MemoryBudgetError, match="needs about 14,467 MB"):
        open_reader(tmp_path / "a.dcm", memory_mb=1500)


def test_tiles_without_pixels_are_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom(PIXELS, TILE, t00280010=bytes(2)))
    assert refusal(tmp_path / "a.dcm")[0] == "a.dcm: broken: its image or its tiles have no pixels"


def test_dicom_that_openslide_refuses_is_listed_with_what_converts_it(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom(PIXELS, TILE, t00020010=b"1.2.840.10008.1.2.4.80"))
    reason, hint = refusal(tmp_path / "a.dcm")
    assert re.match("not a slide that OpenSlide can read: .*Unsupported transfer syntax", reason)
    assert "OME-TIFF" in hint


# Hamamatsu


@pytest.mark.parametrize("key", ["ImageFile(1,0)", "MapFile", "MacroImage", "OptimisationFile"])
@pytest.mark.parametrize("name", ["../far.jpg", "/etc/hostname", r"a\sb.jpg"])
def test_hamamatsu_slide_that_names_a_file_elsewhere_is_refused(key, name, tmp_path):
    write_vms(tmp_path / "a.vms", PIXELS, **{key: name})
    assert refusal(tmp_path / "a.vms")[0] == f"names the file {name}, but one beside it is expected"


@pytest.mark.parametrize("name", ["a(1,0).jpg", "a_map.jpg"])
def test_hamamatsu_slide_without_a_part_is_refused(name, write):
    path = write("vms")
    path.with_name(name).unlink()
    assert re.match(f"not a slide that OpenSlide can read: .*{re.escape(name)}", refusal(path)[0])


@pytest.mark.parametrize(("kind", "name"), [("vms", "a(1,1).jpg"), ("vmu", "a.ngr")])
def test_truncated_part_of_a_hamamatsu_slide_is_refused_by_its_name(kind, name, write):
    path = write(kind)
    part = path.with_name(name)
    part.write_bytes(part.read_bytes()[:-2000])
    assert refusal(path)[0].startswith(f"{name}: truncated: ")


def test_part_that_claims_more_pixels_than_it_can_contain_is_refused(write):
    path = write("vms")
    part = path.with_name("a(0,1).jpg")
    content = bytearray(part.read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    part.write_bytes(content)
    assert refusal(path)[0].startswith("a(0,1).jpg: broken: 65,000 x 65,000 px do not fit in ")


@pytest.mark.parametrize("count", [46_000, 2_000_000_000, 10**90])
def test_claim_of_absurdly_many_parts_is_refused_before_they_are_listed(count, tmp_path):
    write_vms(tmp_path / "a.vms", PIXELS, NoJpegColumns=count)
    assert refusal(tmp_path / "a.vms")[0] == (
        f"broken: it claims {2 * count:,} files, but at most 10,000 are expected"
    )


@pytest.mark.parametrize("digits", [200, 10_000])
def test_number_of_thousands_of_digits_is_refused(digits, tmp_path):
    write_vms(tmp_path / "a.vms", PIXELS, NoJpegColumns="9" * digits)
    assert refusal(tmp_path / "a.vms")[0].startswith("broken: it claims ")
    write_mrxs(tmp_path / "b.mrxs", PIXELS)
    settings = tmp_path / "b/Slidedat.ini"
    settings.write_text(settings.read_text().replace("IMAGENUMBER_X = ", "IMAGENUMBER_X = " + "9" * digits))
    assert refusal(tmp_path / "b.mrxs")[0].startswith("broken: it claims ")


def test_pipe_in_the_place_of_a_part_is_refused_and_not_read(tmp_path):
    write_vms(tmp_path / "a.vms", PIXELS)
    write_mrxs(tmp_path / "b.mrxs", PIXELS)
    write_dicom(tmp_path / "c", PIXELS, levels=2)
    for slide, part in (
        ("a.vms", "a_map.jpg"),
        ("b.mrxs", "b/Index.dat"),
        ("c/level_0.dcm", "c/level_1.dcm"),
    ):
        (tmp_path / part).unlink()
        os.mkfifo(tmp_path / part)
        assert refusal(tmp_path / slide)[0] == f"its part {os.path.basename(part)} is not a file"


def test_ndpi_or_other_text_by_the_ending_of_a_vms_is_refused(tmp_path):
    (tmp_path / "a.vms").write_text("[Hello]\nNoLayers=1\n")
    reason, _ = refusal(tmp_path / "a.vms")
    assert reason == "not a slide that OpenSlide can read: it is of no known format"


# Sakura


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW DataManagerSQLiteConfigXPO AS WITH RECURSIVE n(TableName) AS "
        "(SELECT 'slide' UNION ALL SELECT TableName FROM n) SELECT TableName FROM n",
        "CREATE VIEW other AS SELECT 1",
        "CREATE VIRTUAL TABLE other USING fts5(text)",
    ],
)
def test_database_that_computes_is_refused_before_openslide_asks_it(statement, write):
    path = write("svslide")
    with closing(sqlite3.connect(path)) as base, base:
        if "DataManager" in statement:
            base.execute("DROP TABLE DataManagerSQLiteConfigXPO")
        base.execute(statement)
    name = re.match(r"CREATE \w+( TABLE)? (\w+)", statement)[2]
    assert refusal(path)[0] == f"not a slide: {name} in its database is not a table"


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_database_in_which_somebody_writes_is_refused(ending, write):
    path = write("svslide")
    path.with_name(path.name + ending).write_bytes(b"changes")
    assert refusal(path)[0] == f"not a finished slide: a.svslide{ending} lies beside it"


def test_database_for_which_openslide_would_write_files_is_refused(write):
    path = write("svslide")
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA journal_mode = WAL")
    assert refusal(path)[0] == "not a finished slide: its changes are kept beside it"
    assert [file.name for file in path.parent.iterdir()] == ["a.svslide"]


@pytest.mark.parametrize("side", [0, 70_000, 2**31 - 1])
def test_database_that_claims_huge_tiles_is_refused(side, tmp_path):
    write_svslide(tmp_path / "a.svslide", PIXELS, side=side or 2**32 - 1)
    assert refusal(tmp_path / "a.svslide")[0].startswith("broken: a tile of ")


def test_other_database_is_no_slide(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.svslide")) as base, base:
        base.execute("CREATE TABLE other (x)")
    assert "no such table: DataManagerSQLiteConfigXPO" in refusal(tmp_path / "a.svslide")[0]


# Zeiss


def test_czi_that_openslide_refuses_is_listed_with_what_converts_it(tmp_path):
    write_czi(tmp_path / "a.czi", PIXELS, kind=0)
    reason, hint = refusal(tmp_path / "a.czi")
    assert reason == "not a slide that OpenSlide can read: Pixel type GRAY8 is not supported"
    assert "OME-TIFF, with QuPath or bfconvert" in hint


def test_czi_that_claims_huge_tiles_is_refused(tmp_path):
    write_czi(tmp_path / "a.czi", PIXELS, claimed=2**31 - 1)
    assert refusal(tmp_path / "a.czi")[0] == "broken: a tile of 2,147,483,647 x 2,147,483,647 px"


def test_czi_with_tiles_of_more_pixels_than_they_cover_is_refused(tmp_path):
    """OpenSlide would divide by 0, and list places without end."""
    write_czi(tmp_path / "a.czi", PIXELS, claimed=200)
    assert refusal(tmp_path / "a.czi")[0] == "broken: a tile of 200 x 200 px"


@pytest.mark.parametrize("size", [40, 90, 600])
def test_truncated_czi_is_refused(size, write):
    path = write("czi")
    path.write_bytes(path.read_bytes()[:size])
    assert refusal(path)[0] == "truncated: the file ends within its directory"
