"""Open each file of a folder as an image with its mask, and as regions; print which were read, as JSON."""

import json
import sys
import warnings
from pathlib import Path

from quadrat.errors import ImageError
from quadrat.images.open import open_image
from quadrat.images.reading import reader_with_validity
from quadrat.patches.vector_files import read_vectors
from quadrat.settings import ReadSettings

READING = ReadSettings(patch_size=32, stride=32, skip={"nodata": 1.0})


def pixels(path):
    with open_image(path, memory_mb=200) as image:
        opened = reader_with_validity(image, READING)
        grid = READING.grid(opened.info.height, opened.info.width)
        list(opened.reader.read_blocks(grid.windows(), 1))


warnings.simplefilter("ignore")
read = {"pixels": [], "regions": []}
for file in sorted(Path(sys.argv[1]).iterdir()):
    for kind, reader in (("pixels", pixels), ("regions", read_vectors)):
        try:
            reader(str(file))
            read[kind].append(file.name)
        except ImageError:
            continue
print(json.dumps(read))
