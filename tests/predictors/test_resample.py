import numpy as np
import pytest
from PIL import Image

from quadrat.predictors.resample import Resampling

PATCHES = np.random.default_rng(0).integers(0, 256, (2, 60, 84, 3), np.uint8)


def by_pillow(patch, height, width, kind):
    channels = [Image.fromarray(patch[..., channel].astype(np.float32)) for channel in range(3)]
    return np.stack([np.asarray(one.resize((width, height), kind)) for one in channels], axis=-1)


@pytest.mark.parametrize("size", [(30, 42), (20, 12), (17, 33), (60, 84), (100, 99), (1, 1)])
def test_bilinear_is_that_of_pillow(size):
    resized = Resampling.of("bilinear", (60, 84), size).apply(PATCHES)
    expected = np.stack([by_pillow(patch, *size, Image.Resampling.BILINEAR) for patch in PATCHES])
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=2e-3)


@pytest.mark.parametrize("size", [(30, 42), (20, 12), (15, 36), (24, 63), (60, 84), (90, 126), (1, 1)])
def test_area_is_the_mean_of_what_each_new_pixel_covers(size):
    height, width = np.lcm(size, (60, 84))
    fine = PATCHES.repeat(height // 60, axis=1).repeat(width // 84, axis=2).astype(np.float64)
    covered = fine.reshape(2, size[0], height // size[0], size[1], width // size[1], 3)
    resized = Resampling.of("area", (60, 84), size).apply(PATCHES)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, covered.mean(axis=(2, 4)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64])
@pytest.mark.parametrize("kind", ["area", "bilinear"])
def test_constant_stays_constant_in_every_type(kind, dtype):
    resized = Resampling.of(kind, (50, 50), (23, 31)).apply(np.full((1, 50, 50, 2), 1234, dtype))
    np.testing.assert_allclose(resized, 1234, rtol=1e-6)
