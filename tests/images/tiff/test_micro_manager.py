"""Micro-Manager's files: several positions in one file, or a file for each, beside those of the others."""

import struct

import numpy as np
import pytest
import tifffile

from comparison import open_reader
from micro_manager import INDEX_MAP, write_micro_manager
from quadrat.errors import ImageError
from quadrat.images.open import open_image

POSITIONS, FRAMES, SLICES, CHANNELS = 3, 2, 2, 2
SIZES = {"frames": FRAMES, "slices": SLICES, "channels": CHANNELS}


@pytest.fixture
def planes(noise):
    """Return planes by position, frame, slice and channel."""
    pixels = noise(POSITIONS * FRAMES * SLICES * CHANNELS * 30, 40)
    return pixels.reshape(POSITIONS, FRAMES, SLICES, CHANNELS, 30, 40)


@pytest.fixture
def one_file(planes, tmp_path):
    path = tmp_path / "one_MMStack.ome.tif"
    write_micro_manager(path, planes.reshape(-1, 30, 40), POSITIONS, **SIZES)
    return path


@pytest.fixture
def files(planes, tmp_path):
    """Return the paths of a set of one file per position."""
    paths = [tmp_path / f"set_MMStack_Pos{number}.ome.tif" for number in range(POSITIONS)]
    for number, path in enumerate(paths):
        pixels = planes[number].reshape(-1, 30, 40)
        write_micro_manager(path, pixels, first_position=number, all_positions=POSITIONS, **SIZES)
    return paths


def test_the_fixture_is_read_by_tifffile_as_it_was_written(one_file, planes, caplog):
    caplog.set_level("CRITICAL")
    with tifffile.TiffFile(one_file) as tif:
        assert (tif.series[0].kind, tif.series[0].axes) == ("mmstack", "RTCZYX")
        np.testing.assert_array_equal(tif.asarray(), planes.swapaxes(2, 3))


@pytest.mark.parametrize("position", range(POSITIONS))
def test_series_chooses_the_position_in_a_file_of_several(position, one_file, planes):
    which = f"number {position + 1}" if position else "the first"
    for z, t in ((1, 1), (2, 1), (2, 2)):
        with open_image(one_file, {"series": position + 1, "z": z, "t": t}) as image:
            np.testing.assert_array_equal(image.read(), planes[position, t - 1, z - 1].transpose(1, 2, 0))
            assert f"the file holds 3 positions: {which} is read" in image.info.notes


def test_a_position_that_the_file_lacks_is_refused(one_file):
    with pytest.raises(ImageError, match="plane series: 4 does not exist; the image has 3"):
        open_reader(one_file, plane={"series": 4})


def test_first_position_is_read_unless_another_is_chosen(one_file, planes):
    with open_image(one_file) as image:
        np.testing.assert_array_equal(image.read(), planes[0, 0, 0].transpose(1, 2, 0))


@pytest.mark.parametrize("others", ["whole", "missing", "broken"])
@pytest.mark.parametrize("position", range(POSITIONS))
def test_each_file_of_a_set_is_an_image_of_its_own_position(position, others, files, planes):
    for other in files[:position] + files[position + 1 :]:
        if others == "missing":
            other.unlink()
        if others == "broken":
            other.write_bytes(b"II*\0 broken")
    with open_image(files[position], {"z": 2}) as image:
        np.testing.assert_array_equal(image.read(), planes[position, 0, 1].transpose(1, 2, 0))
        note = f"its first plane is position {position + 1} of a Micro-Manager data set"
        assert (note in image.info.notes) == (position > 0)
    with pytest.raises(ImageError, match="plane series: 2 does not exist; the image has 1"):
        open_reader(files[position], plane={"series": 2})


def test_file_that_goes_on_after_another_begins_with_its_own_first_plane(planes, tmp_path):
    """Micro-Manager begins another file when one has 4 GB: here one with the second of two times."""
    path = tmp_path / "set_MMStack_Pos0_1.ome.tif"
    write_micro_manager(
        path, planes[0, 1].reshape(-1, 30, 40), slices=SLICES, channels=CHANNELS, first_frame=1
    )
    with open_image(path, {"z": 2}) as image:
        np.testing.assert_array_equal(image.read(), planes[0, 1, 1].transpose(1, 2, 0))
        assert "its first plane is t 2 of a Micro-Manager data set" in image.info.notes


def test_file_with_an_empty_index_is_read_by_its_pages(one_file, planes):
    data, empty = one_file.read_bytes(), struct.pack("<2I", INDEX_MAP, 0)
    at = data.rindex(empty[:4])
    one_file.write_bytes(data[:at] + empty + data[at + len(empty) :])
    with open_image(one_file) as image:
        np.testing.assert_array_equal(image.read()[..., 0], planes[0, 0, 0, 0])
