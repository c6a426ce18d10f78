"""Make the three images of the first run: a survey with a lake, irrigated fields, and dunes.

``python examples/first_run/make_images.py`` writes them to the folder `images` beside this file. They are
synthetic and small, and the same on every machine: numpy's generator gives the same numbers everywhere, and
only sums, products and quotients follow, which every processor rounds alike.
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

LAKE_LEVEL = 1280

DESERT = (201, 178, 141)
CROPS = ((58, 99, 52), (94, 132, 61), (138, 158, 84), (163, 137, 94))

SHADE = (116, 72, 44)
SAND = (236, 196, 138)


def smooth_noise(height: int, width: int, spacing: int, rng: np.random.Generator) -> np.ndarray:
    """Make smooth random hills.

    Parameters
    ----------
    height, width : int
        Size in pixels.
    spacing : int
        Distance between independent values, in pixels.
    rng : numpy.random.Generator

    Returns
    -------
    (height, width) float64
        Between 0 and 1.
    """
    heights = rng.random((height // spacing + 2, width // spacing + 2))
    y, x = np.arange(height) / spacing, np.arange(width) / spacing
    above, left = y.astype(int), x.astype(int)
    down, right = fade(y - above)[:, np.newaxis], fade(x - left)
    upper = heights[above][:, left] * (1 - right) + heights[above][:, left + 1] * right
    lower = heights[above + 1][:, left] * (1 - right) + heights[above + 1][:, left + 1] * right
    return upper * (1 - down) + lower * down


def fade(position: np.ndarray) -> np.ndarray:
    """Ease positions from 0 to 1 so that slope and curvature are 0 at both ends."""
    return position * position * position * (position * (position * 6 - 15) + 10)


def survey(height: int = 1024, width: int = 1536) -> np.ndarray:
    """Make an elevation model: hills around a lake.

    Returns
    -------
    (height, width) uint16
        Metres above the sea; the lake lies flat at `LAKE_LEVEL`.
    """
    rng = np.random.default_rng(1)
    hills = sum(
        metres * smooth_noise(height, width, spacing, rng)
        for spacing, metres in ((700, 150), (330, 60), (150, 14))
    )
    return np.maximum(LAKE_LEVEL - 100 + hills, LAKE_LEVEL).astype(np.uint16)


def fields(height: int = 1024, width: int = 1024, pitch: int = 128) -> np.ndarray:
    """Make fields watered by turning sprinklers, as circles in a desert; fewer are watered in the east.

    Returns
    -------
    (height, width, 3) uint8
    """
    rng = np.random.default_rng(2)
    image = np.full((height, width, 3), DESERT, np.uint8)
    offset = np.arange(pitch) - (pitch - 1) / 2
    distance = offset[:, np.newaxis] ** 2 + offset**2
    circle = distance < (0.46 * pitch) ** 2
    half = circle & (offset > 0)
    for y in range(0, height, pitch):
        for x in range(0, width, pitch):
            watered, first, second = rng.random(3)
            if watered < x / width:
                continue
            square = image[y : y + pitch, x : x + pitch]
            square[circle] = CROPS[int(first * len(CROPS))]
            square[half] = CROPS[int(second * len(CROPS))]
    return image


def dunes(height: int = 1100, width: int = 1240) -> np.ndarray:
    """Make dunes in a low sun: bright slopes to the wind, dark ones in its lee.

    Returns
    -------
    (height, width, 3) uint8
    """
    rng = np.random.default_rng(3)
    y, x = np.arange(height)[:, np.newaxis], np.arange(width)
    bends = 1.7 * smooth_noise(height, width, 420, rng) + 0.5 * smooth_noise(height, width, 150, rng)
    phase = (y + x / 4) / 190 + bends
    along = phase - np.floor(phase)
    crest = 0.72
    light = np.where(along < crest, along / crest, 1 - fade((along - crest) / (1 - crest)))
    light = 0.12 + 0.88 * light * (0.55 + 0.45 * smooth_noise(height, width, 300, rng))
    shade, sand = np.array(SHADE), np.array(SAND)
    return (shade + (sand - shade) * light[..., np.newaxis]).astype(np.uint8)


def write_geotiff(path: Path, elevation: np.ndarray) -> None:
    """Write an elevation model as a tiled GeoTIFF with 10 m pixels, in UTM zone 12 north.

    References
    ----------
    OGC 19-008r4, GeoTIFF 1.1, sections 7 and 8: the tags ModelPixelScale, ModelTiepoint, GeoKeyDirectory.
    """
    pixel_scale = (10.0, 10.0, 0.0)
    tie_point = (0.0, 0.0, 0.0, 360000.0, 4540000.0, 0.0)
    projected, area, epsg = (1024, 0, 1, 1), (1025, 0, 1, 1), (3072, 0, 1, 32612)
    keys = (1, 1, 0, 3, *projected, *area, *epsg)
    tags = [(33550, "d", 3, pixel_scale), (33922, "d", 6, tie_point), (34735, "H", len(keys), keys)]
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        elevation,
        tile=(256, 256),
        compression="zlib",
        compressionargs={"level": 9},
        predictor=True,
        metadata=None,
        extratags=tags,
    )


def make_images(folder: Path) -> None:
    """Write the three images.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_geotiff(folder / "survey" / "elevation.tif", survey())
    Image.fromarray(fields()).save(folder / "fields.png", optimize=True)
    Image.fromarray(dunes()).save(folder / "dunes.jpg", quality=80, optimize=True)


if __name__ == "__main__":
    make_images(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
