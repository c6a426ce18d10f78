import re
import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from comparison import assert_reads, open_reader, row_blocks
from quadrat.errors import ImageError, MemoryBudgetError
from quadrat.grid import Window
from quadrat.images import file_headers, vips
from traps import GRAY, HEIGHT, MASK, RGB, U16, WIDTH

COLOR = Image.fromarray(RGB)
PALETTE = COLOR.quantize(200, Image.Quantize.FASTOCTREE)
SMALL_PALETTE = COLOR.quantize(13, Image.Quantize.FASTOCTREE)
ALPHA = Image.fromarray(np.dstack([RGB, GRAY]))
ROTATED = Image.Exif()
ROTATED[0x0112] = 6
# As most cameras write it, with other tags.
UPRIGHT = Image.Exif()
UPRIGHT[0x0112], UPRIGHT[0x010F] = 1, "a camera"

# name: image, how Pillow saves it, and the mode in which Pillow's pixels are ours
FILES = {
    "gray.png": (Image.fromarray(GRAY), {}, "L"),
    "gray_alpha.png": (ALPHA.convert("LA"), {}, "LA"),
    "rgb.png": (COLOR, {}, "RGB"),
    "rgba.png": (ALPHA, {}, "RGBA"),
    "gray_16_bit.png": (Image.fromarray(U16), {}, "I;16"),
    "gray_transparent.png": (Image.fromarray(GRAY), {"transparency": int(GRAY[0, 0])}, "LA"),
    "rgb_transparent.png": (COLOR, {"transparency": tuple(RGB[5, 7].tolist())}, "RGBA"),
    "palette.png": (PALETTE, {}, "RGB"),
    "palette_4_bit.png": (SMALL_PALETTE, {"bits": 4}, "RGB"),
    "palette_transparent.png": (PALETTE, {"transparency": 7}, "RGBA"),
    "baseline_420.jpg": (COLOR, {"subsampling": 2}, "RGB"),
    "baseline_422.jpg": (COLOR, {"subsampling": 1}, "RGB"),
    "baseline_444.jpg": (COLOR, {"subsampling": 0, "quality": 95}, "RGB"),
    "progressive.jpg": (COLOR, {"progressive": True}, "RGB"),
    "gray.jpg": (Image.fromarray(GRAY), {}, "L"),
    "cmyk.jpg": (COLOR.convert("CMYK"), {"quality": 90}, "CMYK"),
    "rotated.jpg": (COLOR, {"exif": ROTATED}, "RGB"),
    "rotated.png": (COLOR, {"exif": ROTATED}, "RGB"),
    "upright.jpg": (COLOR, {"exif": UPRIGHT}, "RGB"),
}
GRIDS = [(256, 512), (256, 100), (256, 300), (512, 512), (512, 700)]


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path, rows, bits, color, interlace=0):
    """Write rows of packed samples as a PNG."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, color, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", FILES)
def test_every_block_equals_a_slice_of_what_pillow_loads(name, tmp_path):
    path = tmp_path / name
    image, options, mode = FILES[name]
    image.save(path, **options)
    with Image.open(path) as loaded:
        pixels = np.array(loaded if loaded.mode == mode else loaded.convert(mode)).reshape(HEIGHT, WIDTH, -1)
    for patch_size, stride in GRIDS:
        for edge in ("drop", "pad", "partial", "shift"):
            with open_reader(path) as reader:
                assert_reads(reader, pixels, row_blocks(reader.info, patch_size, stride, edge))


def test_a_png_of_three_16_bit_channels_keeps_its_bits(tmp_path):
    path, image = tmp_path / "rgb16.png", np.dstack([U16, U16 + 7, U16 + 9])
    write_png(path, image.astype(">u2"), 16, 2)
    with open_reader(path) as reader:
        assert_reads(reader, image, row_blocks(reader.info, 256, 200, "pad"))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_samples_of_few_bits_are_scaled_to_a_byte(bits, tmp_path):
    path, largest = tmp_path / "few.png", 2**bits - 1
    samples = MASK.astype(np.uint8) if bits == 1 else GRAY & largest
    padded = np.pad(samples, ((0, 0), (0, -WIDTH % (8 // bits)))).reshape(HEIGHT, -1, 8 // bits)
    rows = (padded << np.arange(8 - bits, -1, -bits)).sum(2).astype(np.uint8)
    write_png(path, rows, bits, 0)
    with open_reader(path) as reader:
        assert_reads(
            reader, samples[..., None] * np.uint8(255 // largest), row_blocks(reader.info, 256, 200, "pad")
        )
        assert reader.info.notes == (f"{bits}-bit samples scaled to 0-255",)


@pytest.mark.parametrize("name", ["rgb.png", "baseline_420.jpg"])
def test_columns_channels_and_threads_are_those_asked_for(name, tmp_path):
    path = tmp_path / name
    COLOR.save(path)
    with Image.open(path) as loaded:
        pixels = np.array(loaded)
    windows = [Window(y, x, 200, 150) for y in range(0, HEIGHT, 130) for x in (40, 190)]
    for threads in (1, 2, 4):
        with open_reader(path, channels=(3, 1)) as reader:
            assert_reads(reader, pixels[..., [2, 0]], windows, threads)


def test_what_was_done_to_the_pixels_is_noted(tmp_path):
    notes = {
        "palette.png": "palette expanded to RGB",
        "palette_4_bit.png": "palette expanded to RGB",
        "palette_transparent.png": "palette expanded to RGBA",
        "gray_transparent.png": "the transparent colour is given as an alpha channel",
        "rgb_transparent.png": "the transparent colour is given as an alpha channel",
        "rotated.jpg": "EXIF orientation is not applied",
        "rotated.png": "EXIF orientation is not applied",
        "cmyk.jpg": "CMYK inverted, not RGB: 0 is no ink",
    }
    for name, (image, options, _) in FILES.items():
        image.save(tmp_path / name, **options)
        with open_reader(tmp_path / name) as reader:
            assert reader.info.notes == ((notes[name],) if name in notes else ())


def test_there_are_no_levels(tmp_path):
    COLOR.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="level 1 does not exist; the image has level 0 only"):
        open_reader(tmp_path / "a.png", level=1)


@pytest.mark.parametrize("name", ["rgb.png", "baseline_420.jpg", "progressive.jpg"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused_when_it_is_opened(name, share, tmp_path):
    image, options, _ = FILES[name]
    path = tmp_path / name
    image.save(path, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"truncated|broken"):
        open_reader(path)


@pytest.mark.parametrize("name", ["rgb.png", "baseline_420.jpg"])
def test_data_behind_the_image_do_no_harm(name, tmp_path):
    COLOR.save(tmp_path / name)
    with open(tmp_path / name, "ab") as file:
        file.write(bytes(200_000))
    with open_reader(tmp_path / name) as reader:
        assert len(list(reader.read_blocks(row_blocks(reader.info, 256, 256, "drop"), 2))) == 4


def saved(kind, **options):
    file = BytesIO()
    COLOR.save(file, kind, **options)
    return file.getvalue()


def inserted(data, place, more):
    """Return a file with bytes before a marker or a chunk."""
    start = data.index(place) - (0 if place.startswith(b"\xff") else 4)
    return data[:start] + more + data[start:]


JPEG, PNG = saved("JPEG"), saved("PNG")
TABLES, SCAN = b"\xff\xdb", b"\xff\xda"
WRONG_SUM = png_chunk(b"tEXt", b"a\0b")[:-4] + b"abcd"
# Every file here is out of the ordinary, but its pixels are whole.
ODD = {
    "stray_byte.jpg": inserted(JPEG, TABLES, b"\x42"),
    "stray_bytes.jpg": inserted(JPEG, SCAN, b"\x42" * 500),
    "marker_without_a_code.jpg": inserted(JPEG, TABLES, b"\xff\x00"),
    "fill_bytes.jpg": inserted(JPEG, TABLES, b"\xff\xff\xff"),
    "restart_in_the_header.jpg": inserted(JPEG, TABLES, b"\xff\xd0"),
    "segment_of_length_0.jpg": inserted(JPEG, TABLES, b"\xff\xe5\x00\x00"),
    "segment_of_length_1.jpg": inserted(JPEG, TABLES, b"\xff\xe5\x00\x01"),
    "unknown_segment.jpg": inserted(JPEG, TABLES, b"\xff\xe5\x00\x06abcd"),
    "restarts.jpg": saved("JPEG", restart_marker_rows=2),
    "two_pictures.jpg": saved("MPO", save_all=True, append_images=[COLOR.rotate(180)]),
    "unknown_chunk.png": inserted(PNG, b"IDAT", png_chunk(b"abCd", b"x")),
    "text_after_the_pixels.png": inserted(PNG, b"IEND", png_chunk(b"tEXt", b"a\0b")),
    "wrong_sum_of_a_text.png": inserted(PNG, b"IEND", WRONG_SUM),
    "empty_pixels.png": inserted(PNG, b"IDAT", png_chunk(b"IDAT", b"")),
    "broken_profile.png": inserted(PNG, b"IDAT", png_chunk(b"iCCP", b"a\0\0b")),
    "colours_without_need.png": inserted(PNG, b"IDAT", png_chunk(b"PLTE", bytes(30))),
}


@pytest.mark.parametrize("name", ODD)
def test_file_that_is_odd_but_whole_has_the_pixels_that_pillow_reads(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(ODD[name])
    with Image.open(path) as loaded:
        pixels = np.array(loaded)
    with open_reader(path) as reader:
        assert_reads(reader, pixels, row_blocks(reader.info, 256, 256, "partial"))
        assert reader.info.notes == ()


def test_damaged_pixels_of_a_jpeg_are_mended_as_in_pillow(tmp_path):
    restarts = ODD["restarts.jpg"]
    lost = restarts.index(b"\xff\xd2", restarts.index(SCAN))
    for content in (JPEG[: len(JPEG) // 2] + JPEG[-2:], restarts[:lost] + restarts[lost + 2 :]):
        (tmp_path / "a.jpg").write_bytes(content)
        with Image.open(tmp_path / "a.jpg") as loaded:
            pixels = np.array(loaded)
        with open_reader(tmp_path / "a.jpg") as reader:
            assert_reads(reader, pixels, row_blocks(reader.info, 256, 256, "partial"))


@pytest.mark.parametrize("colours", ["CMYK", "YCCK"])
def test_cmyk_is_what_libjpeg_decodes_but_inverted(colours, tmp_path):
    stored = np.array(COLOR.convert("CMYK"))
    data = imagecodecs.jpeg8_encode(stored, colorspace="CMYK", outcolorspace=colours, level=90)
    (tmp_path / "a.jpg").write_bytes(data)
    decoded = imagecodecs.jpeg8_decode(data, outcolorspace="CMYK")
    with open_reader(tmp_path / "a.jpg") as reader:
        assert_reads(reader, 255 - decoded, row_blocks(reader.info, 256, 256, "partial"))
        assert reader.info.notes == ("CMYK inverted, not RGB: 0 is no ink",)


def test_alpha_that_the_file_stores_is_no_transparent_colour(tmp_path):
    ALPHA.save(tmp_path / "a.png")
    chunk = png_chunk(b"tRNS", bytes(6))
    (tmp_path / "a.png").write_bytes(inserted((tmp_path / "a.png").read_bytes(), b"IDAT", chunk))
    with open_reader(tmp_path / "a.png") as reader:
        assert reader.info.notes == ()


BROKEN = {
    "sum_of_the_header.png": (PNG[:29] + b"abcd" + PNG[33:], "libvips reports: chunk IHDR: CRC error"),
    "sum_of_the_pixels.png": (
        inserted(PNG[:-16], b"IDAT", b"") + b"abcd" + PNG[-12:],
        "chunk IDAT: CRC error",
    ),
    "unknown_chunk.png": (inserted(PNG, b"IDAT", png_chunk(b"ABCD", b"")), "chunk ABCD: unhandled critical"),
    "two_headers.png": (inserted(PNG, b"IDAT", PNG[8:33]), "chunk IHDR: out of place"),
    "no_palette.png": (PNG[:25] + b"\3" + PNG[26:], "chunk IDAT: Missing PLTE"),
    "no_tables.jpg": (JPEG.replace(TABLES, b"\xff\xe5"), "libvips reports: Quantization table 0x00 was not"),
    "half_a_chunk.png": (PNG[: len(PNG) // 2], "truncated: its chunk IDAT ends"),
    "first_chunk_alone.png": (
        PNG[:33] + png_chunk(b"IDAT", PNG[41:9000]),
        "libvips reports: not enough data",
    ),
    "zeros_in_place_of_the_end.jpg": (JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2), "has no end marker"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_refused_with_the_part_that_is_broken(name, tmp_path):
    content, reason = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=re.escape(reason)) as caught, open_reader(tmp_path / name) as reader:
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "partial"), 1))
    assert caught.value.hint == "copy the file again"


@pytest.mark.parametrize("cut", [3, 5, 12])
def test_png_without_its_last_chunk_has_all_pixels_and_a_note(cut, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG[:-cut])
    with Image.open(tmp_path / "a.png") as loaded:
        pixels = np.array(loaded)
    with open_reader(tmp_path / "a.png") as reader:
        assert_reads(reader, pixels, row_blocks(reader.info, 256, 256, "partial"))
        assert reader.info.notes == ("its last chunk, IEND, is missing",)


def test_broken_pixels_are_refused_by_their_rows(tmp_path):
    path = tmp_path / "a.png"
    COLOR.save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9] = b"\xff" * 9
    path.write_bytes(data)
    with (
        open_reader(path) as reader,
        pytest.raises(ImageError, match=r"rows [\d,]+ to [\d,]+ cannot be decoded"),
    ):
        list(reader.read_blocks(row_blocks(reader.info, 256, 256, "partial"), 2))


def test_a_png_that_claims_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match="do not fit in 57 bytes of PNG"):
        open_reader(path)


def test_a_progressive_jpeg_that_does_not_fit_the_memory_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    COLOR.save(path, progressive=True)
    with pytest.raises(MemoryBudgetError, match="a progressive JPEG needs about 2 MB"):
        open_reader(path, memory_mb=1)


def test_an_interlaced_png_that_does_not_fit_the_memory_is_refused(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, RGB, 8, 2, interlace=1)
    with pytest.raises(MemoryBudgetError, match="an interlaced PNG needs about 2 MB"):
        open_reader(path, memory_mb=1)


def test_blocks_that_do_not_fit_the_memory_are_refused(tmp_path):
    COLOR.save(tmp_path / "a.png")
    with open_reader(tmp_path / "a.png", memory_mb=11) as reader, pytest.raises(MemoryBudgetError):
        reader.read_blocks(row_blocks(reader.info, 1000, 1000, "pad"), 2)


def test_a_header_that_libvips_refuses_is_refused_when_it_is_opened(tmp_path):
    path = tmp_path / "a.jpg"
    COLOR.save(path)
    data = path.read_bytes()
    components = data.index(b"\xff\xc0") + 9
    path.write_bytes(data[:components] + b"\x02" + data[components + 1 :])
    with pytest.raises(ImageError, match=r"^broken: its header cannot be read; libvips reports: \w"):
        open_reader(path)


def test_blocks_of_fewer_rows_than_are_decoded_at_once_equal_slices(tmp_path):
    COLOR.save(tmp_path / "a.png")
    windows = [Window(y, 0, 3, WIDTH) for y in range(0, 60, 3)]
    with open_reader(tmp_path / "a.png") as reader:
        assert_reads(reader, RGB, windows)


def test_a_file_that_is_replaced_while_it_is_opened_is_refused(tmp_path, monkeypatch):
    COLOR.save(tmp_path / "new.png")
    COLOR.resize((60, 50)).save(tmp_path / "old.png")
    header = file_headers.read_header(tmp_path / "old.png")
    monkeypatch.setattr(vips, "read_header", lambda path: header)
    with pytest.raises(
        ImageError, match=r"^its header describes 60 x 50 px, but libvips finds 619 x 1,061 px of"
    ):
        open_reader(tmp_path / "new.png")
