import json

import numpy as np
import tifffile

from quadrat.files.hashing import hash_file
from quadrat.images.open import open_image
from quadrat.patches.skips import known_skips


def test_what_is_outside_is_reported_before_what_is_background(images, make_task, tmp_path):
    path, drawn = images / "slide.tif", tmp_path / "regions.geojson"
    pixels = np.full((256, 256, 3), 240, np.uint8)
    pixels[:128] = (170, 60, 140)
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, subifds=1, photometric="rgb", tile=(64, 64))
        tif.write(pixels[::4, ::4], subfiletype=1, photometric="rgb", tile=(64, 64))
    left_half = [[0, 0], [128, 0], [128, 256], [0, 256], [0, 0]]
    drawn.write_text(json.dumps({"type": "Polygon", "coordinates": [left_half]}))
    task = make_task(
        path,
        patch_size=128,
        stride=128,
        skip={"background": {"tissue_below": 0.5}},
        regions={"path": str(drawn), "hash": hash_file(drawn), "in_pixels": True},
    )
    with open_image(path) as image:
        known = known_skips(image, task.reading, task.reading.grid(256, 256), image.info, task.regions)
    assert known.tolist() == [[None, "outside"], ["background", "outside"]]


def test_nothing_is_skipped_unless_the_configuration_says_so(write_tiff, make_task):
    task = make_task(write_tiff("a.tif").path)
    with open_image(task.path) as image:
        known = known_skips(image, task.reading, task.reading.grid(100, 140), image.info)
    assert known.shape == (3, 4)
    assert not known.any()
