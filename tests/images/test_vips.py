import struct
import zlib

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
        "palette_transparent.png": "palette expanded to RGBA",
        "rgb_transparent.png": "the transparent colour is given as an alpha channel",
        "rotated.jpg": "EXIF orientation is not applied",
    }
    for name, note in notes.items():
        image, options, _ = FILES[name]
        image.save(tmp_path / name, **options)
        with open_reader(tmp_path / name) as reader:
            assert reader.info.notes == (note,)


def test_there_are_no_levels(tmp_path):
    COLOR.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="level 1 does not exist; the image has level 0 only"):
        open_reader(tmp_path / "a.png", level=1)


@pytest.mark.parametrize("name", ["rgb.png", "baseline_420.jpg", "progressive.jpg"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9999])
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
    with pytest.raises(ImageError, match=r"^the header cannot be decoded: VipsJpeg: \w"):
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
    with pytest.raises(ImageError, match=r"^libvips reads it as 619 x 1,061 px of uchar, unlike its header$"):
        open_reader(tmp_path / "new.png")
