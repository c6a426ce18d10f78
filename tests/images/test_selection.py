import pytest

from quadrat.errors import ImageError
from quadrat.images.selection import channel_indices, check_level, downsample_of, plane_index, refuse_planes


def test_all_channels_are_read_by_default():
    assert channel_indices(None, 3) == (0, 1, 2)


def test_channels_are_counted_from_1_and_keep_their_order():
    assert channel_indices((3, 1, 1), 4) == (2, 0, 0)


@pytest.mark.parametrize("channel", [0, -1, 5])
def test_a_channel_the_image_lacks_is_refused_with_the_setting_to_change(channel):
    with pytest.raises(
        ImageError, match=rf"^channel {channel} does not exist; the image has 3 \(config.yaml: channels\)$"
    ):
        channel_indices((1, channel), 3)


def test_a_level_the_image_lacks_is_refused_with_the_levels_it_has():
    check_level(2, 3)
    with pytest.raises(
        ImageError, match=r"^level 3 does not exist; the image has levels 0 to 2 \(config.yaml: level\)$"
    ):
        check_level(3, 3)
    with pytest.raises(ImageError, match="level 0 only"):
        check_level(1, 1)


def test_planes_are_counted_from_1_and_the_first_is_read_by_default():
    assert plane_index({"z": 3}, "z", 3) == 2
    assert plane_index({"z": 3}, "t", 3) == plane_index(None, "z", 3) == 0


@pytest.mark.parametrize("number", [0, 4])
def test_a_plane_the_image_lacks_is_refused_with_the_number_it_has(number):
    with pytest.raises(
        ImageError, match=rf"^plane z: {number} does not exist; the image has 3 \(config.yaml: plane\)$"
    ):
        plane_index({"z": number}, "z", 3)


def test_an_image_that_is_no_stack_has_the_first_plane_only():
    refuse_planes(None)
    refuse_planes({"z": 1, "t": 1, "series": 1})
    with pytest.raises(ImageError, match="plane t: 2 does not exist; the image has 1"):
        refuse_planes({"z": 1, "t": 2})


@pytest.mark.parametrize("number", [1, 2, 3, 4, 16, 64])
@pytest.mark.parametrize("full", [(30_000, 700), (700, 30_000), (4999, 5001), (1000, 64)])
@pytest.mark.parametrize(
    "rounded", [lambda length, number: length // number, lambda *sizes: -(-sizes[0] // sizes[1])]
)
def test_level_is_smaller_by_the_whole_number_it_was_made_with(full, number, rounded):
    level = tuple(rounded(length, number) for length in full)
    assert downsample_of(full, level) == (number, number)


def test_axes_have_scales_of_their_own_where_no_whole_number_fits_both():
    assert downsample_of((1000, 30), (400, 11)) == (2.5, 30 / 11)
    assert downsample_of((1000, 2000), (100, 1000)) == (10, 2)
    assert downsample_of((39, 18), (7, 4)) == (5, 5)  # 39 / 5 rounded down, 18 / 5 rounded up
    assert downsample_of((2**32, 5), (1, 5)) == (2**32, 1)
