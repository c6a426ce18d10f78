"""The protocol of all predictors."""

from typing import Any, Protocol

import numpy as np

from quadrat.images.image import ImageInfo

# A batch of patches takes about as much; small ones are at most so many.
BATCH_BYTES = 1 << 24
MOST_PATCHES = 32


def default_batch_size(patch_bytes: int) -> int:
    """Return the number of patches in a batch; it follows from their size in bytes alone."""
    return min(MOST_PATCHES, max(1, BATCH_BYTES // patch_bytes))


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
            If it cannot: what the predictor takes, and what the image has.
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
            None if each patch is predicted by itself, so that any number does, and a view of patches
            that overlap or are not contiguous does too. Never made from threads or memory, since
            predictions may differ with it.
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
