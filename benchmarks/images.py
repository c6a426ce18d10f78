"""Images to measure on: one synthetic scene, written in many layouts.

``python benchmarks/images.py FOLDER '[[HEIGHT, WIDTH, ["LAYOUT"]]]'`` writes those that are not yet there.

To a codec the scene looks like a photograph from the air: hills that are rough at every scale, fields with
sharp borders, and the noise of a sensor. A constant image, or noise alone, would flatter some decoders.
"""

import json
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
from layouts import LAYOUTS, Layout, image_path

# Ground and noise repeat at lengths without a common factor, so that their sum hardly ever does; neither is
# a multiple of a patch, and no codec looks back as far within a segment.
GROUND_PERIOD, NOISE_PERIOD = 2500, 2003
CHANNELS = 4
CROPS = 16
STRIPE_ROWS = 512


class Scene:
    """A scene without end, laid out from a square of ground and a square of noise, both seamless."""

    def __init__(self) -> None:
        rng = np.random.default_rng(20)
        self._ground = _ground(rng)
        noise = rng.standard_normal((NOISE_PERIOD, NOISE_PERIOD, CHANNELS), np.float32)
        self._noise = (30 * noise).astype(np.int16)

    def image(self, height: int, width: int, bits: int) -> np.ndarray:
        """Return the scene as (height, width, 3) uint8 or, with 16 bits, as (height, width, 4) uint16."""
        channels, dtype = (3, np.uint8) if bits == 8 else (CHANNELS, np.uint16)
        image = np.empty((height, width, channels), dtype)
        for top in range(0, height, STRIPE_ROWS):
            stripe = image[top : top + STRIPE_ROWS]
            ys, xs = np.arange(top, top + len(stripe)), np.arange(width)
            light = self._ground[ys % GROUND_PERIOD][:, xs % GROUND_PERIOD, :channels]
            light += self._noise[ys % NOISE_PERIOD][:, xs % NOISE_PERIOD, :channels]
            stripe[...] = light >> 4 if bits == 8 else light
        return image


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Make the radiance of the ground, (row, column, channel) int16 of 12 bits."""
    hills, moisture = _rough_surface(rng, 1.3), _rough_surface(rng, 1.8)
    crops = np.searchsorted(np.linspace(-1.8, 1.8, CROPS - 1), moisture)
    ground = np.empty((GROUND_PERIOD, GROUND_PERIOD, CHANNELS), np.int16)
    for channel in range(CHANNELS):
        color = rng.normal(0, 350, CROPS).astype(np.float32)
        radiance = 1700 + 380 * hills + 110 * _rough_surface(rng, 1.1) + color[crops]
        # Noise on top of it must not leave the 12 bits.
        ground[..., channel] = np.clip(radiance, 200, 3800)
    return ground


def _rough_surface(rng: np.random.Generator, exponent: float) -> np.ndarray:
    """Make heights of mean 0 and deviation 1 whose amplitudes fall with frequency to the `exponent`."""
    size = GROUND_PERIOD
    frequency = np.hypot(np.fft.fftfreq(size)[:, np.newaxis], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), np.float32)) / frequency**exponent
    heights = np.fft.irfft2(spectrum, (size, size)).astype(np.float32)
    return heights / heights.std()


def make_images(folder: Path, sizes: list[tuple[int, int, list[str]]]) -> None:
    """Write the images that are not yet there.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    sizes : list of (int, int, list of str)
        Height and width in pixels, and keys of `LAYOUTS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scene = cache(Scene)  # takes seconds, and all images may be there
    for height, width, layouts in sizes:
        missing = {layout: image_path(folder, layout, height, width) for layout in layouts}
        missing = {layout: path for layout, path in missing.items() if not path.exists()}
        for bits in (8, 16):
            alike = {layout: path for layout, path in missing.items() if LAYOUTS[layout].bits == bits}
            if not alike:
                continue
            image = scene().image(height, width, bits)
            for layout, path in alike.items():
                unfinished = path.with_stem(f"unfinished_{layout}")
                _write(unfinished, LAYOUTS[layout], image)
                os.replace(unfinished, path)


def _write(path: Path, layout: Layout, image: np.ndarray) -> None:
    if layout.suffix == ".tif":
        import tifffile

        options = {"photometric": "rgb", "metadata": None, "maxworkers": os.cpu_count()} | layout.options
        if image.shape[2] == CHANNELS:
            options["extrasamples"] = ["unspecified"]
        if layout.planar:
            image, options["planarconfig"] = image.transpose(2, 0, 1), "separate"
        tifffile.imwrite(path, image, **options)
    else:
        from PIL import Image

        Image.fromarray(image).save(path, **layout.options)


if __name__ == "__main__":
    make_images(Path(sys.argv[1]), json.loads(sys.argv[2]))
