import errno
import os
import struct

import numpy as np
import pytest
import pyvips
import rasterio
import tifffile

from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError
from quadrat.grid import Window
from quadrat.images.open import open_image
from quadrat.images.tiff.pages import tifffile_errors
from traps import GRAY, RGB, TILE


@pytest.fixture
def changed(tmp_path):
    """Return a function that writes a TIFF and then overwrites some of its tags."""

    def write(array=RGB, tags=(), photometric="rgb", **options):
        path = tmp_path / "changed.tif"
        tifffile.imwrite(path, array, photometric=photometric, metadata=None, **options)
        with tifffile.TiffFile(path, mode="r+b") as tif:
            for code, value in dict(tags).items():
                tif.pages[0].tags[code].overwrite(value)
        return path

    return write


def is_opened_by_gdal(path):
    try:
        rasterio.open(path).close()
    except rasterio.errors.RasterioIOError:
        return False
    return True


@pytest.mark.parametrize(("compression", "name"), [(6, "OJPEG"), (34676, "SGILOG"), (12345, "12345")])
def test_a_codec_that_cannot_be_decoded_is_refused_by_its_name(compression, name, changed):
    path = changed(compression="zlib", tags={259: compression}, **TILE)
    with pytest.raises(ImageError, match=f"compression {name} cannot be decoded") as error:
        open_reader(path)
    assert ("gdal_translate" in error.value.hint) == is_opened_by_gdal(path)


def test_uncompressed_subsampled_ycbcr_is_refused(changed):
    with pytest.raises(ImageError, match="subsampled YCbCr with compression NONE") as error:
        open_reader(changed(tags={262: 6}))
    assert "gdal_translate" in error.value.hint


def test_complex_numbers_are_refused(changed):
    with pytest.raises(ImageError, match="its samples are complex numbers"):
        open_reader(changed(GRAY.astype(np.complex64), photometric="minisblack"))


def test_an_unknown_kind_of_sample_is_refused(changed):
    with pytest.raises(ImageError, match="samples of 31 bit in format 3 cannot be decoded"):
        open_reader(changed(GRAY.astype("f4"), photometric="minisblack", tags={258: 31}))


def test_an_image_without_pixels_is_refused(changed):
    with pytest.raises(ImageError, match=r"its size is 0 x 1,061 px"):
        open_reader(changed(tags={256: 0}))


def test_an_ome_tiff_whose_pixels_lie_in_another_file_is_refused(tmp_path):
    planes = {name: tmp_path / f"{name}.ome.tif" for name in ("first", "second")}
    plane = (
        '<TiffData FirstZ="{}" IFD="0" PlaneCount="1">'
        '<UUID FileName="{}.ome.tif">urn:uuid:{}</UUID></TiffData>'
    )
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{}">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        'SizeX="619" SizeY="1061" SizeC="1" SizeZ="2" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        + "".join(plane.format(z, name, name) for z, name in enumerate(planes))
        + "</Pixels></Image></OME>"
    )
    for name, path in planes.items():
        tifffile.imwrite(path, GRAY, photometric="minisblack", description=xml.format(name), metadata=None)
    with open_reader(planes["first"]) as reader:
        assert "axis Z has 2 planes: the first is read" in reader.info.notes
    with pytest.raises(ImageError, match="is in another file"):
        open_reader(planes["second"])


def test_messages_of_tifffile_do_not_reach_the_terminal(changed, capfd, caplog):
    path = changed(compression="zlib", rowsperstrip=100)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[279].overwrite(tif.pages[0].databytecounts[:5])
    with caplog.at_level("INFO", logger="quadrat"), pytest.raises(ImageError, match=r"11 expected"):
        open_reader(path)
    assert capfd.readouterr() == ("", "")
    assert "incorrect StripByteCounts count" in caplog.text


def stack(*sizes):
    """Return an array of (..., 70, 50) pixels whose planes all differ."""
    planes = np.random.default_rng(1).integers(0, 200, (*sizes, 70, 50)).astype(np.uint8)
    assert len(np.unique(planes.reshape(-1, 3500), axis=0)) == np.prod(sizes)
    return planes


def pixels_and_notes(path, **options):
    """Return all pixels of an image as the reader gives them, and its notes."""
    with open_reader(path, **options) as reader:
        return next(reader.read_blocks([Window(0, 0, 70, 50)], 1)).copy(), reader.info.notes


STACKS = {
    "ome": {"ome": True},
    "ome_deflate": {"ome": True, "compression": "zlib"},
    "imagej": {"imagej": True},
}


@pytest.mark.parametrize("form", STACKS)
def test_z_and_t_choose_the_plane_and_its_channels(form, tmp_path):
    array = stack(2, 3, 4)
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="minisblack", metadata={"axes": "TZCYX"}, **STACKS[form]
    )
    for t in range(2):
        for z in range(3):
            pixels, notes = pixels_and_notes(tmp_path / "a.tif", plane={"z": z + 1, "t": t + 1})
            np.testing.assert_array_equal(pixels, array[t, z].transpose(1, 2, 0))
    assert notes == ("axis T has 2 planes: number 2 is read", "axis Z has 3 planes: number 3 is read")
    pixels, notes = pixels_and_notes(tmp_path / "a.tif", channels=(4, 2), plane={"z": 2})
    np.testing.assert_array_equal(pixels, array[0, 1, [3, 1]].transpose(1, 2, 0))
    assert notes == ("axis T has 2 planes: the first is read", "axis Z has 3 planes: number 2 is read")


def test_colour_planes_of_a_stack_are_chosen_like_others(tmp_path):
    array = np.stack([stack(3)] * 3, -1) + np.arange(3, dtype=np.uint8)
    metadata = {"axes": "ZYXS"}
    tifffile.imwrite(tmp_path / "a.tif", array, ome=True, photometric="rgb", metadata=metadata, tile=(32, 32))
    np.testing.assert_array_equal(pixels_and_notes(tmp_path / "a.tif", plane={"z": 3})[0], array[2])


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"metadata": None, "compression": "zlib"}])
def test_pages_without_a_meaning_count_as_z(options, tmp_path):
    array = stack(3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", **options)
    pixels, _ = pixels_and_notes(tmp_path / "a.tif", plane={"z": 2})
    np.testing.assert_array_equal(pixels[..., 0], array[1])


def test_a_plane_is_read_at_each_level(tmp_path):
    array = stack(3)
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as tif:
        tif.write(array, subifds=1, tile=(16, 16), photometric="minisblack", metadata={"axes": "ZYX"})
        tif.write(array[:, ::2, ::2], subfiletype=1, tile=(16, 16), photometric="minisblack", metadata=None)
    with open_reader(tmp_path / "a.tif", level=1, plane={"z": 3}) as reader:
        pixels = next(reader.read_blocks([Window(0, 0, 35, 25)], 1))
        np.testing.assert_array_equal(pixels[..., 0], array[2, ::2, ::2])


def test_series_chooses_among_images_of_a_file(tmp_path):
    first, second = stack(3), stack(2)[:, :, :40]
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as tif:
        tif.write(first, photometric="minisblack", metadata={"axes": "ZYX"})
        tif.write(second, photometric="minisblack", metadata={"axes": "ZYX"})
    with open_reader(tmp_path / "a.tif", plane={"series": 2, "z": 2}) as reader:
        pixels = next(reader.read_blocks([Window(0, 0, 70, 40)], 1))
        np.testing.assert_array_equal(pixels[..., 0], second[1])
        assert "the file holds 2 series of images: number 2 is read" in reader.info.notes


@pytest.mark.parametrize(
    ("plane", "reason"),
    [
        ({"z": 4}, "plane z: 4 does not exist; the image has 3"),
        ({"t": 2}, "plane t: 2 does not exist; the image has 1"),
        ({"series": 2}, "plane series: 2 does not exist; the image has 1"),
    ],
)
def test_a_plane_that_the_image_lacks_is_refused_with_the_number_it_has(plane, reason, tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", stack(3), ome=True, photometric="minisblack", metadata={"axes": "ZYX"}
    )
    with pytest.raises(ImageError, match=reason):
        open_reader(tmp_path / "a.tif", plane=plane)


def test_of_a_volume_in_one_page_only_the_first_plane_is_read(tmp_path):
    array = np.tile(stack(2), (1, 2, 2))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", volumetric=True, tile=(1, 32, 32))
    with pytest.raises(ImageError, match="plane z: 2 cannot be read, only the first of 2 planes in one page"):
        open_reader(tmp_path / "a.tif", plane={"z": 2})


def test_the_label_of_a_slide_is_never_read_as_the_image(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as tif:
        tif.write(GRAY, photometric="minisblack", metadata={"Name": "Slide"})
        tif.write(GRAY[:90, :80], photometric="minisblack", metadata={"Name": "Label"})
    with pytest.raises(ImageError, match="series 2 is the slide's label"):
        open_reader(tmp_path / "a.tif", plane={"series": 2})


def test_of_a_leica_slide_the_scan_is_read_and_not_the_overview_before_it(tmp_path):
    pages = [GRAY[:90, :80], RGB[..., 0], np.ascontiguousarray(RGB[::2, ::2, 0])]
    image = '<image><pixels sizeX="1" sizeY="1">{}</pixels></image>'
    levels = [['<dimension ifd="0" r="0"/>'], ['<dimension ifd="1" r="0"/>', '<dimension ifd="2" r="1"/>']]
    namespace = 'xmlns="http://www.leica-microsystems.com/scn/2010/10/01"'
    images = "".join(image.format("".join(dimensions)) for dimensions in levels)
    description = f"<?xml version='1.0'?><scn {namespace}><collection>{images}</collection></scn>"
    with tifffile.TiffWriter(tmp_path / "a.scn", bigtiff=True) as tif:
        for number, page in enumerate(pages):
            text = description if number == 0 else None
            tif.write(page, photometric="minisblack", tile=(64, 64), metadata=None, description=text)
    with open_reader(tmp_path / "a.scn") as reader:
        assert (reader.info.height, reader.info.width, reader.info.level_count) == (*RGB.shape[:2], 2)
        assert "the file holds 2 series of images: number 2 is read" in reader.info.notes
        assert_reads(reader, RGB[..., :1], row_blocks(reader.info, 256, 256, "drop"))
    with open_reader(tmp_path / "a.scn", plane={"series": 1}) as reader:
        assert reader.info.width == 80


SCAN, MACRO = GRAY[:200, :300], GRAY[300:390, :80]


def write_slide(path, *parts, **options):
    """Write an OME-TIFF of images of these names and pixels, each with pixels of its own size."""
    with tifffile.TiffWriter(path, ome=True) as tif:
        for number, (name, pixels) in enumerate(parts, start=1):
            size = {"PhysicalSizeX": number / 4, "PhysicalSizeY": number / 4}
            tif.write(
                pixels, photometric="minisblack", metadata={"Name": name, "axes": "YX"} | size, **options
            )


@pytest.mark.parametrize(
    "name",
    [
        "macro image",
        "Label_Image",
        "label image",
        "Overview",
        "thumbnail",
        "a.ndpi [macro]",
        "a.svs - label",
        "label 387x463",
    ],
)
def test_scan_is_read_where_another_picture_of_the_slide_comes_first(name, tmp_path):
    write_slide(tmp_path / "a.tif", (name, MACRO), ("field", SCAN[:99]), ("scan", SCAN), ("slide", SCAN[:50]))
    with open_reader(tmp_path / "a.tif") as reader:
        assert "the file holds 4 series of images: number 3 is read" in reader.info.notes
        assert reader.info.mpp == (0.75, 0.75)
        assert_reads(reader, SCAN[..., None], row_blocks(reader.info, 64, 64, "drop"))
    with pytest.raises(ImageError, match="series 1 is the slide's"):
        open_reader(tmp_path / "a.tif", plane={"series": 1})
    with open_reader(tmp_path / "a.tif", plane={"series": 2}) as reader:
        assert (reader.info.height, reader.info.mpp) == (99, (0.5, 0.5))


@pytest.mark.parametrize("name", ["scan", "Macrophages", "label-free 1", "labels", "", "sub-label"])
def test_first_image_is_read_where_its_name_is_no_part_of_a_slide(name, tmp_path):
    write_slide(tmp_path / "a.tif", (name, MACRO), ("scan", SCAN))
    with open_reader(tmp_path / "a.tif") as reader:
        assert (reader.info.height, reader.info.mpp) == (len(MACRO), (0.25, 0.25))


def test_macro_that_is_all_there_is_is_read(tmp_path):
    write_slide(tmp_path / "a.tif", ("macro image", MACRO))
    with open_reader(tmp_path / "a.tif") as reader:
        assert_reads(reader, MACRO[..., None], row_blocks(reader.info, 64, 64, "drop"))


@pytest.mark.parametrize(("kind", "first"), [(1, MACRO), (4, MACRO > 100)])
@pytest.mark.parametrize("metadata", [None, {}])
def test_page_that_says_it_is_a_reduced_image_or_a_mask_is_not_the_image(kind, first, metadata, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for pixels, subfiletype in ((first, kind), (SCAN, 0)):
            tif.write(pixels, photometric="minisblack", subfiletype=subfiletype, metadata=metadata)
    with open_reader(tmp_path / "a.tif") as reader:
        assert "the file holds 2 series of images: number 2 is read" in reader.info.notes
        assert_reads(reader, SCAN[..., None], row_blocks(reader.info, 64, 64, "drop"))


@pytest.mark.parametrize(
    "text",
    ["Aperio Image Library v11\r\nmacro 80x90", "Label_Image", "Macro -offset=(0,0)-pixelsize=(0.1,0.1)"],
)
def test_page_whose_description_is_that_of_a_part_of_a_slide_is_not_the_image(text, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for pixels, description in ((MACRO, text), (SCAN, "scan")):
            tif.write(pixels, photometric="minisblack", description=description, metadata=None)
    with open_reader(tmp_path / "a.tif") as reader:
        assert reader.info.height == len(SCAN)


@pytest.mark.parametrize("subfiletype", [0, 1, 2])
def test_first_of_pages_of_one_size_is_read_whatever_they_say(subfiletype, tmp_path):
    array = stack(3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page in array:
            tif.write(page, photometric="minisblack", subfiletype=subfiletype, metadata=None)
    pixels, notes = pixels_and_notes(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels[..., 0], array[0])
    assert notes == ("axis I has 3 planes: the first is read",)


OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XY{order}" Type="uint8" SizeX="50" SizeY="{height}" '
    'SizeC="{c}" SizeZ="{z}" SizeT="{t}" PhysicalSizeX="0.5" PhysicalSizeY="0.5"/></Image></OME>'
)


def write_described(path, pages, photometric="minisblack", order="CZT", c=1, z=1, t=1, height=70, **options):
    """Write pages and an OME-XML that does not say which of its planes they are."""
    xml = OME.format(order=order, c=c, z=z, t=t, height=height)
    with tifffile.TiffWriter(path) as tif:
        for number, page in enumerate(pages):
            text = None if number else xml
            tif.write(page, photometric=photometric, description=text, metadata=None, **options)


@pytest.mark.parametrize("order", ["CZT", "ZCT", "TZC", "ZTC"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (32, 32)}])
def test_pages_of_ome_xml_without_tiff_data_are_its_planes_in_their_order(order, options, tmp_path):
    sizes = {"c": 3, "z": 2, "t": 4}
    array = stack(*sizes.values())  # C, Z, T
    slowest_first = [list(sizes).index(axis.lower()) for axis in reversed(order)]
    pages = array.transpose(*slowest_first, 3, 4).reshape(-1, 70, 50)
    write_described(tmp_path / "a.tif", pages, order=order, **sizes, **options)
    for z, t in [(1, 1), (2, 3)]:
        pixels, _ = pixels_and_notes(tmp_path / "a.tif", plane={"z": z, "t": t})
        np.testing.assert_array_equal(pixels, array[:, z - 1, t - 1].transpose(1, 2, 0))
    with open_reader(tmp_path / "a.tif") as reader:
        assert reader.info.mpp == (0.5, 0.5)


@pytest.mark.parametrize("samples", [3, 4])
def test_samples_of_colour_pages_count_as_channels_of_ome_xml(samples, tmp_path):
    array = np.stack([stack(3)] * samples, -1) + np.arange(samples, dtype=np.uint8)
    write_described(tmp_path / "a.tif", array, photometric="rgb", c=3, z=3)
    np.testing.assert_array_equal(pixels_and_notes(tmp_path / "a.tif", plane={"z": 3})[0], array[2])


@pytest.mark.parametrize(
    ("pages", "sizes"), [(3, {"c": 4}), (3, {"c": 2}), (1, {"c": 3}), (3, {"height": 71})]
)
def test_ome_xml_of_other_planes_than_the_file_holds_is_refused(pages, sizes, tmp_path):
    write_described(tmp_path / "a.tif", stack(pages), **sizes)
    with pytest.raises(ImageError, match="its OME-XML describes"):
        open_reader(tmp_path / "a.tif")


def test_broken_ome_xml_of_several_pages_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for number, page in enumerate(stack(3)):
            text = None if number else "<OME><Pixels </OME>"
            tif.write(page, photometric="minisblack", description=text, metadata=None)
    with pytest.raises(ImageError, match="its OME-XML describes no planes of their size"):
        open_reader(tmp_path / "a.tif")


def test_image_that_was_cut_out_of_an_ome_tiff_is_read(tmp_path):
    array = stack(1)
    write_described(tmp_path / "a.tif", array, height=700)
    np.testing.assert_array_equal(pixels_and_notes(tmp_path / "a.tif")[0][..., 0], array[0])


@pytest.mark.parametrize("has_pages", [True, False])
def test_channels_of_a_pyramid_that_libvips_writes_are_channels(has_pages, tmp_path):
    array, path = np.tile(stack(3), (1, 4, 4)), tmp_path / "a.ome.tif"
    image = pyvips.Image.new_from_array(array.reshape(-1, 200)).copy()
    xml = OME.format(order="CZT", c=3, z=1, t=1, height=280).replace('SizeX="50"', 'SizeX="200"')
    image.set_type(pyvips.GValue.gstr_type, "image-description", xml)
    if has_pages:
        image.set_type(pyvips.GValue.gint_type, "page-height", 280)
    tiles = {"tile": True, "tile_width": 64, "tile_height": 64, "compression": "deflate"}
    image.tiffsave(str(path), pyramid=True, subifd=True, **tiles)
    if not has_pages:
        with pytest.raises(ImageError, match="describes 3 planes, but the file contains 1"):
            open_reader(path)
        return
    with open_reader(path) as reader:
        assert (reader.info.channels, reader.info.level_count) == (3, 4)
        assert_reads(reader, array.transpose(1, 2, 0), row_blocks(reader.info, 64, 64, "drop"))
    expected = [pyvips.Image.tiffload(str(path), page=page, subifd=0).numpy() for page in range(3)]
    with open_reader(path, level=1) as reader:
        assert_reads(reader, np.stack(expected, -1), row_blocks(reader.info, 64, 64, "drop"))


@pytest.mark.parametrize("software", ["PerkinElmer-QPI", "another program"])
@pytest.mark.parametrize("is_colour", [False, True])
def test_channels_levels_and_size_of_a_qptiff_are_those_of_its_scan(is_colour, software, noise, tmp_path):
    """In the order of its format: a page for each channel, thumbnail, other levels, macro, label."""
    channels = [noise(256, 384, 3)] if is_colour else [noise(256, 384, seed=seed) for seed in range(5)]
    scan = {"photometric": "rgb" if is_colour else "minisblack", "tile": (64, 64)}
    scan |= {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    pages = [("FullResolution", channel, scan) for channel in channels]
    pages += [("Thumbnail", noise(40, 60, 3), {"photometric": "rgb"})]
    pages += [("ReducedResolution", channel[::2, ::2], scan) for channel in channels]
    pages += [(name, noise(50, 40, 3), {"photometric": "rgb"}) for name in ("Overview", "Label")]
    with tifffile.TiffWriter(tmp_path / "a.qptiff") as writer:
        for kind, pixels, storage in pages:
            root = "PerkinElmer-QPI-ImageDescription"
            text = f'<?xml version="1.0" encoding="utf-16"?><{root}><ImageType>{kind}</ImageType></{root}>'
            writer.write(pixels, description=text, software=software, metadata=None, **storage)
    expected = channels[0] if is_colour else np.stack(channels, axis=2)
    with open_image(tmp_path / "a.qptiff") as image:
        np.testing.assert_array_equal(image.read(), expected)
        np.testing.assert_array_equal(image.read(level=1), expected[::2, ::2])
        assert (len(image.levels), image.info.mpp) == (2, (0.5, 0.5))


def test_a_file_without_any_image_is_refused(tmp_path):
    path, empty_directory = tmp_path / "a.tif", bytes(2)
    path.write_bytes(struct.pack("<4sI", b"II*\0", 8) + empty_directory + struct.pack("<I", 14) + bytes(6))
    with pytest.raises(ImageError, match="not a readable TIFF: it contains no image"):
        open_reader(path)


def test_an_unknown_predictor_is_refused(changed):
    path = changed(compression="zlib", predictor=True, tags={317: 9})
    with pytest.raises(ImageError, match="predictor 9 cannot be decoded") as error:
        open_reader(path)
    assert error.value.hint == ""  # GDAL does not know it either


def test_of_channels_of_several_samples_the_first_is_read(tmp_path):
    array = np.stack([RGB[:70, :50], RGB[70:140, :50]])
    tifffile.imwrite(tmp_path / "a.tif", array, ome=True, photometric="rgb", metadata={"axes": "CYXS"})
    pixels, notes = pixels_and_notes(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, array[0])
    assert notes == ("axis C has 2 planes of several samples: the first is read",)


def test_a_channel_that_the_file_does_not_hold_is_refused(tmp_path, caplog):
    caplog.set_level("CRITICAL")  # tifffile tells of the missing page
    path = tmp_path / "a.ome.tif"
    storage = {"photometric": "minisblack", "compression": "zlib"}
    tifffile.imwrite(path, stack(3), ome=True, metadata={"axes": "CYX"}, **storage)
    with tifffile.TiffFile(path) as tif:
        second = tif.pages[1]
        link = second.offset + 2 + 12 * len(second.tags)
    data = path.read_bytes()
    path.write_bytes(data[:link] + bytes(4) + data[link + 4 :])
    with pytest.raises(ImageError, match="some of its channels are missing"):
        open_reader(path)


def test_a_segment_beyond_any_file_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", bigtiff=True, compression="zlib", metadata=None, **TILE)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        page = tif.pages[0]
        page.tags[324].overwrite((2**63 + 5, *page.dataoffsets[1:]))
    with pytest.raises(ImageError, match="the offset of a segment is too large for any file"):
        open_reader(path)


def test_an_error_of_the_disk_is_not_taken_for_one_of_the_image(changed, monkeypatch):
    path = changed(compression="zlib", **TILE)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_reader(path) as reader:
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(OSError, match="Input/output error"):
            list(reader.read_blocks(row_blocks(reader.info, 256, 256, "drop"), 1))


@pytest.mark.parametrize("raised", [OSError("failed to read\n4 bytes"), KeyError("offset"), struct.error()])
def test_words_of_decoders_are_in_the_log_and_not_in_the_message(raised, caplog):
    caplog.set_level("INFO", logger="quadrat")
    with (
        pytest.raises(ImageError, match=r"^segment 3$"),
        tifffile_errors(lambda: "segment 3"),
    ):
        raise raised
    assert repr(raised) in caplog.text


def test_lack_of_memory_is_not_taken_for_a_broken_image():
    with pytest.raises(MemoryError), tifffile_errors(lambda: "segment 3"):
        raise MemoryError
