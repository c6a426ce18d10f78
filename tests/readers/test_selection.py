import pytest

from quadrat.errors import ImageError
from quadrat.readers.selection import channel_indices, check_level


def test_all_channels_are_read_by_default():
    assert channel_indices(None, 3) == (0, 1, 2)


def test_channels_are_counted_from_1_and_keep_their_order():
    assert channel_indices((3, 1, 1), 4) == (2, 0, 0)


@pytest.mark.parametrize("channel", [0, -1, 5])
def test_a_channel_the_image_lacks_is_refused_with_the_setting_to_change(channel):
    with pytest.raises(ImageError, match=rf"^channel {channel}: the image has 3 \(config.yaml: channels\)$"):
        channel_indices((1, channel), 3)


def test_a_level_the_image_lacks_is_refused_with_the_levels_it_has():
    check_level(2, 3)
    with pytest.raises(ImageError, match=r"^level 3: the image has levels 0 to 2 \(config.yaml: level\)$"):
        check_level(3, 3)
    with pytest.raises(ImageError, match="level 0 only"):
        check_level(1, 1)
