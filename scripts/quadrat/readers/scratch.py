"""Scratch: memory for decoded pixels that each thread has once, so that none is asked for and given back."""

import math
from threading import local

import numpy as np


class Scratch:
    """Arrays of one type, in memory that a thread uses again.

    Parameters
    ----------
    dtype : numpy.dtype
    """

    def __init__(self, dtype: np.dtype):
        self._dtype, self._memory = dtype, local()

    def array(self, *shape: int) -> np.ndarray:
        """Return an array of a shape, of any content; it is valid until this thread asks for another."""
        size = math.prod(shape)
        if getattr(self._memory, "samples", np.empty(0)).size < size:
            self._memory.samples = np.empty(size, self._dtype)
        return self._memory.samples[:size].reshape(shape)
