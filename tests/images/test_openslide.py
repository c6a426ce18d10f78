import builtins
import re

import numpy as np
import openslide
import pytest
from PIL import Image

from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError, MemoryBudgetError, MissingReaderError
from slides import MRXS_MPP, SCN_NM, write_bif, write_mrxs, write_scn, write_svs, write_trestle
from traps import RGB

PIXELS = np.tile(RGB, (1, 2, 1))[:1024, :1152]
LEFT_OUT = (0, 3, 30)


@pytest.fixture(scope="module")
def mrxs(tmp_path_factory):
    """Return the path of a slide of 8 x 9 tiles of 128 px and three levels."""
    path = tmp_path_factory.mktemp("slides") / "a.mrxs"
    write_mrxs(path, PIXELS, left_out=LEFT_OUT, fill=0x102030)
    return path


def level_of(level):
    """Return the pixels that a level of the slide must have."""
    pixels = PIXELS.copy()
    for number in LEFT_OUT if level == 0 else ():
        row, col = divmod(number, 9)
        pixels[row * 128 :, col * 128 :][:128, :128] = (0x30, 0x20, 0x10)
    return pixels[:: 2**level, :: 2**level]


@pytest.mark.parametrize("grid", [(512, 512, "pad"), (256, 100, "shift"), (300, 512, "partial")])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_block_of_a_level_is_a_slice_of_what_was_scanned_on_the_background(level, grid, mrxs):
    with open_reader(mrxs, level=level) as reader:
        assert_reads(reader, level_of(level), row_blocks(reader.info, *grid))


def test_pixels_are_those_of_openslide_and_what_it_gives_as_transparent_is_background(mrxs):
    with openslide.OpenSlide(mrxs) as slide:
        region = np.asarray(slide.read_region((100, 50), 0, (512, 512)))
    with open_reader(mrxs) as reader:
        image = np.concatenate(
            [block.copy() for block in reader.read_blocks(row_blocks(reader.info, 512, 512, "drop"), 2)]
        )[50:562, 100:612]
    is_scanned = region[..., 3] == 255
    assert 0 < is_scanned.sum() < is_scanned.size
    np.testing.assert_array_equal(image[is_scanned], region[is_scanned][:, :3])
    assert (image[~is_scanned] == (0x30, 0x20, 0x10)).all()


def test_what_is_known_of_a_slide_comes_from_openslide(mrxs):
    with open_reader(mrxs, level=1) as reader:
        info = reader.info
        assert (info.format, info.height, info.width, info.channels) == ("mirax", 512, 576, 3)
        assert (info.level, info.level_count, info.downsample) == (1, 3, (2.0, 2.0))
        assert info.mpp == (MRXS_MPP, MRXS_MPP)
        assert info.notes == ("what was not scanned is #302010",)
        assert info.decoders["openslide"] == openslide.__library_version__


@pytest.mark.parametrize("overlap", [0, 16])
def test_tiles_that_overlap_are_stitched(overlap, tmp_path):
    write_mrxs(tmp_path / "a.mrxs", PIXELS, overlap=overlap, levels=1)
    write_bif(tmp_path / "a.bif", PIXELS, overlap=overlap)
    write_trestle(tmp_path / "a.tif", PIXELS, overlap=overlap)
    covered = [(length - overlap) // (128 - overlap) * (128 - overlap) + overlap for length in (1024, 1152)]
    for name, form in (("a.mrxs", "mirax"), ("a.bif", "ventana"), ("a.tif", "trestle")):
        with open_reader(tmp_path / name) as reader:
            assert (reader.info.format, reader.info.height, reader.info.width) == (form, *covered)
            assert_reads(reader, PIXELS[: covered[0], : covered[1]], row_blocks(reader.info, 256, 256, "pad"))


def test_channels_are_read_in_the_order_asked_for(mrxs):
    with open_reader(mrxs, channels=(3, 1)) as reader:
        assert_reads(reader, level_of(0)[..., [2, 0]], row_blocks(reader.info, 512, 512, "pad"))
    with pytest.raises(ImageError, match="channel 4 does not exist; the image has 3"):
        open_reader(mrxs, channels=(4,))


@pytest.mark.parametrize("threads", [1, 4])
def test_the_number_of_threads_changes_nothing(threads, mrxs):
    with open_reader(mrxs) as reader:
        assert_reads(reader, level_of(0), row_blocks(reader.info, 512, 300, "pad"), threads)


REGIONS = [(128, 64, PIXELS[:256, :320]), (640, 800, PIXELS[300:428, 300:492])]


@pytest.fixture
def scn(tmp_path):
    """Return the path of a Leica slide of two regions, the first of which is larger."""
    write_scn(tmp_path / "a.scn", (1024, 1280), REGIONS)
    return tmp_path / "a.scn"


@pytest.mark.parametrize("level", [0, 1])
def test_regions_of_a_leica_slide_lie_where_they_were_scanned(level, scn):
    with openslide.OpenSlide(scn) as slide:
        shown = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))
    expected = np.where(shown[..., 3:] == 255, shown[..., :3], 255)
    for top, left, pixels in REGIONS:
        part = pixels[:: 4**level, :: 4**level]
        place = np.s_[top // 4**level :, left // 4**level :]
        np.testing.assert_array_equal(expected[place][: part.shape[0], : part.shape[1]], part)
    with open_reader(scn, level=level) as reader:
        info = reader.info
        assert (info.format, info.level_count, info.downsample) == ("leica", 2, (4.0**level,) * 2)
        assert info.mpp == (SCN_NM / 1000, SCN_NM / 1000)
        assert_reads(reader, expected, row_blocks(info, 200, 200, "pad"))


def test_what_was_scanned_of_a_slide_is_what_openslide_says(scn, mrxs):
    with open_reader(scn) as reader:
        assert reader.info.bounds == (128, 64, 640, 928)
        assert reader.info.scanned == ((128, 64, 256, 320), (640, 800, 128, 192))
    with open_reader(mrxs) as reader:
        assert (reader.info.bounds, reader.info.scanned) == (None, ())


def test_series_of_a_leica_slide_that_is_asked_for_is_read_alone(scn):
    for number, (_, _, pixels) in enumerate(REGIONS, start=2):
        with open_reader(scn, plane={"series": number}) as reader:
            assert_reads(reader, pixels, row_blocks(reader.info, 128, 128, "drop"))
    with pytest.raises(ImageError, match="plane z: 2 does not exist; the image has 1"):
        open_reader(scn, plane={"z": 2})


def test_leica_slide_of_fluorescence_which_openslide_does_not_read_is_read_by_its_largest_series(tmp_path):
    write_scn(tmp_path / "a.scn", (1024, 1280), REGIONS, light="fluorescence")
    with pytest.raises(openslide.OpenSlideError):
        openslide.OpenSlide(tmp_path / "a.scn")
    with open_reader(tmp_path / "a.scn") as reader:
        assert_reads(reader, REGIONS[0][2], row_blocks(reader.info, 128, 128, "drop"))
        assert "the file holds 3 series of images: number 2 is read" in reader.info.notes


def test_memory_of_a_tiff_that_openslide_reads_counts_its_tiles(scn, tmp_path):
    write_scn(tmp_path / "b.scn", (4096, 4096), [(0, 64, np.zeros((64, 64, 3), np.uint8))], tile=4096)
    with open_reader(scn, memory_mb=70):
        pass
    with pytest.raises(MemoryBudgetError, match="decoding the tiles of the slide needs about 134 MB"):
        open_reader(tmp_path / "b.scn", memory_mb=130)


def test_a_level_that_the_slide_does_not_have_is_refused(mrxs):
    with pytest.raises(ImageError, match="level 3 does not exist; the image has levels 0 to 2"):
        open_reader(mrxs, level=3)


def test_another_plane_is_refused(mrxs):
    with pytest.raises(ImageError, match="plane z: 2 does not exist; the image has 1"):
        open_reader(mrxs, plane={"z": 2})


def test_what_does_not_fit_the_memory_is_refused(mrxs):
    with pytest.raises(MemoryBudgetError, match="decoding the tiles of the slide needs about 67 MB"):
        open_reader(mrxs, memory_mb=60)
    with open_reader(mrxs, memory_mb=68) as reader, pytest.raises(MemoryBudgetError, match="block by block"):
        reader.read_blocks(row_blocks(reader.info, 512, 512, "drop"), 2)


@pytest.fixture
def slide(tmp_path):
    """Return the path of a slide that a test may break."""
    write_mrxs(tmp_path / "a.mrxs", PIXELS[:256, :256], levels=1)
    return tmp_path / "a.mrxs"


def test_a_slide_without_its_folder_is_refused_and_not_read_as_its_preview(slide):
    slide.with_suffix("").rename(slide.with_name("elsewhere"))
    with pytest.raises(
        ImageError, match=r"^its folder a cannot be read: No such file or directory$"
    ) as error:
        open_reader(slide)
    assert "together" in error.value.hint


def test_a_slide_without_its_data_is_refused(slide):
    (slide.with_suffix("") / "Index.dat").unlink()
    with pytest.raises(ImageError, match=r"not a slide that OpenSlide can read: .*Index\.dat"):
        open_reader(slide)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"OVERLAP_X", b"OVERLAP_\xff = 0\nOVERLAP_X", "the name of a property is not valid UTF-8"),
        (
            b"DIGITIZER_WIDTH",
            b"DIGITIZER_WITHH",
            "^not a slide that OpenSlide can read: Slidedat.ini does not have key",
        ),
    ],
)
def test_settings_of_a_slide_that_are_broken_are_refused_in_words_about_them(slide, old, new, reason):
    settings = slide.with_suffix("") / "Slidedat.ini"
    settings.write_bytes(settings.read_bytes().replace(old, new, 1))
    with pytest.raises(ImageError, match=reason) as caught:
        open_reader(slide)
    assert caught.value.hint.startswith("copy it again; ")


def test_a_tile_that_is_broken_is_refused_by_its_place(slide):
    data = slide.with_suffix("") / "Data0000.dat"
    data.write_bytes(data.read_bytes()[:-20_000] + bytes(20_000))
    with (
        open_reader(slide) as reader,
        pytest.raises(ImageError, match=r"^pixels at y 0, x 0 cannot be decoded$"),
    ):
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "drop"), 1))


def test_a_tile_that_claims_to_be_huge_is_refused_before_it_is_allocated(slide):
    settings = slide.with_suffix("") / "Slidedat.ini"
    settings.write_text(re.sub(r"(DIGITIZER_\w+) = 128", r"\1 = 60000", settings.read_text()))
    with pytest.raises(MemoryBudgetError, match="decoding the tiles of the slide needs about 14,467 MB"):
        open_reader(slide, memory_mb=1500)


def test_a_slide_that_names_a_file_elsewhere_is_refused(slide):
    folder = slide.with_suffix("")
    (folder / "Data0000.dat").rename(slide.with_name("far.dat"))
    settings = folder / "Slidedat.ini"
    settings.write_text(settings.read_text().replace("Data0000.dat", "../far.dat"))
    with pytest.raises(ImageError, match=r"parts of it lie in \.\./far\.dat, which is not watched"):
        open_reader(slide)


def test_another_format_of_openslide_by_the_ending_of_an_mrxs_is_refused(slide):
    slide.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\nImageFile=secret.jpg\n"
    )
    (slide.with_suffix("") / "Slidedat.ini").unlink()
    assert openslide.OpenSlide.detect_format(slide) == "hamamatsu"
    with pytest.raises(ImageError, match="not a slide that OpenSlide can read: it is hamamatsu"):
        open_reader(slide)


@pytest.mark.parametrize("name", ["a.mrxs", "a.scn"])
def test_where_openslide_is_missing_the_way_to_it_is_told(name, slide, scn, monkeypatch):
    importing = builtins.__import__

    def without_openslide(name, *rest):
        if name == "quadrat.images.openslide":
            raise ModuleNotFoundError("No module named 'openslide'")
        return importing(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_openslide)
    with pytest.raises(MissingReaderError, match="OpenSlide") as error:
        open_reader(slide.with_name(name))
    assert error.value.hint == "pip install openslide-python openslide-bin"
    assert error.value.kind != ImageError.kind  # else it would not be tried again once it is installed


def test_a_preview_is_not_taken_for_the_slide_by_another_ending(slide):
    other = slide.with_suffix(".MRXS")
    slide.rename(other)
    with pytest.raises(ImageError, match="not a slide that OpenSlide can read"):
        open_reader(other)
    with Image.open(other) as preview:
        assert preview.size == (60, 40)


@pytest.mark.parametrize("axis", "XY")
@pytest.mark.parametrize("tiles", [100_000_000, 2_000_000_000, 10**30])
def test_claim_of_absurdly_many_tiles_is_refused_before_openslide_lists_them(axis, tiles, tmp_path):
    write_mrxs(tmp_path / "a.mrxs", PIXELS[:512, :512])
    ini = tmp_path / "a" / "Slidedat.ini"
    ini.write_text(re.sub(rf"IMAGENUMBER_{axis} = \d+", f"IMAGENUMBER_{axis} = {tiles}", ini.read_text()))
    with pytest.raises(ImageError, match=f"broken: it claims {4 * tiles:,} tiles, but at most 10,000,000"):
        open_reader(tmp_path / "a.mrxs")


def test_a_slide_whose_tiles_overlap_by_more_than_they_are_wide_is_refused(slide):
    settings = slide.with_suffix("") / "Slidedat.ini"
    settings.write_text(re.sub(r"OVERLAP_X = [0-9.]+", "OVERLAP_X = 300", settings.read_text()))
    with pytest.raises(ImageError, match=r"^broken: its size is -44 x 256 px$"):
        open_reader(slide)


@pytest.mark.parametrize("size", ["0", "-1", "nan", "1e999"])
def test_mpp_of_a_slide_that_no_pixel_has_is_none(size, slide):
    settings = slide.with_suffix("") / "Slidedat.ini"
    written = re.sub(r"(MICROMETER_PER_PIXEL_[XY]) = \S+", rf"\1 = {size}", settings.read_text())
    settings.write_text(written)
    with openslide.OpenSlide(slide) as opened:
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(float(size), nan_ok=True)
    with open_reader(slide) as reader:
        assert reader.info.mpp is None


@pytest.mark.parametrize("maker", ["aperio", "philips"])
def test_tiles_that_a_scanner_left_out_of_a_tiff_are_glass_as_openslide_shows_them(maker, tmp_path):
    tiles = [np.ascontiguousarray(PIXELS[y : y + 128, x : x + 128]) for y in (0, 128) for x in (0, 128, 256)]
    tiles[1] = tiles[5] = None
    write_svs(tmp_path / "a.tif", tiles, (256, 384), maker=maker)
    with openslide.OpenSlide(tmp_path / "a.tif") as slide:
        assert slide.properties["openslide.vendor"] == maker
        shown = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
    assert (shown[..., 3] == 0).sum() == 2 * 128**2
    with open_reader(tmp_path / "a.tif") as reader:
        expected = np.where(shown[..., 3:] == 255, shown[..., :3], 255)
        assert_reads(reader, expected, row_blocks(reader.info, 100, 100, "pad"))
        assert "2 of 6 segments are not in the file: they are 255" in reader.info.notes


@pytest.mark.parametrize("maker", ["aperio", "philips"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_tiff_that_is_read_without_openslide_has_its_frame(level, maker, tmp_path):
    tiles = [
        np.ascontiguousarray(PIXELS[y : y + 128, x : x + 128])
        for y in (0, 128, 256)
        for x in range(0, 640, 128)
    ]
    coarser = []
    for step in (2, 4):
        part = PIXELS[:384:step, :640:step]
        height, width = (-(-side // 128) * 128 if maker == "philips" else side for side in part.shape[:2])
        coarser.append(np.full((height, width, 3), 255, np.uint8))
        coarser[-1][: part.shape[0], : part.shape[1]] = part
    write_svs(tmp_path / "a.tif", tiles, (384, 640), maker=maker, coarser=coarser)
    with (
        openslide.OpenSlide(tmp_path / "a.tif") as slide,
        open_reader(tmp_path / "a.tif", level=level) as reader,
    ):
        assert slide.properties["openslide.vendor"] == maker
        info = reader.info
        assert (info.width, info.height) == slide.level_dimensions[level]
        assert info.downsample == (slide.level_downsamples[level],) * 2
        assert info.mpp == tuple(float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "yx")
        shown = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))[..., :3]
        assert_reads(reader, shown, row_blocks(info, 100, 100, "pad"))
