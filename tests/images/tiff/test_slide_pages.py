"""Pages of slides in orders that their makers do not write, such as by programs that save them anew."""

import numpy as np
import openslide
import pytest
import pyvips
import rasterio
import tifffile

from comparison import assert_reads, open_reader, row_blocks
from quadrat.images.open import open_image
from slides import STORAGE

SIDES = 384, 512
HEADER = "Aperio Image Library v12\r\n512x384 |AppMag = 40|MPP = 0.25"
QPI_HEADER = "<PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType>"
PART = "Aperio Image Library v12\r\n{} 64x48"
TILED = {"tile": (64, 64)}


@pytest.fixture
def scan(noise):
    return noise(*SIDES, 3)


def levels_of(scan, count=3):
    return [np.ascontiguousarray(scan[:: 2**n, :: 2**n]) for n in range(count)]


def write(path, pages):
    """Write pages of (pixels, description, further options)."""
    with tifffile.TiffWriter(path) as tif:
        for pixels, description, options in pages:
            tif.write(pixels, description=description, **STORAGE, **options)


def arrangements(scan):
    """Return pages in each order and choice by its name: level 0 is always first, as OpenSlide expects."""
    full, half, quarter = ((pixels, HEADER, TILED) for pixels in levels_of(scan))
    thumbnail = (levels_of(scan)[2], HEADER, {})
    label = (scan[:48, :64], PART.format("label"), {"subfiletype": 1})
    macro = (scan[:48, 64:128], PART.format("macro"), {"subfiletype": 9})
    reduced = [(*page[:2], TILED | {"subfiletype": 1}) for page in (half, quarter)]
    return {
        "as Aperio writes it": [full, thumbnail, half, quarter, label, macro],
        "without thumbnail": [full, half, quarter, label, macro],
        "levels alone": [full, half, quarter],
        "two levels": [full, half],
        "without label": [full, thumbnail, half, quarter, macro],
        "reduced": [full, *reduced],
        "thumbnail last": [full, half, quarter, label, macro, thumbnail],
        "label and macro first": [full, label, macro, thumbnail, half, quarter],
    }


@pytest.mark.parametrize("name", arrangements(np.zeros((*SIDES, 3), np.uint8)))
def test_levels_of_an_svs_are_those_of_openslide_in_any_order_of_pages(name, scan, tmp_path):
    path = tmp_path / "a.svs"
    write(path, arrangements(scan)[name])
    with openslide.OpenSlide(path) as slide, open_image(path) as image:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert [(level.shape[1], level.shape[0]) for level in image.levels] == list(slide.level_dimensions)
        assert image.info.mpp == (0.25, 0.25)
        for level, size in enumerate(slide.level_dimensions):
            shown = np.asarray(slide.read_region((0, 0), level, size))[..., :3]
            np.testing.assert_array_equal(image.read(level=level), shown)
            np.testing.assert_array_equal(shown, levels_of(scan)[level])


def test_levels_of_an_svs_are_sorted_by_size(scan, tmp_path):
    full, half, quarter = levels_of(scan)
    write(tmp_path / "a.svs", [(pixels, HEADER, TILED) for pixels in (full, quarter, half)])
    with open_image(tmp_path / "a.svs") as image:
        for level, pixels in enumerate((full, half, quarter)):
            np.testing.assert_array_equal(image.read(level=level), pixels)


def test_parts_of_an_svs_that_are_tiled_too_are_no_levels(scan, tmp_path):
    full, half, _ = levels_of(scan)
    pages = [(full, HEADER, TILED), (half, HEADER, TILED), (full[:48, :64], PART.format("label"), TILED)]
    write(tmp_path / "a.svs", pages)
    with open_image(tmp_path / "a.svs") as image:
        assert [level.shape for level in image.levels] == [full.shape[:2], half.shape[:2]]


@pytest.mark.parametrize("by_level", [True, False])
def test_focal_planes_of_an_svs_are_z_at_each_level(by_level, scan, noise, tmp_path):
    planes = [scan, noise(*SIDES, 3, seed=2), noise(*SIDES, 3, seed=3)]
    pages = [(pixels, HEADER, TILED) for plane in planes for pixels in levels_of(plane, 2)]
    pages = sorted(pages, key=lambda page: -page[0].size) if by_level else pages
    write(tmp_path / "a.svs", [pages[0], (levels_of(scan)[2], HEADER, {}), *pages[1:]])
    for z, plane in enumerate(planes, start=1):
        with open_image(tmp_path / "a.svs", plane={"z": z}) as image:
            assert len(image.levels) == 2
            np.testing.assert_array_equal(image.read(level=1), levels_of(plane)[1])
            np.testing.assert_array_equal(image.read(), plane)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("in_subifds", [False, True])
@pytest.mark.parametrize("description", [HEADER, QPI_HEADER])
def test_levels_of_a_slide_that_libvips_saved_are_those_of_gdal(description, in_subifds, scan, tmp_path):
    path = tmp_path / "a.tif"
    image = pyvips.Image.new_from_array(scan).copy()
    image.set_type(pyvips.GValue.gstr_type, "image-description", description)
    image.tiffsave(
        str(path),
        tile=True,
        tile_width=64,
        tile_height=64,
        pyramid=True,
        subifd=in_subifds,
        compression="deflate",
    )
    with rasterio.open(path) as by_gdal, open_image(path) as image:
        factors = by_gdal.overviews(1)
        assert [level.downsample[0] for level in image.levels] == [1, *factors]
        np.testing.assert_array_equal(image.read(), scan)
    for level in range(1, len(factors) + 1):
        with rasterio.open(path, overview_level=level - 1) as by_gdal:
            expected = np.moveaxis(by_gdal.read(), 0, -1)
        with open_reader(path, level=level) as reader:
            assert_reads(reader, expected, row_blocks(reader.info, 64, 64, "pad"))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("factors", [[8], [4, 8], [2, 4, 16], [5], [3, 9], [2, 4, 8]])
def test_overviews_of_any_steps_are_levels_as_for_gdal(factors, has_mask, scan, tmp_path):
    path = tmp_path / "a.tif"
    layout = {"height": SIDES[0], "width": SIDES[1], "count": 3, "dtype": "uint8", "photometric": "rgb"}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(path, "w", driver="GTiff", **layout) as image:
            image.write(scan.transpose(2, 0, 1))
            if has_mask:
                image.write_mask(scan[..., 0] > 100)
        with rasterio.open(path, "r+") as image:
            image.build_overviews(factors)
    with open_image(path) as image:
        assert [level.downsample for level in image.levels] == [(1, 1), *((n, n) for n in factors)]
        for level in range(len(factors)):
            with rasterio.open(path, overview_level=level) as by_gdal:
                expected = np.moveaxis(by_gdal.read(), 0, -1)
            np.testing.assert_array_equal(image.read(level=level + 1), expected)


def test_reduced_image_of_another_shape_is_no_level(scan, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(scan, **STORAGE)
        tif.write(scan[:100, :200], subfiletype=1, **STORAGE)
    with open_image(tmp_path / "a.tif") as image:
        assert len(image.levels) == 1
        assert "the file holds 2 series of images: the first is read" in image.info.notes


@pytest.mark.parametrize("has_thumbnail", [True, False])
def test_channels_and_levels_of_a_qptiff_are_its_resolutions_in_any_order(has_thumbnail, noise, tmp_path):
    channels = [noise(128, 192, seed=seed) for seed in range(3)]
    root = "<PerkinElmer-QPI-ImageDescription><ImageType>{}</ImageType></PerkinElmer-QPI-ImageDescription>"
    pages = [(pixels, "FullResolution") for pixels in channels]
    pages += [(noise(40, 60), "Thumbnail")] * has_thumbnail
    # A quarter, and not a half, and stripped, as small levels are.
    pages += [(pixels[::4, ::4], "ReducedResolution") for pixels in channels] + [(noise(30, 20), "Label")]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for pixels, kind in pages:
            tif.write(pixels, description=root.format(kind), photometric="minisblack", metadata=None)
    with open_image(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(image.read(), np.stack(channels, -1))
        np.testing.assert_array_equal(image.read(level=1), np.stack(channels, -1)[::4, ::4])
