import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from comparison import open_reader
from quadrat.images.gdal import OPTIONS
from traps import GRAY, RGB, TIFF_TRAPS, written_by_gdal

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
NORTH_UP, ROTATED = Affine(10, 0, 5e5, 0, -10, 4e6), Affine(8, 3, 5e5, 2, -9, 4e6)
SOUTH_UP, WEST_UP = Affine(10, 0, 5e5, 0, 10, 4e6), Affine(-10, 0, 5e5, 0, -10, 4e6)
TRANSFORMS = [NORTH_UP, ROTATED]


def info_of(path, level=0):
    with open_reader(path, level=level) as reader:
        return reader.info


@pytest.mark.parametrize("crs", ["EPSG:32612", "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("point", [False, True])
def test_crs_and_transform_are_those_of_gdal(crs, transform, point, tmp_path):
    path = tmp_path / "geo.tif"
    with written_by_gdal(path, 1, "uint8", (40, 30), crs=crs, transform=transform) as image:
        if point:
            image.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(path) as image:
        assert info_of(path).crs == image.crs.to_string() == crs
        assert info_of(path).transform == pytest.approx(tuple(image.transform)[:6], abs=1e-9)


def test_a_crs_without_a_code_is_given_as_gdal_composes_it(tmp_path):
    path = tmp_path / "modis.tif"
    crs = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m"
    with written_by_gdal(path, 1, "uint8", (40, 30), crs=crs, transform=TRANSFORMS[0]):
        pass
    with rasterio.open(path) as image:
        assert info_of(path).crs == image.crs.to_string()


def test_an_image_that_lies_nowhere_has_neither_crs_nor_transform_nor_mpp(tmp_path):
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, GRAY, photometric="minisblack")
    info = info_of(path)
    assert (info.crs, info.transform, info.mpp) == (None, None, None)


def assert_lies_where_gdal_has_it(path):
    """Compare with GDAL, which looks at the file alone as quadrat does."""
    with rasterio.Env(**OPTIONS), rasterio.open(path) as image:
        crs = image.crs.to_string() if image.crs else None
        info = info_of(path)
        assert info.crs == crs
        assert (info.transform or Affine.identity()[:6]) == pytest.approx(
            tuple(image.transform)[:6], abs=1e-9
        )
        nodata = (info.nodata or (None,))[0]
        assert (nodata is None) == (image.nodata is None)
        np.testing.assert_array_equal(np.array(nodata, float), np.array(image.nodata, float))


# These compressions no GDAL of rasterio decodes.
BY_GDAL = [name for name in TIFF_TRAPS if not name.startswith(("png", "jpeg2000", "jpegxl"))]


@pytest.mark.parametrize("name", BY_GDAL)
def test_every_tiff_lies_where_gdal_has_it(name, tiff_trap_path):
    assert_lies_where_gdal_has_it(tiff_trap_path(name))


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED, SOUTH_UP, WEST_UP])
@pytest.mark.parametrize("point", ["Area", "Point"])
@pytest.mark.parametrize(
    "crs", ["EPSG:32612", "EPSG:2263", "EPSG:2154", "EPSG:27700", "ESRI:54009", "EPSG:5514"]
)
def test_image_lies_where_gdal_has_it(transform, point, crs, tmp_path):
    """The second reference system is in feet."""
    with written_by_gdal(tmp_path / "a.tif", 1, "uint8", (40, 30), crs=crs, transform=transform) as image:
        image.update_tags(AREA_OR_POINT=point)
    assert_lies_where_gdal_has_it(tmp_path / "a.tif")


def doubles(tag, *values):
    return tag, 12, len(values), tuple(map(float, values)), True


def keys(*entries):
    directory = 1, 1, 0, len(entries), *(part for key, value in entries for part in (key, 0, 1, value))
    return 34735, 3, len(directory), directory, True


UTM = keys((1024, 1), (1025, 1), (3072, 32612))
UTM_POINT = keys((1024, 1), (1025, 2), (3072, 32612))
SCALE, TIE = doubles(33550, 10, 20, 0), doubles(33922, 3, 4, 0, 5e5, 4e6, 0)
TIES = doubles(33922, 0, 0, 0, 5e5, 4e6, 0, 30, 0, 0, 5.003e5, 4e6, 0)
MATRIX = doubles(34264, 8, 3, 0, 5e5, 2, -9, 0, 4e6, 0, 0, 0, 0, 0, 0, 0, 1)
PLACED = {
    "a tie point and a scale": [UTM, SCALE, TIE],
    "the same for the pixels' centres": [UTM_POINT, SCALE, TIE],
    "a matrix": [UTM, MATRIX],
    "the same for the pixels' centres of a matrix": [UTM_POINT, MATRIX],
    "a scale and a matrix": [UTM, SCALE, TIE, MATRIX],
    "several tie points and a scale": [UTM, SCALE, TIES],
    "a scale below 0": [UTM, doubles(33550, -10, -20, 0), TIE],
    "a scale along two axes": [UTM, doubles(33550, 10, 20), TIE],
    "a scale of 0 and a matrix": [UTM, doubles(33550, 0, 20, 0), TIE, MATRIX],
    "half a matrix": [UTM, doubles(34264, 8, 3, 0, 5e5, 2, -9, 0, 4e6)],
    "no keys": [SCALE, TIE],
    "keys alone": [UTM],
    "a unit of its own": [keys((1024, 1), (1025, 1), (3072, 32612), (3076, 9003)), SCALE, TIE],
    "a code that is none": [keys((1024, 1), (1025, 1), (3072, 999)), SCALE, TIE],
    "a code of ESRI": [keys((1024, 1), (1025, 1), (3072, 54009)), SCALE, TIE],
    "no type of model": [keys((1025, 1), (3072, 32612)), SCALE, TIE],
    "no type of model, for the pixels' centres": [keys((1025, 2), (3072, 32612)), SCALE, TIE],
    "no type of model, and the system below": [keys((3072, 32612), (2048, 4326)), SCALE, TIE],
    "a type of model that is none": [keys((1024, 0), (3072, 32612)), SCALE, TIE],
    "a directory of one number": [(34735, 3, 1, 1, True), SCALE, TIE],
    "another type of model": [keys((1024, 2), (1025, 1), (3072, 32612)), SCALE, TIE],
    "degrees": [keys((1024, 2), (1025, 1), (2048, 4326)), SCALE, TIE],
    "degrees and a height": [keys((1024, 2), (1025, 1), (2048, 4326), (4096, 5773)), SCALE, TIE],
    "coordinates from the centre of the Earth": [keys((1024, 3), (2048, 4978)), SCALE, TIE],
}


@pytest.mark.parametrize("name", PLACED)
def test_image_lies_where_gdal_has_it_by_its_tags(name, tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", GRAY, photometric="minisblack", metadata=None, extratags=PLACED[name]
    )
    assert_lies_where_gdal_has_it(tmp_path / "a.tif")


def test_control_points_may_be_in_a_reference_system_without_a_code(tmp_path):
    crs = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m"
    with written_by_gdal(tmp_path / "a.tif", 1, "uint8", (40, 30)) as image:
        image.gcps = [GroundControlPoint(y, x, x, y) for x in (0, 30) for y in (0, 40)], crs
    with rasterio.open(tmp_path / "a.tif") as image:
        assert info_of(tmp_path / "a.tif").crs == image.gcps[1].to_string()


def test_numbers_as_text_are_no_place(tmp_path):
    tags = [(33550, 2, 0, "10 20 0", True), TIE, (34735, 2, 0, "1 1 0", True)]
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="minisblack", metadata=None, extratags=tags)
    assert (info_of(tmp_path / "a.tif").crs, info_of(tmp_path / "a.tif").transform) == (None, None)


@pytest.mark.parametrize("others", [[], [doubles(33922, 3, 4, 0, 5e5)]])
def test_scale_without_a_tie_point_is_no_place(others, tmp_path):
    """GDAL puts the image at 0, 0, or where a world file has it."""
    tags = [UTM, SCALE, *others]
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="minisblack", metadata=None, extratags=tags)
    with rasterio.open(tmp_path / "a.tif") as image:
        assert (image.transform.c, image.transform.f) == (0, 0)
    info = info_of(tmp_path / "a.tif")
    assert (info.crs, info.transform) == ("EPSG:32612", None)
    assert info.notes == ("no place on Earth: it has a scale without a tie point",)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500005\n3999995\n")
    with rasterio.open(tmp_path / "a.tif") as image:
        info = info_of(tmp_path / "a.tif")
        assert (info.transform, info.notes) == (tuple(image.transform)[:6], ())


def test_matrix_beside_a_scale_without_a_tie_point_is_the_place(tmp_path):
    tags = [UTM, SCALE, MATRIX]
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="minisblack", metadata=None, extratags=tags)
    assert info_of(tmp_path / "a.tif").transform == (8, 3, 5e5, 2, -9, 4e6)


def test_geographic_system_needs_no_type_of_model(tmp_path):
    """GDAL composes a system without a name."""
    tags = [keys((1025, 1), (2048, 4326)), SCALE, TIE]
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="minisblack", metadata=None, extratags=tags)
    with rasterio.open(tmp_path / "a.tif") as image:
        assert "unnamed" in image.crs.to_string()
        assert info_of(tmp_path / "a.tif").transform == tuple(image.transform)[:6]
    assert info_of(tmp_path / "a.tif").crs == "EPSG:4326"


@pytest.mark.parametrize("points", [1, 4])
@pytest.mark.parametrize("others", [[UTM], [keys((1025, 1), (3072, 32612))], [UTM, doubles(33550, 10)]])
def test_control_points_are_no_transform_and_noted(points, others, tmp_path):
    """GDAL has a reference system of the points, which quadrat gives for the image."""
    corners = [(0, 0), (30, 0), (0, 40), (30, 40)][:points]
    ties = doubles(33922, *(n for x, y in corners for n in (x, y, 0, 5e5 + x, 4e6 - y, 0)))
    tags = [*others, ties]
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="minisblack", metadata=None, extratags=tags)
    with rasterio.open(tmp_path / "a.tif") as image:
        assert image.transform.is_identity
        assert len(image.gcps[0]) == points
        named = image.gcps[1].to_string()
    info = info_of(tmp_path / "a.tif")
    assert (info.crs, info.transform) == (named, None)
    (note,) = info.notes
    assert note.startswith("no place on Earth: control points are not applied")


def test_height_is_left_out_of_the_reference_system(tmp_path):
    """Places need none: GDAL has both systems in one."""
    for both, flat in (("EPSG:7415", "EPSG:28992"), ("EPSG:4979", "EPSG:4326")):
        with written_by_gdal(tmp_path / "a.tif", 1, "uint8", (40, 30), crs=both, transform=NORTH_UP):
            pass
        with rasterio.open(tmp_path / "a.tif") as image:
            assert image.crs.to_string() == both
        assert info_of(tmp_path / "a.tif").crs == flat


def test_crs_and_transform_of_an_overview_are_those_of_level_0(tmp_path):
    path = tmp_path / "overview.tif"
    with written_by_gdal(
        path, 1, "uint8", (600, 600), crs="EPSG:32612", transform=TRANSFORMS[0], tiled=True
    ) as image:
        image.build_overviews([2])
    assert info_of(path, level=1).transform == info_of(path).transform == tuple(TRANSFORMS[0])[:6]
    assert info_of(path, level=1).crs == "EPSG:32612"


def test_nodata_is_the_fill(tmp_path):
    for dtype, nodata in (("uint8", 255), ("int16", -9999), ("float32", float("nan"))):
        path = tmp_path / f"{dtype}.tif"
        with written_by_gdal(path, 1, dtype, (40, 30), nodata=nodata):
            pass
        assert np.array_equal(info_of(path).fill, [nodata], equal_nan=True)


def test_nodata_that_is_no_number_is_none(tmp_path):
    path = tmp_path / "text.tif"
    tifffile.imwrite(path, GRAY, photometric="minisblack", extratags=[(42113, 2, 0, "none", True)])
    assert (info_of(path).nodata, info_of(path).fill) == (None, (0,))


SCALING = [([0.5, 2e-4, 3], [1.5, 0, -7]), ([0.5, 1, 1], [0, 0, 0]), ([1, 1, 1], [0, 100, 0])]


@pytest.mark.parametrize(("scales", "offsets"), SCALING)
@pytest.mark.parametrize("channels", [None, (3, 1)])
def test_scales_and_offsets_of_channels_are_those_of_gdal(scales, offsets, channels, tmp_path):
    path = tmp_path / "scaled.tif"
    with written_by_gdal(path, 3, "uint16", (40, 30), transform=TRANSFORMS[0]) as image:
        image.scales, image.offsets = scales, offsets
    with rasterio.open(path) as image, open_reader(path, channels) as reader:
        wanted = [channel - 1 for channel in channels or (1, 2, 3)]
        assert reader.info.scales == tuple(image.scales[one] for one in wanted)
        assert reader.info.offsets == tuple(image.offsets[one] for one in wanted)


def test_file_without_scales_tells_none_even_with_other_metadata(tmp_path):
    path = tmp_path / "tagged.tif"
    with written_by_gdal(path, 1, "uint8", (40, 30)) as image:
        image.update_tags(note="something else")
        image.set_band_description(1, "red")
    assert (info_of(path).scales, info_of(path).offsets) == (None, None)


def test_scales_that_are_no_xml_are_none(tmp_path):
    path = tmp_path / "broken.tif"
    tifffile.imwrite(path, GRAY, photometric="minisblack", extratags=[(42112, 2, 0, "<GDALMetadata>", True)])
    assert info_of(path).scales is None


@pytest.mark.parametrize("value", [0, 1, 9])
def test_orientation_that_turns_nothing_is_not_noted(value, tmp_path):
    extra = [(274, 3, 1, value, True)]
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", metadata=None, extratags=extra)
    assert info_of(tmp_path / "a.tif").notes == ()


@pytest.mark.parametrize(
    ("tags", "options", "note"),
    [
        ({274: 6}, {}, "the orientation tag is not applied"),
        ({262: 8}, {}, "CIELAB samples are as stored"),
        ({262: 5}, {}, "SEPARATED samples are as stored"),
        (
            {259: 33003},
            {"compression": "jpeg2000", "planarconfig": 2},
            "YCbCr samples are as stored, not RGB",
        ),
    ],
)
def test_samples_that_are_given_as_they_are_stored_are_noted(tags, options, note, tmp_path):
    path = tmp_path / "a.tif"
    extra = [(274, 3, 1, 1, True)]
    tifffile.imwrite(path, RGB, photometric="rgb", metadata=None, extratags=extra, **options)
    assert info_of(path).notes == ()
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for code, value in tags.items():
            tif.pages[0].tags[code].overwrite(value)
    assert info_of(path).notes == (note,)


def test_crs_without_a_code_is_none_where_gdal_cannot_open_the_image(tmp_path):
    path = tmp_path / "a.tif"
    keys = (1, 1, 0, 1, 1024, 0, 1, 1)  # a projected system, and nothing else of it
    tags = [(34735, 3, len(keys), keys, True)]
    tifffile.imwrite(path, GRAY, photometric="minisblack", compression="jpegxl", extratags=tags)
    with pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open(path)
    assert info_of(path).crs is None
