"""Pages and tags that are broken: what others read is read, and an error names what is broken."""

import re
import struct
import warnings

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.errors import NotGeoreferencedWarning

from comparison import open_reader
from micro_manager import write_micro_manager
from quadrat.errors import ImageError
from quadrat.images.open import open_image
from slides import write_bif, write_scn, write_svs
from traps import RGB, TIFF_TRAPS

PIXELS = np.ascontiguousarray(RGB[:64, :96])
HALF = np.ascontiguousarray(PIXELS[::2, ::2])
TILES = [np.ascontiguousarray(PIXELS[y : y + 32, x : x + 32]) for y in (0, 32) for x in (0, 32, 64)]
IS_CUT = "the file ends or is broken after page {}: later pages and levels, if any, are left out"


def directories(data):
    """Return the start, the number of entries and the end of each directory of a little-endian TIFF."""
    is_big = data[2] == 43
    (place,), found = struct.unpack_from("<Q" if is_big else "<I", data, 8 if is_big else 4), []
    while place:
        (number,) = struct.unpack_from("<Q" if is_big else "<H", data, place)
        end = place + (8 + 20 * number if is_big else 2 + 12 * number)
        found.append((place, number, end))
        (place,) = struct.unpack_from("<Q" if is_big else "<I", data, end)
    return found


def with_last_directory_at_the_end(path, pages, is_big):
    """Return a TIFF of pages, each half of the one before, with nothing after its last directory."""
    with tifffile.TiffWriter(path, bigtiff=is_big) as tif:
        for pixels in (PIXELS, HALF)[:pages]:
            tif.write(pixels, photometric="rgb", metadata=None, tile=(16, 16))
    data = bytearray(path.read_bytes())
    links = [8 if is_big else 4, *(end for _, _, end in directories(data))]
    start, _, end = directories(data)[-1]
    struct.pack_into("<Q" if is_big else "<I", data, links[pages - 1], len(data))
    return bytes(data + data[start : end + (8 if is_big else 4)])


def read_by_gdal(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as image:
            return np.moveaxis(image.read(), 0, -1)


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 4, 8])
@pytest.mark.parametrize("pages", [1, 2])
def test_tiff_cut_before_the_place_of_its_next_page_is_read_as_by_gdal(pages, missing, is_big, tmp_path):
    path = tmp_path / "a.tif"
    data = with_last_directory_at_the_end(path, pages, is_big)
    path.write_bytes(data)
    with open_image(path) as image:
        assert (len(image.levels), image.info.notes) == (pages, ())
    path.write_bytes(data[: -min(missing, 8 if is_big else 4)])
    np.testing.assert_array_equal(read_by_gdal(path), PIXELS)
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read(), PIXELS)
        levels = len(image.levels)
        assert image.info.notes == (IS_CUT.format(levels),)
        for level in range(1, levels):
            np.testing.assert_array_equal(image.read(level=level), HALF)


GARBAGE = {
    "beyond the end": (2**31, b""),
    "just beyond the end": (None, b""),
    "in the header": (1, b""),
    "zeros": (None, bytes(40)),
    "ones": (None, b"\xff" * 40),
    "text": (None, b"no directory, but a text that somebody appended"),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", GARBAGE)
def test_page_that_is_none_ends_the_file_as_for_gdal(name, tmp_path):
    path, (place, appended) = tmp_path / "a.tif", GARBAGE[name]
    data = bytearray(with_last_directory_at_the_end(path, 2, is_big=False))
    struct.pack_into("<I", data, directories(data)[-1][2], place or len(data))
    path.write_bytes(data + appended)
    np.testing.assert_array_equal(read_by_gdal(path), PIXELS)
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read(level=1), HALF)
        assert image.info.notes == (IS_CUT.format(2),)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("code", [256, 257, 258, 277])
@pytest.mark.parametrize("kind", [2, 5])
def test_page_after_the_image_whose_tags_are_broken_is_left_out_as_by_gdal(code, kind, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([PIXELS] * 3), photometric="rgb", compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        entry = tif.pages[1].aspage().tags[code].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, entry + 2, kind)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_by_gdal(path), PIXELS)
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read(), PIXELS)
        # tifffile reads some of these tags: then it is an image of another kind, and the first is read, too.
        as_other = "the file holds 2 series of images: the first is read"
        assert {IS_CUT.format(1), as_other} & {*image.info.notes}


@pytest.mark.parametrize("is_beyond", [True, False])
@pytest.mark.parametrize("form", ["tifffile", "ome", "no"])
def test_levels_in_subifds_that_cannot_be_read_are_missed(form, is_beyond, tmp_path):
    path = tmp_path / "a.tif"
    metadata = None if form == "no" else {"axes": "YXS"}
    with tifffile.TiffWriter(path, ome=form == "ome") as tif:
        tif.write(PIXELS, photometric="rgb", subifds=2, metadata=metadata, compression="zlib")
        for step in (2, 4):
            tif.write(
                PIXELS[::step, ::step], photometric="rgb", subfiletype=1, metadata=None, compression="zlib"
            )
    with open_image(path) as image:
        assert (len(image.levels), image.info.notes) == (3, ())
    with tifffile.TiffFile(path, mode="r+b") as tif:
        page = tif.pages.first
        if is_beyond:
            page.tags[330].overwrite((page.subifds[0], tif.filehandle.size + 100))
        else:
            page.pages[1].tags[256].overwrite(0)
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read(), PIXELS)
        np.testing.assert_array_equal(image.read(level=1), HALF)
        assert "1 of 2 levels in SubIFDs cannot be read" in image.info.notes


def test_planes_that_the_metadata_promise_and_a_broken_file_lacks_are_missed(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.stack([PIXELS[..., 0]] * 3),
        ome=True,
        photometric="minisblack",
        metadata={"axes": "CYX"},
        compression="zlib",
    )
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q" if data[2] == 43 else "<I", data, directories(data)[1][2], len(data) + 1)
    path.write_bytes(data)
    with pytest.raises(ImageError, match="some of its channels are missing or in other files"):
        open_reader(path)


def write_pages(path, count, **options):
    tifffile.imwrite(path, np.stack([PIXELS] * count), photometric="rgb", compression="zlib", **options)


def write_one(path, **options):
    tifffile.imwrite(path, PIXELS[..., 0], photometric="minisblack", metadata=None, **options)


# What breaks the metadata by which pages are put together, and what writes them.
METADATA = {
    "tifffile": (270, lambda path: write_pages(path, 2)),
    "ImageJ": (270, lambda path: tifffile.imwrite(path, np.stack([PIXELS[..., 0]] * 2), imagej=True)),
    "FLUOVIEW": (34362, lambda path: write_one(path, extratags=[(34362, 7, 64, bytes(64), True)])),
    "NIH": (43314, lambda path: write_one(path, extratags=[(43314, 7, 512, bytes(512), True)])),
    "MDGEL": (33445, lambda path: write_one(path, extratags=[(33445, 4, 1, 2, True)])),
    "SIS": (33560, lambda path: write_one(path, extratags=[(33560, 7, 64, bytes(64), True)])),
    "Aperio": (270, lambda path: write_svs(path, TILES, PIXELS.shape[:2], 32, coarser=[HALF])),
    "Philips": (270, lambda path: write_svs(path, TILES, PIXELS.shape[:2], 32, "philips", coarser=[HALF])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("way", ["numbers", "words", "half", "bytes", "as it is"])
@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_are_broken_do_not_refuse_pixels_that_gdal_reads(name, way, tmp_path):
    path, (code, write) = tmp_path / "a.tif", METADATA[name]
    write(path)
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages.first.tags[code]
        start, size = tag.valueoffset, tag.valuebytecount
    data = path.read_bytes()
    text = data[start : start + size]
    ways = {
        "numbers": re.sub(rb"\d", b"x", text),
        "words": re.sub(rb"[a-z]", b"q", text[:40]) + text[40:],
        "half": text[: size // 2],
        "bytes": bytes(range(128, 256)) * (size // 128 + 1),
        "as it is": text,
    }
    path.write_bytes(data[:start] + ways[way][:size].ljust(size, b"\0") + data[start + size :])
    with open_image(path) as image:
        read = image.read()[..., :3]
    with tifffile.TiffFile(path, **dict.fromkeys(map("is_{}".format, ("lsm", "stk", "ome")), False)) as tif:
        pages = [page.asarray() for page in tif.pages]
    of_gdal = read_by_gdal(path)
    assert any(np.array_equal(page.reshape(*page.shape[:2], -1), of_gdal) for page in pages)
    # A slide of Leica begins with an overview, which is not the image.
    expected = of_gdal if name != "Leica" else PIXELS
    np.testing.assert_array_equal(read[..., : expected.shape[2]], expected)


def test_note_names_the_metadata_that_are_broken(tmp_path):
    path = tmp_path / "a.tif"
    write_pages(path, 2)
    path.write_bytes(path.read_bytes().replace(b'"shape": [2', b'"shape": [x'))
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read(), PIXELS)
        assert "its tifffile metadata are broken: its pages are read without them" in image.info.notes


@pytest.mark.parametrize(
    ("code", "value", "reason"),
    [
        (323, None, "its tag TileLength is missing"),
        (278, 0, "its tag RowsPerStrip is 0"),
        (277, 0, "its tag SamplesPerPixel is 0"),
        (339, (1, 1, 2), "its tag SampleFormat is not the same for all channels"),
    ],
)
def test_error_names_the_tag(code, value, reason, tmp_path):
    path = tmp_path / "a.tif"
    layout = {"tile": (32, 32)} if code == 323 else {"rowsperstrip": 16}
    tifffile.imwrite(path, PIXELS.view(np.int8), photometric="rgb", metadata=None, **layout)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tag = tif.pages.first.tags[code]
        if value is not None:
            tag.overwrite(value)
        else:
            tif.filehandle.seek(tag.offset)
            tif.filehandle.write(struct.pack("<H", 65535))
    with pytest.raises(ImageError, match=f"{reason}$"):
        open_reader(path)


def write_qptiff(path):
    root = "PerkinElmer-QPI-ImageDescription"
    with tifffile.TiffWriter(path) as tif:
        for kind, pixels in (("FullResolution", PIXELS), ("ReducedResolution", HALF), ("Label", HALF[:9])):
            text = f"<?xml version='1.0'?><{root}><ImageType>{kind}</ImageType></{root}>"
            tif.write(pixels, description=text, photometric="rgb", metadata=None)


GOOD = {
    "strips": lambda path: write_pages(path, 1, predictor=True, rowsperstrip=16, metadata=None),
    "tiles": lambda path: write_pages(path, 2, tile=(32, 32)),
    "jpeg": lambda path: tifffile.imwrite(path, PIXELS, photometric="rgb", compression="jpeg", metadata=None),
    "big": lambda path: tifffile.imwrite(path, PIXELS, photometric="rgb", bigtiff=True, tile=(32, 32)),
    "imagej": METADATA["ImageJ"][1],
    "ome": lambda path: tifffile.imwrite(
        path, np.stack([PIXELS[..., 0]] * 2), ome=True, photometric="minisblack", metadata={"axes": "CYX"}
    ),
    "svs": METADATA["Aperio"][1],
    "philips": METADATA["Philips"][1],
    "scn": lambda path: write_scn(path, (64, 96), [(0, 0, PIXELS)], light="fluorescence"),
    "bif": lambda path: write_bif(path, PIXELS, tile=32),
    "brightfield.scn": lambda path: write_scn(path, (64, 96), [(0, 0, PIXELS)]),
    "qptiff": write_qptiff,
    "micro_manager": lambda path: write_micro_manager(path, np.stack([PIXELS[..., 0]] * 2), positions=2),
    "ndpi": TIFF_TRAPS["ndpi_of_restart_intervals"],
}
# All that quadrat says of a broken TIFF. Words of Python and of libraries belong into the log.
OURS = re.compile(
    "|".join(
        [
            r"(broken|not a readable TIFF): (page \d+: )?its tag \w+ (cannot be read|is (0|missing|not .*))",
            r"broken: it lists [\d,]+ offsets and [\d,]+ byte counts of segments, [\d,]+ expected",
            r"broken: segment [\d,]+ of [\d,]+ (has|claims) .* (expected|of data)",
            r"broken: segment [\d,]+ of [\d,]+ (has no valid offset and size|ends .* too early)",
            r"broken: (none of its [\d,]+ segments contains data|the offset of a segment is too large .*)",
            r"broken: (it has|its size is|its samples have|its planar configuration is|predictor) .*",
            r"truncated: (its pixels|segment [\d,]+ of [\d,]+) ends? [\d,]+ bytes past the end of the file",
            r"segment [\d,]+ of [\d,]+ cannot be decoded as [A-Z0-9_]+",
            r"(compression \w+|samples of [\d, ()]+ bit in format .*|predictor \d+) cannot be decoded",
            r"subsampled YCbCr with compression \w+ cannot be decoded",
            r"its (OME-XML describes|channels differ|palette is|samples are complex numbers).*",
            r"some of its channels are missing or in other files|(plane \d+|its first plane) is in .*",
            r"not a readable TIFF: (it contains no image|its (first page|tags) (cannot|contradict) .*)",
            r"not a slide that OpenSlide can read: (?!.* /)[A-Z].*",
            r"pixels at y [\d,]+, x [\d,]+ cannot be decoded",
            r"not a slide that OpenSlide can read: it is (generic-tiff|of no known format)",
        ]
    )
)  # fmt: skip


def broken(data, entry, place, size, is_big):
    """Yield files in each of which one thing about a tag is wrong."""
    value = entry + (12 if is_big else 8)
    fields = [(entry, "<H", (65535,)), (entry + 2, "<H", (2, 5)), (entry + 4, "<I", (0, 2**31))]
    fields += [(value, "<I", (0, 2**31))]
    if place != value:
        fields += [(place, "<I", (0, 2**31))]
    for at, form, numbers in fields:
        for number in numbers:
            content = bytearray(data)
            struct.pack_into(form, content, at, number)
            yield bytes(content)
    if size > 16:
        yield data[:place] + re.sub(rb"\d", b"x", data[place : place + size]) + data[place + size :]
        yield data[:place] + b"\xe9" * size + data[place + size :]


@pytest.mark.parametrize("kind", GOOD)
def test_no_message_on_a_broken_tag_is_in_the_words_of_python_or_of_a_library(kind, tmp_path, caplog):
    caplog.set_level("CRITICAL")
    path = tmp_path / f"a.{kind}.tif"
    GOOD[kind](path)
    with tifffile.TiffFile(path, is_ndpi=kind == "ndpi") as tif:
        is_big = tif.is_bigtiff
        tags = [
            (tag.offset, tag.valueoffset, tag.valuebytecount)
            for page in tif.pages
            for tag in page.aspage().tags
        ]
    data, messages = path.read_bytes(), set()
    for tag in tags:
        for content in broken(data, *tag, is_big):
            path.write_bytes(content)
            try:
                with open_image(path) as image:
                    info = image.info
                    if info.height * info.width < 1e6:
                        image.read(threads=1)
            except ImageError as error:
                messages.add(str(error))
    assert [text for text in sorted(messages) if not OURS.fullmatch(text)] == []
    assert len(messages) > 5
