"""Sessions, which run models: one class for each library."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class ModelShape:
    """The input of a model, as it declares it.

    Attributes
    ----------
    axes : tuple of int or None
        Length of each of the four axes, None if any will do.
    dtype : numpy.dtype
        Type that it takes.
    """

    axes: tuple[int | None, ...]
    dtype: np.dtype


class Session(Protocol):
    """A model, loaded, on one device.

    Its results do not depend on threads. A call computes on the thread that makes it, and several threads may
    call at the same time.

    Attributes
    ----------
    shape : ModelShape
    device : str
        'cpu' or 'cuda'.
    software : dict of str to str
        Version of the library that runs it.
    """

    shape: ModelShape
    device: str
    software: dict[str, str]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Return the chosen output of the model.

        Parameters
        ----------
        batch : C-contiguous array of four axes
            Of the model's type, in its layout.

        Returns
        -------
        array
            As the model returns it, but float16 and bfloat16 as float32.

        Raises
        ------
        PredictorError
            If the model fails.
        """
        ...
