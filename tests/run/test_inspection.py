import csv
import errno
import io
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.transform import Affine

from comparison import open_reader
from quadrat.errors import ConfigError, MemoryBudgetError
from quadrat.files.log import JobLog
from quadrat.grid import Window
from quadrat.images import open as open_module
from quadrat.images.budget import REST_MB
from quadrat.processes.limits import Ended
from quadrat.run.inspection import answer, inspect_images

ASK = partial(map, answer)


@pytest.fixture
def inspect(make_settings, results):
    """Return a function that inspects images and returns rows by filename and what was told."""

    def run(ask=ASK, **config):
        log = io.BytesIO()
        inspect_images(make_settings(**({"patch_size": 32} | config)), ask, JobLog(log))
        with Path(results.inspected).open(encoding="utf-8", newline="") as file:
            rows = {row["filename"]: row for row in csv.DictReader(file, delimiter="\t")}
        return rows, log.getvalue().decode()

    return run


def test_header_of_a_geotiff_is_reported(inspect, images, noise):
    profile = {"driver": "GTiff", "height": 100, "width": 140, "count": 3, "dtype": "uint16"}
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 32, "compress": "zstd"}
    transform = Affine(10, 0, 0, 0, -10, 0)
    path = images / "scene.tif"
    with rasterio.open(path, "w", crs="EPSG:32612", transform=transform, **profile, **layout) as raster:
        raster.write(noise(3, 100, 140, dtype=np.uint16))
    rows, shown = inspect()
    expected = {
        "bytes": str(path.stat().st_size),
        "format": "TIFF",
        "height": "100",
        "width": "140",
        "channels": "3",
        "dtype": "uint16",
        "layout": "tiles of 32 x 64",
        "compression": "zstd",
        "levels": "1",
        "crs": "EPSG:32612",
        "mpp": "",
        "gsd": "10 x 10",
        "patches": str((100 // 32) * (140 // 32)),
        "problem": "",
    }
    assert {key: rows["scene.tif"][key] for key in expected} == expected
    line = next(line for line in shown.splitlines() if line.startswith("scene.tif"))
    for shown in ("100 x 140 x 3", "uint16", "tiles of 32 x 64, zstd", "EPSG:32612", "12"):
        assert shown in line


def test_slide_shows_its_levels_and_micrometres(inspect, images, noise):
    with tifffile.TiffWriter(images / "slide.tif") as writer:
        options = {"photometric": "rgb", "resolutionunit": "CENTIMETER"}
        writer.write(noise(128, 128, 3), subifds=2, resolution=(20_000, 20_000), **options)
        for size in (64, 32):
            writer.write(noise(size, size, 3), subfiletype=1, resolution=(10_000, 10_000), **options)
    row = inspect()[0]["slide.tif"]
    assert (row["levels"], row["mpp"], row["layout"]) == ("3", "0.5 x 0.5", "strips of 128")
    row = inspect(level=1)[0]["slide.tif"]
    assert (row["height"], row["patches"]) == ("64", "4")


def test_image_beside_a_world_file_shows_the_size_of_its_pixels(inspect, write_tiff):
    path = write_tiff("a.tif").path
    path.with_suffix(".tfw").write_text("0.5\n0\n0\n-0.25\n500005\n3999995\n")
    rows, shown = inspect()
    assert (rows["a.tif"]["crs"], rows["a.tif"]["mpp"], rows["a.tif"]["gsd"]) == ("", "", "0.25 x 0.5")
    line = next(line for line in shown.splitlines() if line.startswith("a.tif"))
    assert "no CRS, gsd 0.25 x 0.5" in line


def test_configuration_decides_patches_and_channels(inspect, write_tiff):
    write_tiff("a.tif", height=100, width=140)
    row = inspect(channels=[3, 1], patch_size=48, stride=20, edge="pad")[0]["a.tif"]
    assert (row["channels"], row["patches"]) == ("2", str(4 * 6))


def test_image_smaller_than_a_patch_has_none_to_come(inspect, write_tiff):
    write_tiff("a.tif", height=20, width=140)
    row = inspect()[0]["a.tif"]
    assert (row["patches"], row["problem"]) == ("0", "")


@pytest.mark.parametrize("kind", ["strips", "lzw", "interlaced", "vips", "gdal"])
def test_memory_is_the_least_with_which_the_reader_reads(inspect, images, noise, kind):
    pixels = np.tile(noise(250, 500, 3), (8, 4, 1))
    path = images / {"interlaced": "a.png", "vips": "a.png", "gdal": "a.jp2"}.get(kind, "a.tif")
    if kind == "strips":
        tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=7)
    elif kind == "lzw":
        tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=1000, compression="lzw")
    elif kind == "gdal":
        profile = {"driver": "JP2OpenJPEG", "height": 2000, "width": 2000, "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", quality=100, reversible=True, **profile) as raster:
            raster.write(np.zeros_like(pixels).transpose(2, 0, 1))  # noise would take seconds
    else:
        Image.fromarray(pixels).save(path, compress_level=1)
    if kind == "interlaced":
        import pyvips

        pyvips.Image.new_from_array(pixels).pngsave(str(path), interlace=True, compression=1)
    needed = int(inspect(patch_size=512)[0][path.name]["mem_mb"]) - REST_MB
    windows = [Window(row * 512, 0, 512, 3 * 512) for row in range(3)]
    with open_reader(path, memory_mb=needed) as reader:
        assert sum(block.shape[0] for block in reader.read_blocks(windows, 1)) == 3 * 512
    with pytest.raises(MemoryBudgetError), open_reader(path, memory_mb=needed - 1) as reader:
        reader.read_blocks(windows, 1)


def test_file_that_cannot_be_read_says_why(inspect, images, write_tiff):
    whole = write_tiff("whole.tif").path.read_bytes()
    (images / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (images / "empty.png").touch()
    (images / "text.jpg").write_text("not an image")
    rows, shown = inspect()
    assert rows["whole.tif"]["problem"] == ""
    assert rows["cut.tif"]["problem"].startswith("truncated: ")
    assert rows["empty.png"]["problem"] == "empty file"
    assert "docs/formats.md does not list its format" in rows["text.jpg"]["problem"]
    for name in ("cut.tif", "empty.png", "text.jpg"):
        assert f"{name}: {rows[name]['problem']}" in shown
    assert "4 images" in shown
    assert "3 images cannot be read" in shown


def test_files_that_are_no_images_are_counted(inspect, images, write_tiff):
    write_tiff("a.tif")
    write_tiff("north/b.tif")
    write_tiff("b_mask.tif")
    for name in ("notes.txt", "north/b.TXT", "meta.xml", "README", ".DS_Store"):
        (images / name).touch()
    (images / "scan.lif").touch()
    rows, shown = inspect(exclude=["*_mask.tif"])
    assert list(rows) == ["a.tif", "north/b.tif"]
    assert "not taken: 1 .lif; export them as OME-TIFF" in shown
    line = next(line for line in shown.splitlines() if line.startswith("not images: "))
    assert set(line.removeprefix("not images: ").split(", ")) == {
        "2 .txt",
        "1 .lif",
        "1 .xml",
        "1 without ending",
        "1 hidden",
        "1 left out by include and exclude",
    }


def test_long_table_is_cut_on_the_terminal_and_whole_in_the_file(inspect, images, noise):
    for number in range(70):
        tifffile.imwrite(images / f"{number:02}.tif", noise(40, 40))
    rows, shown = inspect()
    assert len(rows) == 70
    assert "\n59.tif" in shown
    assert "\n60.tif" not in shown
    assert "and 10 more: see " in shown


def test_names_in_the_table_are_those_of_the_files(inspect, write_tiff):
    names = ["'a.tif", "+c.tif", "-a.tif", "=1+1.tif", "@b.tif", "a\tb.tif", 'two  "spaces" .tif']
    for name in names:
        write_tiff(name)
    assert sorted(inspect()[0]) == sorted(names)


def test_folder_without_images_is_one_line(inspect, images):
    (images / "notes.txt").touch()
    with pytest.raises(ConfigError, match="no file in it ends in"):
        inspect()


def test_image_that_no_job_can_be_given_is_shown_with_its_hint(inspect, write_tiff):
    write_tiff("a\nb.tif")
    rows, shown = inspect()
    problem = "the name contains a line break or another control character"
    assert rows[r"a\nb.tif"]["problem"] == problem
    assert shown.startswith(rf"a\nb.tif: {problem} (rename the file: ")


def test_image_that_the_disk_does_not_give_is_reported(inspect, write_tiff, monkeypatch):
    write_tiff("a.tif")

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(open_module, "open_image", fail)
    assert inspect()[0]["a.tif"]["problem"] == "cannot be read: Input/output error"


def test_image_at_which_a_reader_fails_is_one_row_and_its_traceback_is_in_the_log(inspect, write_tiff):
    for name in ("a.tif", "b.tif", "c.tif"):
        write_tiff(name)
    ended = Ended(
        "IndexError: tuple index out of range", "Traceback:\n  in reader\nIndexError: tuple index\n"
    )

    def ask(questions):
        return [ended if question["path"].endswith("b.tif") else answer(question) for question in questions]

    rows, shown = inspect(ask)
    assert [rows[name]["problem"] for name in ("a.tif", "c.tif")] == ["", ""]
    assert rows["b.tif"]["problem"] == "cannot be read: IndexError: tuple index out of range"
    assert rows["b.tif"]["hint"].startswith("see ")
    assert rows["b.tif"]["bytes"] == rows["a.tif"]["bytes"]
    assert "b.tif:\nTraceback:\n  in reader\n" in shown
    assert shown.splitlines()[-1].endswith("; 1 image cannot be read")


def test_long_list_of_images_that_cannot_be_read_is_cut_on_the_terminal(inspect, images):
    for number in range(70):
        (images / f"{number:02}.tif").touch()
    rows, shown = inspect()
    assert len(rows) == 70
    assert "\n59.tif: empty file" in shown
    assert "\n60.tif" not in shown
    assert "and 10 more that cannot be read: see " in shown
