import os
import re

import pytest

from quadrat.files import sources
from quadrat.files.sources import find_sources


def element(source, relative="1", name="SourceFilename"):
    return f'<{name} relativeToVRT="{relative}">{source}</{name}>'


def vrt(*elements):
    return f"<VRTDataset><VRTRasterBand>{''.join(elements)}</VRTRasterBand></VRTDataset>"


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file, and returns its path."""

    def put(name, content="pixels"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return str(path)

    return put


def test_image_of_another_kind_has_no_sources_and_is_not_read(tmp_path):
    assert find_sources(str(tmp_path / "missing.tif")) == ({}, "", "")


def test_sources_of_a_vrt_are_those_of_all_its_bands_each_once(write):
    red, green = write("bands/red.tif"), write("bands/a & ü.tif")
    elements = element("bands/red.tif"), element("bands/a &amp; ü.tif"), element("bands/red.tif")
    found = find_sources(write("a.VRT", vrt(*elements)))
    assert found == ({red: os.stat(red), green: os.stat(green)}, "", "")


def test_source_that_is_not_relative_to_the_vrt_is_absolute_or_relative_to_the_working_directory(
    write, tmp_path, monkeypatch
):
    near, far = write("elsewhere/near.tif"), write("far/far.tif")
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = find_sources(write("a.vrt", vrt(element("near.tif", "0"), element(far, "0"), element(far))))
    assert list(found.files) == [near, far]


def test_source_is_relative_to_the_vrt_that_a_link_leads_to(write, tmp_path):
    source, original = write("stored/a.tif"), write("stored/a.vrt", vrt(element("a.tif")))
    (tmp_path / "link.vrt").symlink_to(original)
    assert list(find_sources(str(tmp_path / "link.vrt")).files) == [source]


def test_names_are_found_in_any_case_and_in_warped_and_pansharpened_vrts(write):
    lower, warped = write("lower.tif"), write("warped.tif")
    content = vrt(element("lower.tif", name="sourcefilename"), element("warped.tif", name="SourceDataset"))
    assert list(find_sources(write("a.vrt", content)).files) == [lower, warped]


def test_sources_of_sources_are_found_and_a_circle_ends(write):
    pixels = write("pixels.tif")
    inner = write("inner.vrt", vrt(element("pixels.tif"), element("outer.vrt")))
    outer = write("outer.vrt", vrt(element("inner.vrt")))
    assert sorted(find_sources(outer).files) == sorted([inner, pixels])


@pytest.mark.parametrize(
    "name", ["gone.tif", "/vsicurl/http://x.org/a.tif", "http://x.org/a.tif", "folder", ""]
)
def test_source_that_is_no_local_file_is_a_problem_and_the_others_are_found(write, tmp_path, name):
    (tmp_path / "folder").mkdir()
    there = write("there.tif")
    found = find_sources(write("a.vrt", vrt(element(name), element("there.tif"))))
    assert list(found.files) == [there]
    assert found.problem.startswith(f"its source {name}: no")
    # GDAL can convert what it finds on a server, but not what is missing.
    assert ("gdal_translate" in found.hint) == ("http" in name)


def test_problem_of_a_source_names_it(write):
    write("inner.vrt", "<VRTDataset>")
    found = find_sources(write("outer.vrt", vrt(element("inner.vrt"))))
    assert found.problem.startswith("its source inner.vrt: not a readable VRT: its XML is broken at line 1, ")
    assert "gdal_translate" not in found.hint


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("not XML", "not a readable VRT"),
        ("", "not a readable VRT"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + vrt(), "document type"),
        (
            vrt(element("dem.tif", name="DEMPath")),
            '<DEMPath relativeToVRT="1"> is not read, as it may name files that nobody watches',
        ),
        ('<VRTDataset><Metadata><MDI key="OVERVIEW_FILE">a</MDI></Metadata></VRTDataset>', "<MDI key="),
    ],
)
def test_vrt_that_cannot_be_followed_is_a_problem(write, content, problem):
    found = find_sources(write("a.vrt", content))
    assert found.files == {}
    assert problem in found.problem


@pytest.mark.parametrize(
    "planted",
    [
        '<VRTDataset><Group name="/"/></VRTDataset>',
        '<VRTDataset subClass="VRTProcessedDataset"/>',
        '<VRTDataset><VRTRasterBand subClass="VRTRawRasterBand"/></VRTDataset>',
        '<VRTDataset><VRTRasterBand SUBCLASS="vrtrawrasterband"/></VRTDataset>',
        vrt('<SimpleSource SourceFilename="there.tif"/>'),
        vrt(element("there.tif", relative="2")),
        vrt("<SourceFilename>there<SourceBand/>.tif</SourceFilename>"),
        vrt("<SourceFilename><![CDATA[there.tif]]></SourceFilename>"),
        vrt('<?a b="c"?>'),
        vrt("<PixelFunctionLanguage>Python</PixelFunctionLanguage>"),
        vrt('<OpenOptions><OOI key="A">B</OOI></OpenOptions>'),
        vrt('<Options><Option key="COORDINATE_OPERATION">+grids=there.tif</Option></Options>'),
    ],
)
def test_vrt_with_what_may_name_files_in_other_ways_is_a_problem(write, planted):
    write("there.tif")
    assert re.search("not (a )?read", find_sources(write("a.vrt", planted)).problem)


@pytest.mark.parametrize("name", [" there.tif", "there.tif ", "HDF5:there.tif", '"there.tif"', "{there.tif"])
def test_source_that_gdal_would_not_take_for_a_path_is_a_problem_although_there_is_such_a_file(write, name):
    write(name)
    assert find_sources(write("a.vrt", vrt(element(name)))).problem == (
        f"its source {name}: not the path of a local file"
    )


def test_source_with_a_time_in_its_name_is_found(write):
    source = write("2026-11-29T10:30.tif")
    assert find_sources(write("a.vrt", vrt(element("2026-11-29T10:30.tif")))) == (
        {source: os.stat(source)},
        "",
        "",
    )


def test_name_is_that_of_utf_8_whatever_the_vrt_says_of_itself(write, tmp_path):
    source = write("ü.tif")
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + vrt(element("ü.tif"))
    assert list(find_sources(write("a.vrt", text)).files) == [source]


def test_vrts_of_vrts_end_at_a_depth(write):
    write("0.vrt", vrt(element("pixels.tif")))
    write("pixels.tif")
    for level in range(1, 10):
        write(f"{level}.vrt", vrt(element(f"{level - 1}.vrt")))
    found = {level: find_sources(write(f"{level}.vrt", vrt(element(f"{level - 1}.vrt")))) for level in (7, 8)}
    assert found[7].problem == ""
    assert found[8].problem == "its source 0.vrt: VRTs are nested more than 8 deep, which is not read"


def test_vrt_that_is_too_large_is_not_read(write, monkeypatch):
    monkeypatch.setattr(sources, "MOST_VRT_BYTES", 10)
    assert "not read" in find_sources(write("a.vrt", vrt())).problem


def test_missing_vrt_is_a_problem(tmp_path):
    assert find_sources(str(tmp_path / "gone.vrt")).problem == "cannot be read: No such file or directory"


def test_sources_of_an_mrxs_slide_are_the_files_of_its_folder_in_one_order(write, tmp_path):
    index, data = write("a/Index.dat"), write("a/Data0000.dat")
    (tmp_path / "a/folder").mkdir()
    write("b/Data0000.dat")
    found = find_sources(write("a.MRXS"))
    assert found.problem == ""
    assert list(found.files.items()) == [(data, os.stat(data)), (index, os.stat(index))]


def test_mrxs_slide_without_its_folder_is_a_problem(write):
    assert find_sources(write("a.mrxs")) == ({}, "its folder a cannot be read: No such file or directory", "")


def test_sources_of_a_dicom_file_are_the_others_of_its_folder(write, tmp_path):
    for name in ("b.dcm", "C.DCM", "._a.dcm", "d.txt"):
        write(name)
    (tmp_path / "e.dcm").mkdir()
    found = find_sources(write("a.dcm"))
    assert [os.path.basename(path) for path in found.files] == ["._a.dcm", "C.DCM", "b.dcm"]
    assert found.problem == ""


@pytest.mark.parametrize("name", ["../b.jpg", "/b.jpg", r"b\s.jpg", "."])
def test_sources_of_a_hamamatsu_slide_lie_beside_it(name, write):
    write("b.jpg")
    found = find_sources(write("a.vms", f"[X]\nMapFile=b.jpg\nImageFile(2,1,0)={name}\n"))
    assert found.problem == (f"names the file {name}, but one beside it is expected" if name != "." else "")
    assert [os.path.basename(path) for path in found.files] == (["b.jpg"] if name == "." else [])


def test_text_that_is_too_long_for_a_hamamatsu_slide_is_a_problem(write):
    assert find_sources(write("a.vmu", "#" * (1 << 21))) == ({}, "broken: more than 1 MB of text", "")
