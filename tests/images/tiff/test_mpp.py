import openslide
import pytest
import tifffile
from tifffile import TiffFile

from quadrat import open_image
from quadrat.images.tiff.mpp import mpp_of
from traps import GRAY, RGB

TILED = {"photometric": "rgb", "tile": (128, 128), "metadata": None}
PLAIN = {"photometric": "minisblack", "metadata": None}


def info_of(path, **plane):
    with open_image(path, plane or None) as image:
        return image.info


def mpp_of_openslide(path, vendor):
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == vendor
        found = [slide.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
        return tuple(map(float, found)) if all(found) else None


APERIO = "Aperio Image Library v12\n619x1061 (256x256) JPEG/RGB Q=70|AppMag = 40|MPP = {}|Left = 2"


@pytest.mark.parametrize("text", ["0.2522", "0,2500", ".25", "2,5e-1", "0.25 ", "1.000,5", "0.25.22", "wide"])
def test_mpp_of_an_aperio_slide_is_that_of_openslide(text, tmp_path):
    tifffile.imwrite(tmp_path / "a.svs", RGB, description=APERIO.format(text), compression="jpeg", **TILED)
    assert info_of(tmp_path / "a.svs").mpp == mpp_of_openslide(tmp_path / "a.svs", "aperio")


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan"])
def test_mpp_that_no_pixel_has_is_none(text, tmp_path):
    tifffile.imwrite(tmp_path / "a.svs", GRAY, description=APERIO.format(text), **PLAIN)
    assert info_of(tmp_path / "a.svs").mpp is None


def philips_image(kind, *spacings):
    """Describe an image of a slide: its spacing in millimetres along y and x, then those of its levels."""
    texts = [f'<Attribute Name="DICOM_PIXEL_SPACING">{one}</Attribute>' for one in spacings]
    levels = [f'<DataObject ObjectType="PixelDataRepresentation">{one}</DataObject>' for one in texts[1:]]
    return (
        f'<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">{kind}</Attribute>'
        f'{texts[0]}<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{"".join(levels)}'
        "</Array></Attribute></DataObject>"
    )


WSI = philips_image("WSI", '"0.00025" "0.0005"', '"0.00025" "0.0005"')
PHILIPS = {
    "the slide": [WSI],
    "label and macro first": [
        philips_image("LABELIMAGE", '"0.03" "0.02"'),
        philips_image("MACROIMAGE", '"0.01" "0.02"'),
        WSI,
    ],
    "without quotes": [philips_image("WSI", "0.00025 0.0005", "0.00025 0.0005")],
    "one number": [philips_image("WSI", '"0.00025"', '"0.00025" "0.0005"')],
}


@pytest.mark.parametrize("name", PHILIPS)
def test_mpp_of_a_philips_slide_is_that_of_openslide(name, tmp_path):
    path = tmp_path / "a.tiff"
    xml = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        f'<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>{"".join(PHILIPS[name])}</Array></Attribute>'
        "</DataObject>"
    )
    options = TILED | {"compression": "jpeg", "software": "Philips DP v1.0", "description": xml}
    tifffile.imwrite(path, RGB, **options)
    found = mpp_of_openslide(path, "philips")
    assert found == (None if name == "one number" else (0.25, 0.5))
    assert info_of(path).mpp == found


def ome_of(*images, uuid="", namespace="http://www.openmicroscopy.org/Schemas/OME/2016-06"):
    return f'<OME xmlns="{namespace}" {uuid}>' + "".join(f"<Image>{one}</Image>" for one in images) + "</OME>"


def pixels_of(sizes, inside="", shape=GRAY.shape):
    described = f'DimensionOrder="XYCZT" Type="uint8" SizeX="{shape[1]}" SizeY="{shape[0]}"'
    return f'<Pixels {described} SizeC="1" SizeZ="1" SizeT="1" {sizes}>{inside}</Pixels>'


def sizes_of(y, x, unit=None):
    units = "" if unit is None else f'PhysicalSizeYUnit="{unit}" PhysicalSizeXUnit="{unit}"'
    return f'PhysicalSizeY="{y}" PhysicalSizeX="{x}" {units}'


UNITS = {
    None: 1,
    "\N{MICRO SIGN}m": 1,
    "\N{GREEK SMALL LETTER MU}m": 1,
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "nm": 1e-3,
    "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}": 1e-4,
    "\N{ANGSTROM SIGN}": 1e-4,
    "pm": 1e-6,
    "in": 25_400,
    "inch": 25_400,
    "pixel": None,
    "reference frame": None,
    "Mm": None,
}


@pytest.mark.parametrize("unit", UNITS)
def test_mpp_of_ome_tiff_is_its_physical_size_in_its_unit(unit, tmp_path):
    description = ome_of(pixels_of(sizes_of(0.25, 0.5, unit))).encode()
    tifffile.imwrite(tmp_path / "a.ome.tif", GRAY, description=description, **PLAIN)
    factor = UNITS[unit]
    expected = None if factor is None else pytest.approx((0.25 * factor, 0.5 * factor))
    assert info_of(tmp_path / "a.ome.tif").mpp == expected


@pytest.mark.parametrize(
    "description",
    [
        ome_of(pixels_of('PhysicalSizeX="wide" PhysicalSizeY="1"')),
        ome_of(pixels_of('PhysicalSizeX="0.5"')),
        ome_of(pixels_of('PhysicalSizeX="0" PhysicalSizeY="0"')),
        ome_of(pixels_of('PhysicalSizeX="INF" PhysicalSizeY="INF"')),
        ome_of("<Plane/>"),
        ome_of("<Pixels"),
        "ImageJ=1.11a\nunit=um\n",
        '<?xml version="1.0" ?><DataObject ObjectType="DPUfsImport"><a></DataObject>',
    ],
)
def test_mpp_that_the_metadata_do_not_contain_is_none(description, tmp_path, caplog):
    caplog.set_level("CRITICAL")  # tifffile reports each broken description
    tifffile.imwrite(tmp_path / "a.tif", GRAY, description=description, resolution=(0, 0), **PLAIN)
    with TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages[0]
        assert mpp_of(page) is None


def test_each_series_of_an_ome_tiff_has_its_own_mpp(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for size in (16, 0.25, 0.5):
            tif.write(GRAY, photometric="minisblack", metadata={"PhysicalSizeX": size, "PhysicalSizeY": size})
    assert [info_of(path, series=number).mpp for number in (1, 2, 3)] == [(16, 16), (0.25, 0.25), (0.5, 0.5)]


def test_mpp_of_an_image_that_lies_in_another_file_of_a_set_is_not_taken(tmp_path):
    def data(name):
        return f'<TiffData IFD="0"><UUID FileName="{name}.ome.tif">urn:uuid:{name}</UUID></TiffData>'

    images = [pixels_of(sizes_of(size, size), data(name)) for name, size in (("a", 16), ("b", 0.25))]
    description = ome_of(*images, uuid='UUID="urn:uuid:b"')
    tifffile.imwrite(tmp_path / "b.ome.tif", GRAY, description=description, **PLAIN)
    with TiffFile(tmp_path / "b.ome.tif") as tif:
        assert mpp_of(tif.pages[0]) == (0.25, 0.25)


def test_mpp_of_an_image_that_no_tiff_data_name_is_that_of_all_images_of_its_size(tmp_path):
    other = pixels_of(sizes_of(16, 16), shape=(99, 99))
    for others, mpp in (([0.25], (0.25, 0.25)), ([0.25, 0.25], (0.25, 0.25)), ([0.25, 0.5], None)):
        description = ome_of(other, *(pixels_of(sizes_of(size, size)) for size in others))
        tifffile.imwrite(tmp_path / "a.ome.tif", GRAY, description=description, **PLAIN)
        with TiffFile(tmp_path / "a.ome.tif") as tif:
            assert mpp_of(tif.pages[0]) == mpp


@pytest.mark.parametrize(
    ("unit", "per_unit", "mpp"),
    [
        ("um", 4, 0.25),
        ("micron", 4, 0.25),
        ("\\u00B5m", 4, 0.25),
        ("nm", 0.004, 0.25),
        ("mm", 4_000, 0.25),
        ("cm", 40_000, 0.25),
        ("inch", 101_600, 0.25),
        ("inch", 300, None),
        ("pixel", 4, None),
    ],
)
def test_mpp_of_imagej_is_its_resolution_in_its_unit(unit, per_unit, mpp, tmp_path):
    path = tmp_path / "imagej.tif"
    options = {"resolution": (per_unit, per_unit / 2), "metadata": {"unit": unit, "axes": "YX"}}
    tifffile.imwrite(path, GRAY, imagej=True, **options)
    with TiffFile(path) as tif:
        assert tif.imagej_metadata["unit"] in (unit, "\N{MICRO SIGN}m")
    assert info_of(path).mpp == (None if mpp is None else pytest.approx((2 * mpp, mpp)))


def test_height_of_a_pixel_of_imagej_may_have_its_own_unit(tmp_path):
    description = "ImageJ=1.54f\nunit=micron\nyunit=nm\n"
    tifffile.imwrite(tmp_path / "a.tif", GRAY, description=description, resolution=(4, 0.004), **PLAIN)
    assert info_of(tmp_path / "a.tif").mpp == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH", "NONE", None])
@pytest.mark.parametrize("per_unit", [(40_000, 20_000), (101_600, 101_600)])
def test_resolution_of_a_slide_is_that_of_openslide(unit, per_unit, tmp_path):
    """A TIFF without a unit has inches."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, resolution=per_unit, resolutionunit=unit or "CENTIMETER", **TILED)
    if unit is None:
        with TiffFile(path) as tif:
            entry = tif.pages[0].tags[296].offset
        with open(path, "r+b") as file:
            file.seek(entry)
            file.write((297).to_bytes(2, "little"))
    assert info_of(path).mpp == mpp_of_openslide(path, "generic-tiff")


@pytest.mark.parametrize(
    ("unit", "per_unit", "mpp"),
    [
        *(("INCH", dots, None) for dots in (72, 96, 150, 300, 600, 1200, 2400)),
        ("INCH", 5080, 5),
        *(("CENTIMETER", dots, None) for dots in (28.35, 118.11)),
        ("CENTIMETER", 1_000, 10),
        ("CENTIMETER", 400, 25),
        ("INCH", 1, None),
        ("INCH", 1e9, None),
    ],
)
def test_resolution_for_print_is_no_mpp(unit, per_unit, mpp, tmp_path):
    options = {"resolution": (per_unit, per_unit), "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "a.tif", GRAY, **PLAIN, **options)
    info = info_of(tmp_path / "a.tif")
    assert info.mpp == (None if mpp is None else (mpp, mpp))
    size = (25_400 if unit == "INCH" else 10_000) / per_unit
    assert len(info.notes) == (10 < size <= 50)


def test_doubtful_resolution_is_noted_with_what_was_made_of_it(tmp_path):
    for unit, per_unit, taken in (("INCH", 1200, "not taken"), ("CENTIMETER", 500, "taken")):
        options = {"resolution": (per_unit, per_unit), "resolutionunit": unit}
        tifffile.imwrite(tmp_path / "a.tif", GRAY, **PLAIN, **options)
        (note,) = info_of(tmp_path / "a.tif").notes
        size = "21.2" if unit == "INCH" else "20"
        assert note.startswith(f"its resolution is {taken} as {size} micrometres per pixel")
        assert ("default_mpp" in note) == (unit == "INCH")


@pytest.mark.parametrize(("unit", "per_unit"), [("INCH", 1200), ("CENTIMETER", 500)])
def test_resolution_is_not_doubtful_where_a_description_has_the_size_of_a_pixel(unit, per_unit, tmp_path):
    for size in (0.25, 20.0):
        options = {"resolution": (per_unit, per_unit), "resolutionunit": unit}
        tifffile.imwrite(tmp_path / "a.svs", GRAY, description=APERIO.format(size), **PLAIN, **options)
        info = info_of(tmp_path / "a.svs")
        assert (info.mpp, info.notes) == ((size, size), ())


def test_resolution_of_an_image_on_earth_is_not_its_mpp(tmp_path):
    keys = (1, 1, 0, 1, 1024, 0, 1, 2)
    options = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", GRAY, extratags=[(34735, 3, 8, keys, True)], **PLAIN, **options)
    assert info_of(tmp_path / "a.tif").mpp is None


def test_each_series_of_any_tiff_has_its_own_mpp(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for pixels, per_cm in ((GRAY, 40_000), (RGB, 20_000)):
            kind = "rgb" if pixels.ndim == 3 else "minisblack"
            tif.write(pixels, photometric=kind, resolution=(per_cm,) * 2, resolutionunit="CENTIMETER")
    assert [info_of(tmp_path / "a.tif", series=number).mpp[0] for number in (1, 2)] == [0.25, 0.5]


def test_resolution_of_another_type_is_no_mpp(tmp_path):
    tags = [(282, 4, 1, 40_000, True), (283, 4, 1, 40_000, True), (296, 3, 1, 3, True)]
    tifffile.imwrite(tmp_path / "a.tif", GRAY, extratags=tags, **PLAIN)
    assert info_of(tmp_path / "a.tif").mpp is None
