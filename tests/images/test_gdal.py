import os
import warnings

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError, MemoryBudgetError
from quadrat.images import gdal
from traps import F32, HEIGHT, RGB, U16, WIDTH, written_by_gdal

VRT = """<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:32612</SRS>
<GeoTransform>500000,10,0,4000000,0,-10</GeoTransform><VRTRasterBand dataType="{dtype}" band="1">
<NoDataValue>17</NoDataValue><SimpleSource><SourceFilename relativeToVRT="1">{source}</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


def write_jpeg2000(path, pixels):
    storage = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 256, "BLOCKYSIZE": 256}
    with written_by_gdal(path, 3, "uint8", pixels.shape[:2], driver="JP2OpenJPEG", **storage) as image:
        image.write(pixels.transpose(2, 0, 1))


@pytest.fixture
def jpeg2000(tmp_path):
    path = tmp_path / "a.jp2"
    write_jpeg2000(path, RGB)
    return path


def write_vrt(path, source, dtype="UInt16"):
    path.write_text(VRT.format(width=WIDTH, height=HEIGHT, source=source, dtype=dtype))


@pytest.mark.parametrize(
    ("patch_size", "stride", "edge"),
    [(256, 512, "drop"), (256, 100, "pad"), (512, 300, "shift"), (512, 700, "partial")],
)
def test_every_block_equals_a_slice_of_what_rasterio_loads(patch_size, stride, edge, jpeg2000):
    for threads in (1, 2, 4):
        with open_reader(jpeg2000) as reader:
            assert_reads(reader, RGB, row_blocks(reader.info, patch_size, stride, edge), threads)


def test_channels_are_read_in_the_order_asked_for(jpeg2000):
    with open_reader(jpeg2000, channels=(3, 1)) as reader:
        assert_reads(reader, RGB[..., [2, 0]], row_blocks(reader.info, 256, 256, "pad"))


def test_levels_are_overviews(tmp_path):
    path = tmp_path / "wide.jp2"  # GDAL gives overviews of large images only
    write_jpeg2000(path, np.tile(RGB, (1, 2, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, overview_level=0) as image:
            pixels = image.read().transpose(1, 2, 0)
    with open_reader(path, level=1) as reader:
        assert reader.info.downsample == (2, 2)
        assert_reads(reader, pixels, row_blocks(reader.info, 256, 100, "pad"))
    with pytest.raises(ImageError, match="level 9"):
        open_reader(path, level=9)


def test_a_palette_is_expanded(tmp_path):
    path = tmp_path / "a.gif"
    Image.fromarray(RGB).quantize(60, Image.Quantize.FASTOCTREE).save(path)
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    with open_reader(path, channels=(3, 2)) as reader:
        assert_reads(reader, pixels[..., [2, 1]], row_blocks(reader.info, 256, 256, "pad"))
        assert reader.info.notes == ("palette expanded to RGB",)


def test_a_vrt_gives_its_fill_crs_and_transform(tmp_path):
    with written_by_gdal(tmp_path / "source.tif", 1, "uint16") as image:
        image.write(U16, 1)
    write_vrt(tmp_path / "a.vrt", "source.tif")
    with open_reader(tmp_path / "a.vrt") as reader:
        assert_reads(reader, U16[..., None], row_blocks(reader.info, 512, 512, "pad"))
        assert (reader.info.fill, reader.info.crs) == ((17,), "EPSG:32612")
        assert reader.info.transform == tuple(Affine(10, 0, 5e5, 0, -10, 4e6))[:6]


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("channels", [None, (3, 1)])
def test_scales_and_offsets_are_those_of_rasterio(channels, level, tmp_path):
    with written_by_gdal(tmp_path / "a.tif", 3, "uint16") as image:
        image.write(RGB.astype(np.uint16).transpose(2, 0, 1))
        image.build_overviews([2])
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}"><Scale>{band / 8}</Scale><Offset>{-band}</Offset>'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    vrt = tmp_path / "a.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{bands}</VRTDataset>')
    wanted = [channel - 1 for channel in channels or (1, 2, 3)]
    with pytest.warns(NotGeoreferencedWarning):
        image = rasterio.open(vrt)
    with image, open_reader(vrt, channels, level) as reader:
        assert reader.info.scales == tuple(image.scales[one] for one in wanted)
        assert reader.info.offsets == tuple(image.offsets[one] for one in wanted)


def test_image_without_scales_tells_none(jpeg2000):
    with open_reader(jpeg2000) as reader:
        assert (reader.info.scales, reader.info.offsets) == (None, None)


@pytest.fixture
def mosaic(tmp_path):
    """Return the path of a VRT of two scenes, whose sources are left.tif and right.tif."""
    for name in ("left.tif", "right.tif"):
        storage = {"tiled": True, "blockxsize": 128, "blockysize": 128}
        with written_by_gdal(tmp_path / name, 1, "uint16", **storage) as image:
            image.write(U16, 1)
    write_vrt(tmp_path / "a.vrt", "left.tif")
    text = (tmp_path / "a.vrt").read_text().replace(f'rasterXSize="{WIDTH}"', f'rasterXSize="{2 * WIDTH}"')
    start, end = text.index("<SimpleSource>"), text.index("</VRTRasterBand>")
    size = f'xSize="{WIDTH}" ySize="{HEIGHT}"'
    sources = [
        text[start:end]
        .replace("left", name)
        .replace(
            "</SimpleSource>",
            f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{x}" yOff="0" {size}/></SimpleSource>',
        )
        for x, name in ((0, "left"), (WIDTH, "right"))
    ]
    (tmp_path / "a.vrt").write_text(text[:start] + "".join(sources) + text[end:])
    return tmp_path / "a.vrt"


def test_a_mosaic_is_read_as_one_image(mosaic):
    with open_reader(mosaic) as reader:
        assert_reads(reader, np.tile(U16, 2)[..., None], row_blocks(reader.info, 512, 300, "pad"), 4)


def test_a_mosaic_whose_source_is_missing_is_refused_when_it_is_opened(mosaic):
    (mosaic.parent / "right.tif").unlink()
    with pytest.raises(ImageError, match=r"^its source right\.tif: no such file$"):
        open_reader(mosaic)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("patch_size", [128, 1024])  # GDAL reads a million pixels at once on several threads
def test_a_mosaic_whose_source_is_truncated_is_refused_and_not_filled_with_zeros(
    mosaic, patch_size, threads, capfd
):
    right = mosaic.parent / "right.tif"
    right.write_bytes(right.read_bytes()[: right.stat().st_size * 2 // 3])
    with (
        open_reader(mosaic) as reader,
        pytest.raises(ImageError, match=r"rows [\d,]+ to [\d,]+ cannot be decoded"),
    ):
        list(reader.read_blocks(row_blocks(reader.info, patch_size, patch_size, "pad"), threads))
    assert capfd.readouterr() == ("", "")


def test_a_mosaic_whose_source_is_no_image_is_refused_when_it_is_opened(mosaic):
    (mosaic.parent / "right.tif").write_bytes(b"text" * 100)
    with pytest.raises(ImageError, match=r"its source right\.tif: not an image .* does not list its format"):
        open_reader(mosaic)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_mosaic_whose_source_must_not_be_read_is_refused(mosaic):
    (mosaic.parent / "right.tif").chmod(0)
    with pytest.raises(ImageError, match=r"its source right\.tif: cannot be opened: Permission denied"):
        open_reader(mosaic)


def test_memory_of_a_mosaic_is_counted_by_the_blocks_of_its_sources(mosaic, monkeypatch):
    monkeypatch.setattr(gdal, "MIN_CACHE_BYTES", 0)
    with open_reader(mosaic, memory_mb=1):
        pass
    with written_by_gdal(
        mosaic.with_name("left.tif"), 1, "uint16", blockysize=HEIGHT, compress="deflate"
    ) as image:
        image.write(U16, 1)
    with pytest.raises(MemoryBudgetError, match="a row of the file's blocks needs about 6 MB"):
        open_reader(mosaic, memory_mb=1)


def test_a_small_vrt_of_a_source_with_a_huge_tile_is_refused_before_the_tile_is_allocated(tmp_path):
    storage = {"tiled": True, "blockxsize": 16_384, "blockysize": 16, "compress": "deflate"}
    with written_by_gdal(tmp_path / "source.tif", 1, "uint16", (16, 16), **storage) as image:
        image.write(U16[:16, :16], 1)
    write_vrt(tmp_path / "a.vrt", "source.tif")
    with open_reader(tmp_path / "a.vrt", memory_mb=100):
        pass
    with tifffile.TiffFile(tmp_path / "source.tif", mode="r+") as tif:
        tif.pages[0].tags["TileLength"].overwrite(16_384)
    with pytest.raises(MemoryBudgetError, match=r"a row of the file's blocks needs about 1,074 MB"):
        open_reader(tmp_path / "a.vrt", memory_mb=300)


def test_a_vrt_under_another_name_is_refused(mosaic):
    other = mosaic.with_name("a.tif")
    mosaic.rename(other)
    with pytest.raises(ImageError, match=r"it is a VRT, but its name does not end in \.vrt"):
        open_reader(other)


def test_an_image_whose_header_is_another_file_is_refused_with_the_way_out(tmp_path):
    with written_by_gdal(tmp_path / "a.img", 1, "uint16", driver="ENVI") as image:
        image.write(U16, 1)
    with pytest.raises(ImageError, match=r"docs/formats\.md does not list its format") as error:
        open_reader(tmp_path / "a.img")
    assert "gdal_translate" in error.value.hint
    write_vrt(tmp_path / "a.vrt", "a.img")
    with pytest.raises(ImageError, match=r"its source a\.img: not an image .* does not list its format"):
        open_reader(tmp_path / "a.vrt")


def test_overviews_beside_an_image_are_no_levels_and_give_no_pixels(tmp_path):
    source = tmp_path / "source.tif"
    with written_by_gdal(source, 1, "uint16") as image:
        image.write(U16, 1)
    size = f'xSize="{WIDTH}" ySize="{HEIGHT}"'
    half = size.replace(str(WIDTH), str(WIDTH // 2)).replace(str(HEIGHT), str(HEIGHT // 2))
    half = f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="0" yOff="0" {half}/>'
    write_vrt(tmp_path / "a.vrt", "source.tif")
    text = (tmp_path / "a.vrt").read_text().replace("</SimpleSource>", half + "</SimpleSource>")
    text = text.replace(f'XSize="{WIDTH}"', f'XSize="{WIDTH // 2}"').replace(
        f'YSize="{HEIGHT}"', f'YSize="{HEIGHT // 2}"'
    )
    (tmp_path / "a.vrt").write_text(text)

    def pixels():
        with open_reader(tmp_path / "a.vrt") as reader:
            assert reader.info.level_count == 1
            return next(reader.read_blocks(row_blocks(reader.info, 256, 256, "drop"), 1)).copy()

    before = pixels()
    with rasterio.Env(TIFF_USE_OVR=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(source, "r+") as image:
            image.build_overviews([2], Resampling.mode)
    assert source.with_name("source.tif.ovr").exists()
    np.testing.assert_array_equal(pixels(), before)


PYTHON = """</NoDataValue><PixelFunctionType>run</PixelFunctionType>
<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode><![CDATA[
def run(in_ar, out_ar, *_, **__):
    open("{}", "w").close()
]]></PixelFunctionCode><SimpleSource>"""


def test_python_code_in_a_vrt_is_not_run(tmp_path, monkeypatch):
    with written_by_gdal(tmp_path / "source.tif", 1, "uint16") as image:
        image.write(U16, 1)
    write_vrt(tmp_path / "a.vrt", "source.tif")
    code = PYTHON.format(tmp_path / "ran")
    text = (tmp_path / "a.vrt").read_text().replace("</NoDataValue><SimpleSource>", code)
    text = text.replace('band="1">', 'band="1" subClass="VRTDerivedRasterBand">')
    (tmp_path / "a.vrt").write_text(text.replace("17</NoData", "17</NoData"))
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    with rasterio.open(tmp_path / "a.vrt") as image:
        image.read(1)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    with pytest.raises(ImageError), open_reader(tmp_path / "a.vrt") as reader:
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "drop"), 1))
    assert not (tmp_path / "ran").exists()


def test_complex_numbers_are_refused(tmp_path):
    with written_by_gdal(tmp_path / "source.tif", 1, "complex64") as image:
        image.write(F32.astype(np.complex64), 1)
    write_vrt(tmp_path / "a.vrt", "source.tif", "CFloat32")
    with pytest.raises(ImageError, match="its samples are complex numbers"):
        open_reader(tmp_path / "a.vrt")


def test_a_truncated_file_is_refused(jpeg2000):
    jpeg2000.write_bytes(jpeg2000.read_bytes()[:60_000])
    with (
        open_reader(jpeg2000) as reader,
        pytest.raises(ImageError, match=r"rows [\d,]+ to [\d,]+ cannot be decoded"),
    ):
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "pad"), 1))


def test_what_does_not_fit_the_memory_is_refused(jpeg2000):
    with pytest.raises(MemoryBudgetError, match="a row of the file's blocks"):
        open_reader(jpeg2000, memory_mb=20)


def test_nothing_is_written_beside_the_image(jpeg2000):
    before = sorted(jpeg2000.parent.iterdir())
    with open_reader(jpeg2000) as reader:
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "pad"), 1))
    assert sorted(jpeg2000.parent.iterdir()) == before


def test_images_without_a_place_on_earth_give_no_warning(jpeg2000):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_reader(jpeg2000) as reader:
            assert (reader.info.crs, reader.info.transform) == (None, None)


def test_blocks_that_begin_halfway_equal_slices_too(jpeg2000):
    with open_reader(jpeg2000) as reader:
        assert reader.info.seek_height == 256
        assert_reads(reader, RGB, row_blocks(reader.info, 256, 100, "pad")[3:6])
