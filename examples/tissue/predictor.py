"""A predictor for slides stained with hematoxylin and eosin: how much of a patch is epithelium and stroma.

The network is the one that lavlab-shell 0.9.1 publishes. It takes stains, not colours.
"""

import numpy as np
import onnxruntime

CLASSES = ("background", "epithelium", "stroma")


def densities(pixels: np.ndarray, white: float) -> np.ndarray:
    """Return the optical densities of colours.

    Parameters
    ----------
    pixels : (..., 3) uint8 array
        Red, green, blue.
    white : float
        Brightness of the glass.

    Returns
    -------
    (..., 3) float32 array
        0 where no light is absorbed.
    """
    return np.log10(white / np.clip(pixels, 1, white).astype(np.float32))


def unmixing(hematoxylin: list[float], eosin: list[float]) -> np.ndarray:
    """Return the matrix from densities of red, green, blue to eosin, hematoxylin, and the mean density.

    Parameters
    ----------
    hematoxylin, eosin : list of 3 float
        What a unit of each stain absorbs of red, green and blue.

    Returns
    -------
    (3, 3) float32 array
        To be multiplied from the right.
    """
    of_hematoxylin, of_eosin = np.linalg.pinv(np.array([hematoxylin, eosin]).T)
    return np.stack([of_eosin, of_hematoxylin, np.full(3, 1 / 3)], axis=1).astype(np.float32)


class Tissue:
    """Predicts the share of a patch's pixels that are of each class.

    Parameters
    ----------
    model : str
        The network, an ONNX file with input (n, 3, height, width), from 0 to 1.
    white : float
        Brightness of the glass, 0 to 255.
    hematoxylin, eosin : list of 3 float
        What a unit of each stain absorbs of red, green and blue.
    low, high : list of 3 float
        Amounts of eosin and hematoxylin, and mean densities, that become 0 and 1.

    Notes
    -----
    `stains.py` estimates all but the network from a slide.

    References
    ----------
    Macenko et al. (2009), https://doi.org/10.1109/ISBI.2009.5193250: the separation of stains.
    """

    def __init__(
        self,
        model: str,
        white: float,
        hematoxylin: list[float],
        eosin: list[float],
        low: list[float],
        high: list[float],
    ):
        options = onnxruntime.SessionOptions()
        # With another number of threads, results may differ in their last bits.
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._white, self._unmixing = white, unmixing(hematoxylin, eosin)
        self._low, self._high = np.array(low, np.float32), np.array(high, np.float32)

    def predict_patch(self, patch: np.ndarray) -> np.ndarray:
        """Return the share of each class.

        Parameters
        ----------
        patch : (height, width, 3) uint8
            Red, green, blue at 1 micrometre per pixel; height and width are multiples of 64.

        Returns
        -------
        (3,) float64
            Shares of `CLASSES`; their sum is 1.
        """
        stains = (densities(patch, self._white) @ self._unmixing - self._low) / (self._high - self._low)
        pixels = np.clip(stains, 0, 1).transpose(2, 0, 1)[np.newaxis]
        classes = self._session.run(None, {"input": np.ascontiguousarray(pixels)})[0][0].argmax(axis=0)
        return np.bincount(classes.ravel(), minlength=len(CLASSES)) / classes.size
