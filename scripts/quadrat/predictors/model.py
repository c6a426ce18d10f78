"""The predictor of a model: a session between the contracts of its input and its output."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from quadrat.errors import PredictorError
from quadrat.files.text import show
from quadrat.images.image import ImageInfo
from quadrat.predictors.model_input import ModelInput
from quadrat.predictors.model_output import ModelOutput
from quadrat.predictors.predictor import default_batch_size
from quadrat.predictors.session import Session

# Approximate bytes of the input of one call: on a CPU, more gains nothing and costs memory.
CALL_BYTES = {"cpu": 1 << 20, "cuda": 1 << 26}
MOST_BLOCKS = 64

# Each concurrent call takes the memory of the model's layers.
MOST_CALLS = 8

ONE_BY_ONE = "the model declares batches of any size but fails on them, so it is called tile by tile"


class ModelPredictor:
    """Predicts by a model.

    Each thread of the job calls the model with patches of its own. Results then do not depend on the number
    of threads, as they would if threads shared the sums within one call.

    Parameters
    ----------
    session : Session
    configuration : dict
        The key `predictor` of the configuration.
    threads : int
        Threads that may call the model at once.

    Raises
    ------
    PredictorError
        If configuration and model contradict each other.
    """

    def __init__(self, session: Session, configuration: dict[str, Any], threads: int):
        self._session, self._configured = session, configuration
        self._input = ModelInput(session.shape, configuration)
        self._output = ModelOutput(self._input.axes.layout, configuration)
        fixed, wanted = self._input.axes.batch, configuration.get("batch_size")
        if fixed and wanted not in (None, fixed):
            raise PredictorError(
                f"batch_size {wanted}: the model takes {fixed} at once (config.yaml: predictor: batch_size)"
            )
        calls = min(threads, MOST_CALLS) if session.device == "cpu" else 1
        self._pool = ThreadPoolExecutor(calls, thread_name_prefix="quadrat-model")
        self._of_thread = threading.local()
        # Not known before the first batch.
        self._takes_batches: bool | None = None

    def batch_size(self, patch_bytes: int) -> int:
        """Return the number of patches that are shared out among the threads."""
        return default_batch_size(patch_bytes)

    def check(self, info: ImageInfo) -> None:
        """Check that an image fits the model; see `ModelInput.check`."""
        self._input.check(info)

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Predict each patch of a batch; see `Predictor.predict`."""
        rows, cols = self._input.tiles(patches.shape[1:])
        size = self._call_size(patches.shape[1:])
        is_any = self._input.axes.batch is None
        if is_any and size > 1 and self._takes_batches is None and len(patches) * rows * cols > 1:
            self._takes_batches = self._try_batch(patches[: -(-size // (rows * cols))], size)
            size = self._call_size(patches.shape[1:])
        step = max(1, size // (rows * cols))
        starts = range(0, len(patches), step)
        parts = self._pool.map(lambda start: self._predict_from(start, step, patches, size), starts)
        return np.concatenate(list(parts))

    def describe(self) -> dict[str, Any]:
        """Return the configuration except places of files, the device, and properties of the model."""
        description = {key: value for key, value in self._configured.items() if key != "path"}
        description |= {"device": self._session.device, "software": self._session.software}
        return description | ({"note": ONE_BY_ONE} if self._takes_batches is False else {})

    def _call_size(self, patch_shape: tuple[int, ...]) -> int:
        """Return the number of tiles in a call; it depends on model, patch and configuration alone."""
        fixed = self._input.axes.batch
        if fixed is not None:
            return fixed
        if self._takes_batches is False:
            return 1
        block_bytes = math.prod(self._input.shape(patch_shape)) * self._session.shape.dtype.itemsize
        most = min(MOST_BLOCKS, max(1, CALL_BYTES[self._session.device] // block_bytes))
        return self._configured.get("batch_size") or most

    def _try_batch(self, patches: np.ndarray, size: int) -> bool:
        """Return whether the model takes a batch; refuse it if it fails on a single tile too."""
        try:
            self._predict_part(patches, size)
        except PredictorError as error:
            try:
                self._predict_part(patches[:1], 1)
            except PredictorError:
                raise error from None
            show(f"{ONE_BY_ONE} ({error})")
            return False
        return True

    def _predict_from(self, start: int, step: int, patches: np.ndarray, size: int) -> np.ndarray:
        try:
            return self._predict_part(patches[start : start + step], size)
        except PredictorError as error:
            raise PredictorError(str(error), patch=start if step == 1 else None) from error

    def _predict_part(self, patches: np.ndarray, size: int) -> np.ndarray:
        """Predict patches by calls of a number of tiles."""
        rows, cols = self._input.tiles(patches.shape[1:])
        tiles = len(patches) * rows * cols
        is_fixed = self._input.axes.batch is not None
        batch = self._buffer(-(-tiles // size) * size if is_fixed else tiles, patches.shape[1:])
        batch[tiles:] = 0
        self._input.fill(batch, patches)
        outputs = [self._run(batch[start : start + size]) for start in range(0, len(batch), size)]
        return self._output.predictions(np.concatenate(outputs)[:tiles], len(patches))

    def _run(self, batch: np.ndarray) -> np.ndarray:
        output = self._session.run(batch)
        if output.ndim == 0 or len(output) != len(batch):
            raise PredictorError(
                f"the model returned an array of shape {output.shape} for {len(batch)} patches; it must be "
                f"({len(batch)}, ...)"
            )
        return output

    def _buffer(self, tiles: int, patch_shape: tuple[int, ...]) -> np.ndarray:
        """Return the array that this thread fills for each of its calls."""
        shape, dtype = self._input.shape(patch_shape), self._session.shape.dtype
        buffer = getattr(self._of_thread, "buffer", None)
        if buffer is None or len(buffer) < tiles or buffer.shape[1:] != shape:
            buffer = self._of_thread.buffer = np.empty((tiles, *shape), dtype)
        return buffer[:tiles]
