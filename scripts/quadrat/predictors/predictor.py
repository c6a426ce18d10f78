"""The protocol of all predictors."""

from typing import Any, Protocol

import numpy as np

from quadrat.images.image import ImageInfo

# Approximate bytes of a batch, and the largest number of its patches.
BATCH_BYTES = 1 << 24
MOST_PATCHES = 32


def default_batch_size(patch_bytes: int) -> int:
    """Return the number of patches in a batch; it depends on their size in bytes alone."""
    return min(MOST_PATCHES, max(1, BATCH_BYTES // patch_bytes))


def without_objects(predictions: np.ndarray) -> np.ndarray:
    """Return an array of objects, which are all strings or all numbers, as an array of their own type.

    Labels that come from pandas or ONNX Runtime are objects. Any other array is returned as it is.
    """
    if predictions.dtype == object:
        for kind in (str, int | float | np.number):
            if all(isinstance(one, kind) for one in predictions.flat):
                return np.array(predictions.tolist())
    return predictions


class Predictor(Protocol):
    """Turns batches of patches into predictions."""

    def check(self, info: ImageInfo) -> None:
        """Check that an image can be predicted, before its first patch.

        Parameters
        ----------
        info : ImageInfo
            The image, with the channels that are read.

        Raises
        ------
        ImageError
            If it cannot. The message names the expected and the actual property of the image.
        """
        ...

    def batch_size(self, patch_bytes: int) -> int | None:
        """Return the number of patches in a batch.

        Parameters
        ----------
        patch_bytes : int
            Size of a patch in memory.

        Returns
        -------
        int or None
            None if each patch is predicted by itself. Then any number will do, and so will a view of patches
            that overlap or are not contiguous. The number never depends on threads or memory, since
            predictions may depend on it.
        """
        ...

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Predict each patch of a batch.

        Parameters
        ----------
        patches : (n, height, width, channel) array
            Not to be written to.

        Returns
        -------
        (n, ...) array
            A prediction for each patch.

        Raises
        ------
        PredictorError
            If a patch cannot be predicted.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return the description of the predictor for the footer, in JSON's types."""
        ...
