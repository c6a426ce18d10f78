import numpy as np
import pytest
import tifffile
from traps import GRAY, RGB, TILE

from quadrat.errors import ImageError
from quadrat.readers import open_image


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


@pytest.mark.parametrize(("compression", "name"), [(6, "OJPEG"), (34676, "SGILOG"), (12345, "12345")])
def test_a_codec_that_cannot_be_decoded_is_refused_by_its_name(compression, name, changed):
    path = changed(compression="zlib", tags={259: compression}, **TILE)
    with pytest.raises(ImageError, match=f"compression {name}: cannot be decoded") as error:
        open_image(path)
    assert "gdal_translate" in error.value.hint


def test_uncompressed_subsampled_ycbcr_is_refused(changed):
    with pytest.raises(ImageError, match="subsampled YCbCr with compression NONE") as error:
        open_image(changed(tags={262: 6}))
    assert "gdal_translate" in error.value.hint


def test_complex_numbers_are_refused(changed):
    with pytest.raises(ImageError, match="complex numbers: not supported"):
        open_image(changed(GRAY.astype(np.complex64), photometric="minisblack"))


def test_an_unknown_kind_of_sample_is_refused(changed):
    with pytest.raises(ImageError, match="samples of 31 bit in format 3: cannot be decoded"):
        open_image(changed(GRAY.astype("f4"), photometric="minisblack", tags={258: 31}))


def test_an_image_without_pixels_is_refused(changed):
    with pytest.raises(ImageError, match=r"its size is 0 x 1,061 px"):
        open_image(changed(tags={256: 0}))


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
    with open_image(planes["first"]) as reader:
        assert "axis Z has 2 planes: the first is read" in reader.info.notes
    with pytest.raises(ImageError, match="lies in another file"):
        open_image(planes["second"])


def test_messages_of_tifffile_do_not_reach_the_terminal(changed, capfd, caplog):
    path = changed(compression="zlib", rowsperstrip=100)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[279].overwrite(tif.pages[0].databytecounts[:5])
    with caplog.at_level("INFO", logger="quadrat"), pytest.raises(ImageError, match=r"11 expected"):
        open_image(path)
    assert capfd.readouterr() == ("", "")
    assert "incorrect StripByteCounts count" in caplog.text
