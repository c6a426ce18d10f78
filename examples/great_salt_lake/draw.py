"""Draw the water fraction of each patch beside the scene.

``python examples/great_salt_lake/draw.py [PICTURE.png]``, after the example has run.
"""

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rasterio.enums import Resampling

TOP = Path(__file__).resolve().parents[2]
SCENE = TOP / ".cache" / "inputs" / "great_salt_lake" / "landsat.tif"
RESULTS = TOP / "results" / "great_salt_lake"

WATER = 1  # its place among the predictor's classes
RED_GREEN_BLUE = (3, 2, 1)  # channels of the scene, from 1
DECIMATION = 2
OVERLAP_NOTE = "Where a shifted last patch overlaps its neighbour, the mean of both is drawn."
KM_PER_DEGREE = 111.32  # along a meridian, and along the equator


def read_composite(scene: Path) -> tuple[np.ndarray, float, float]:
    """Read a small picture of the scene in natural colours.

    Parameters
    ----------
    scene : Path
        A raster with red, green and blue among its channels and coordinates in degrees.

    Returns
    -------
    composite : (height, width, 3) float array
        Between 0 and 1, each colour stretched from its 1st to its 99th percentile.
    km_per_column, km_per_row : float
        Ground size of a pixel of the scene itself, in km.
    """
    with rasterio.open(scene) as dataset:
        shape = (len(RED_GREEN_BLUE), dataset.height // DECIMATION, dataset.width // DECIMATION)
        colours = dataset.read(RED_GREEN_BLUE, out_shape=shape, resampling=Resampling.average)
        degrees_x, degrees_y = dataset.res
        latitude = math.radians((dataset.bounds.top + dataset.bounds.bottom) / 2)
    image = np.moveaxis(colours, 0, -1).astype(float)
    low, high = np.percentile(image, (1, 99), axis=(0, 1))
    stretched = np.clip((image - low) / (high - low), 0, 1) ** 0.8
    return stretched, degrees_x * KM_PER_DEGREE * math.cos(latitude), degrees_y * KM_PER_DEGREE


def water_map(patches: pd.DataFrame) -> np.ndarray:
    """Lay the water fractions where their patches are; where patches overlap, take their mean.

    Parameters
    ----------
    patches : DataFrame
        A row per patch: y, x, height, width in pixels, prediction a list of fractions.

    Returns
    -------
    (height, width) float array
        As large as the patches reach; NaN where no patch lies.
    """
    height, width = (patches.y + patches.height).max(), (patches.x + patches.width).max()
    total, count = np.zeros((height, width)), np.zeros((height, width), int)
    for patch in patches.itertuples():
        inside = np.s_[patch.y : patch.y + patch.height, patch.x : patch.x + patch.width]
        total[inside] += patch.prediction[WATER]
        count[inside] += 1
    return np.where(count, total / np.maximum(count, 1), np.nan)


def draw(scene: Path, patches: pd.DataFrame, picture: Path) -> None:
    """Draw the scene and, beside it, the water fraction of each patch.

    Parameters
    ----------
    scene : Path
        The raster that was predicted.
    patches : DataFrame
        A row per patch: y, x, height, width in pixels, prediction a list of fractions.
    picture : Path
        The PNG to write.
    """
    composite, km_per_column, km_per_row = read_composite(scene)
    fractions = water_map(patches)
    height, width = fractions.shape
    extent = (0, width * km_per_column, height * km_per_row, 0)
    figure = Figure(figsize=(8.8, 5.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.imshow(composite, extent=extent)
    left.set(title="Great Salt Lake, Landsat 7", ylabel="km from the north edge")
    shades = right.imshow(100 * fractions, extent=extent, cmap="Blues", vmin=0, vmax=100)
    right.set(title="Water in each patch of 512 x 512 px")
    for patch in patches.itertuples():
        _outline(left, patch, km_per_column, km_per_row, "white")
        _outline(right, patch, km_per_column, km_per_row, "#555555")
        _label(right, patch, km_per_column, km_per_row)
    for axes in (left, right):
        axes.set(xlabel="km from the west edge", xlim=extent[:2], ylim=extent[2:])
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(shades, ax=right, shrink=0.9, label="water, % of the patch")
    bar.outline.set_visible(False)
    figure.supxlabel(OVERLAP_NOTE, fontsize=9, color="#555555")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


def _outline(axes: Axes, patch, km_per_column: float, km_per_row: float, colour: str) -> None:
    corner = (patch.x * km_per_column, patch.y * km_per_row)
    size = (patch.width * km_per_column, patch.height * km_per_row)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=0.8, alpha=0.8))


def _label(axes: Axes, patch, km_per_column: float, km_per_row: float) -> None:
    fraction = patch.prediction[WATER]
    axes.text(
        (patch.x + patch.width / 2) * km_per_column,
        (patch.y + patch.height / 2) * km_per_row,
        f"{100 * fraction:.0f} %",
        color="white" if fraction > 0.55 else "#222222",
        fontsize=15,
        ha="center",
        va="center",
    )


def main(picture: Path) -> None:
    """Draw what the example's run predicted."""
    # Imported here: everything above needs no more than the scene and a table.
    from quadrat import open_predictions
    from quadrat.errors import QuadratError

    try:
        patches = open_predictions(RESULTS).to_pandas(SCENE.name)
    except QuadratError as error:
        raise SystemExit(f"draw: {error}") from None
    draw(SCENE, patches, picture)
    print(f"drew {picture}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "water.png")
