"""What a slide's labels and free text say of a patient stays in the slide."""

import os

import numpy as np
import pyarrow.parquet as pq
import rasterio
import tifffile
from PIL import Image, PngImagePlugin

from studies import PATCH_SIZE

SECRET = "Jane-Doe-1968-S24-7731"
SIZE = 2 * PATCH_SIZE
PIXELS = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
# Artist, Copyright, HostComputer, PageName, Make, Model, ImageID.
TEXT_TAGS = [(tag, "s", 0, SECRET, True) for tag in (315, 33432, 316, 285, 271, 272, 32781)]
TIFF = {"photometric": "rgb", "extratags": [*TEXT_TAGS, (269, "s", 0, SECRET, True)], "software": SECRET}


def write_aperio(path):
    """Write a scan with a thumbnail, a label and a macro image, as Aperio's scanners do."""
    text = f"Aperio Image Library v12\r\n{SIZE}x{SIZE}|MPP = 0.4990|Patient = {SECRET}|Title = {SECRET}"
    with tifffile.TiffWriter(path) as writer:
        writer.write(PIXELS, tile=(16, 16), description=text, metadata=None, **TIFF)
        writer.write(PIXELS[::4, ::4], description=text, metadata=None, **TIFF)
        for kind, subfiletype in (("label", 1), ("macro", 9)):
            text = f"Aperio Image Library v12\r\n{kind} {SECRET}"
            writer.write(PIXELS[::2], description=text, subfiletype=subfiletype, metadata=None, **TIFF)


def write_ome(path, size="0.5"):
    """Write an OME-TIFF whose names and descriptions say who it is."""
    described = {"Name": SECRET, "Description": SECRET, "PhysicalSizeX": size, "PhysicalSizeY": size}
    tifffile.imwrite(path, PIXELS, ome=True, metadata={"axes": "YXS", **described}, photometric="rgb")


def write_imagej(path):
    """Write an ImageJ TIFF with notes."""
    metadata = {"Info": f"Patient: {SECRET}", "note": SECRET, "unit": "um"}
    tifffile.imwrite(path, PIXELS, imagej=True, metadata=metadata, resolution=(2, 2), photometric="rgb")


def write_geotiff(path):
    """Write a GeoTIFF with tags and band names."""
    profile = {"driver": "GTiff", "height": SIZE, "width": SIZE, "count": 3, "dtype": "uint8"}
    transform = rasterio.transform.from_origin(0, 0, 2, 2)
    with rasterio.open(path, "w", crs="EPSG:3857", transform=transform, **profile) as raster:
        raster.write(PIXELS.transpose(2, 0, 1))
        raster.update_tags(OPERATOR=SECRET)
        raster.set_band_description(1, SECRET)


def write_others(images):
    """Write a PNG and a JPEG with comments."""
    comments = PngImagePlugin.PngInfo()
    comments.add_text("Patient", SECRET)
    Image.fromarray(PIXELS).save(images / "slide.png", pnginfo=comments)
    exif = Image.Exif()
    exif[270] = exif[315] = SECRET
    Image.fromarray(PIXELS).save(images / "slide.jpg", exif=exif, comment=SECRET.encode())


def texts(path):
    """Return all that a file holds: its bytes, and what compression hides in them."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield str(pq.read_metadata(path).metadata).encode()
        yield str(pq.read_table(path).to_pylist()).encode()
    if path.suffix == ".tif":
        with rasterio.open(path) as raster:
            yield str([raster.tags(), raster.descriptions, raster.meta]).encode()


def test_free_text_of_slides_reaches_no_file_that_quadrat_writes(study):
    write_aperio(study.images / "scan.svs")
    write_ome(study.images / "ome.tif")
    write_ome(study.images / "odd.ome.tif", size=SECRET)
    write_imagej(study.images / "imagej.tif")
    write_geotiff(study.images / "geo.tif")
    write_others(study.images)
    tifffile.imwrite(study.images / "cut.tif", PIXELS, metadata=None, **TIFF)
    os.truncate(study.images / "cut.tif", PIXELS.nbytes)
    assert all(SECRET.encode() in image.read_bytes() for image in study.images.iterdir())
    study.configure(on_failure="report")
    run = study.run("all", "inspect", "geotiff", "geopackage", "geoparquet", "qupath", "wsinfer")
    assert run.code == 0, run.output
    assert set(study.dictionary) == {
        *("geo.tif", "imagej.tif", "odd.ome.tif", "ome.tif", "scan.svs", "slide.jpg", "slide.png")
    }
    inspected = (study.results / "inspect.tsv").read_text()
    assert "0.499 x 0.499" in inspected  # the descriptions were read
    files = [path for path in study.results.rglob("*") if path.is_file()]
    assert len(files) > 60
    found = [path for path in files for text in texts(path) if SECRET.encode() in text]
    assert found == []
    assert SECRET not in run.output
