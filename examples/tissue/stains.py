"""Estimate the stains of a slide, as options of the predictor.

``python examples/tissue/stains.py SLIDE.svs`` prints them. The slide is read whole; it must fit into memory.
"""

import sys

import numpy as np
import tifffile
import yaml
from predictor import densities, unmixing

# Glass, where the slide is brighter than this in every colour; and tissue, where it is denser in each.
GLASS = 230
TISSUE = 0.15
# Single pixels are noisy in their direction and in their amounts: the outermost hundredth counts for nothing.
PERCENTILES = (1, 99)


def estimate(pixels: np.ndarray) -> dict[str, float | list[float]]:
    """Estimate the stains of a slide by the method of Macenko et al. (2009).

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
        Red, green, blue, with some glass.

    Returns
    -------
    dict
        The options `white`, `hematoxylin`, `eosin`, `low` and `high` of the predictor.
    """
    white = round(float(pixels[(pixels > GLASS).all(axis=2)].mean()), 1)
    of_pixels = densities(pixels, white).reshape(-1, 3)
    hematoxylin, eosin = _extreme_directions(of_pixels[(of_pixels > TISSUE).all(axis=1)])
    low, high = np.percentile(of_pixels @ unmixing(hematoxylin, eosin), PERCENTILES, axis=0)
    vectors = {"hematoxylin": hematoxylin, "eosin": eosin, "low": low, "high": high}
    return {"white": white} | {name: vector.round(4).tolist() for name, vector in vectors.items()}


def _extreme_directions(of_tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the outermost directions of densities within their main plane; hematoxylin absorbs more red."""
    _, axes = np.linalg.eigh(np.cov(of_tissue.T))
    plane = axes[:, :0:-1] * np.sign(axes[:, :0:-1].sum(axis=0))
    angles = np.arctan2(*(of_tissue @ plane).T[::-1])
    ends = [plane @ (np.cos(angle), np.sin(angle)) for angle in np.percentile(angles, PERCENTILES)]
    eosin, hematoxylin = sorted(ends, key=lambda direction: direction[0])
    return hematoxylin, eosin


def main(path: str) -> None:
    """Print the options for a slide."""
    print(yaml.safe_dump(estimate(tifffile.imread(path)), sort_keys=False, default_flow_style=None), end="")


if __name__ == "__main__":
    main(sys.argv[1])
