"""Selection of the channels, the pyramid level and the plane of an image that are read."""

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
            raise ImageError(
                f"channel {channel} does not exist; the image has {available} (config.yaml: channels)"
            )
    return tuple(channel - 1 for channel in channels)


def as_slice(channels: tuple[int, ...]) -> slice | list[int]:
    """Return positions of channels as a slice if they follow each other, since numpy then need not copy."""
    if channels == tuple(range(channels[0], channels[0] + len(channels))):
        return slice(channels[0], channels[-1] + 1)
    return list(channels)


def check_level(level: int, level_count: int) -> None:
    """Refuse a pyramid level that the image does not have.

    Raises
    ------
    ImageError
        If `level` is not among 0 to `level_count` - 1.
    """
    if not 0 <= level < level_count:
        has = "level 0 only" if level_count == 1 else f"levels 0 to {level_count - 1}"
        raise ImageError(f"level {level} does not exist; the image has {has} (config.yaml: level)")


def downsample_of(full: tuple[int, int], level: tuple[int, int]) -> tuple[float, float]:
    """Return how many level-0 pixels make a pixel of a level along y and x.

    Pyramids are made by whole numbers, mostly powers of two, and sizes rounded up or down: a level of 10
    pixels may show 700, 64 by each, so that the quotient of a narrow slide's widths is far from the truth.

    Parameters
    ----------
    full, level : tuple of 2 int
        Height and width in pixels of level 0, and of the level.

    Returns
    -------
    tuple of 2 float
        The whole number that fits both axes; the quotient of each axis if no such number exists.
    """
    axes = list(zip(full, level, strict=True))
    # length / number, rounded down or up, is the size of the level.
    low = max(length // (size + 1) for length, size in axes) + 1
    high = min((-(-length // (size - 1)) - 1 for length, size in axes if size > 1), default=max(full))
    if low > high:
        return full[0] / level[0], full[1] / level[1]
    length, size = max(axes)  # the longer axis is more exact
    nearest = min(max(low, round(length / size)), high)
    powers = [1 << bit for bit in range((low - 1).bit_length(), high.bit_length())]
    number = min(powers or [nearest], key=lambda power: abs(power - length / size))
    return float(number), float(number)


def plane_index(plane: dict[str, int] | None, axis: str, available: int) -> int:
    """Return the position, counted from 0, of the plane that is read along an axis.

    Parameters
    ----------
    plane : dict of str to int, or None
        Wanted planes, counted from 1.
    axis : {'z', 't', 'series'}
    available : int
        Number of planes that the image has.

    Raises
    ------
    ImageError
        If the image does not have the wanted plane.
    """
    number = (plane or {}).get(axis, 1)
    if not 1 <= number <= available:
        raise ImageError(
            f"plane {axis}: {number} does not exist; the image has {available} (config.yaml: plane)"
        )
    return number - 1


def refuse_planes(plane: dict[str, int] | None) -> None:
    """Refuse to read another plane than the first of an image that is not a stack.

    Raises
    ------
    ImageError
        If another plane is wanted.
    """
    for axis in plane or {}:
        plane_index(plane, axis, 1)


def complex_error() -> ImageError:
    """Return the error of an image whose samples are complex numbers."""
    return ImageError(
        "its samples are complex numbers, which quadrat does not read",
        "write their amplitude, or their real and imaginary parts, as channels",
    )
