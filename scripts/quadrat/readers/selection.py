"""Selection of what is read of an image: its channels and its pyramid level."""

from quadrat.errors import ImageError


def channel_indices(channels: tuple[int, ...] | None, available: int) -> tuple[int, ...]:
    """Return the positions, counted from 0, of the channels that are read.

    Parameters
    ----------
    channels : tuple of int or None
        Wanted channels, counted from 1, in the order of the result; None for all.
    available : int
        Number of channels the image has.

    Raises
    ------
    ImageError
        If the image does not have a wanted channel.
    """
    if channels is None:
        return tuple(range(available))
    for channel in channels:
        if not 1 <= channel <= available:
            raise ImageError(f"channel {channel}: the image has {available} (config.yaml: channels)")
    return tuple(channel - 1 for channel in channels)


def check_level(level: int, level_count: int) -> None:
    """Refuse a pyramid level that the image does not have.

    Raises
    ------
    ImageError
        If `level` is not among 0 to `level_count` - 1.
    """
    if not 0 <= level < level_count:
        has = "level 0 only" if level_count == 1 else f"levels 0 to {level_count - 1}"
        raise ImageError(f"level {level}: the image has {has} (config.yaml: level)")


def complex_error() -> ImageError:
    """Return the error of an image whose samples are complex numbers."""
    return ImageError(
        "complex numbers: not supported",
        "write their amplitude, or their real and imaginary parts, as channels",
    )
