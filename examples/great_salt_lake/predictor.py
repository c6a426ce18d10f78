"""A predictor for Landsat 7 scenes: the share of each patch that is shadow, water, snow, land and cloud.

The network is the one that ukis-csmask 0.1.5 publishes (Wieland, Li and Martinis 2019).
"""

import math
from pathlib import Path

import numpy as np
import onnxruntime

CLASSES = ("shadow", "water", "snow", "land", "cloud")
BLOCK = 256

# Landsat 7 ETM+, bands 1, 2, 3, 4, 5, 7: radiance in W/(m2 sr um) is GAIN * digital number + OFFSET
# (high gain, but low gain in band 4), and the sun's spectral irradiance above the atmosphere in W/(m2 um).
GAIN = (0.7787, 0.7989, 0.6217, 0.9692, 0.1262, 0.0437)
OFFSET = (-6.98, -7.20, -5.62, -6.07, -1.13, -0.39)
SUN_IRRADIANCE = (1969, 1840, 1551, 1044, 225.7, 82.07)

# Reflectances that the network was trained on.
TRAINING_MEAN = (0.19312, 0.18659, 0.18899, 0.30362, 0.23085, 0.16216)
TRAINING_STD = (0.16431, 0.16762, 0.18230, 0.17409, 0.16020, 0.14164)


class LandCover:
    """Predicts the five class fractions of a patch: the mean of the network's softmax over its pixels.

    Parameters
    ----------
    model : str
        The network, an ONNX file with input (n, 256, 256, 6) and output (n, 256, 256, 5).
    sun_elevation : float
        Degrees above the horizon when the scene was taken. The sun's distance is taken as 1 AU.
    threads : int
        Threads of one job's inference. With another number, results may differ in their last bits.

    References
    ----------
    Wieland, Li and Martinis (2019), https://doi.org/10.1016/j.rse.2019.05.022: the network.
    """

    def __init__(self, model: str, sun_elevation: float = 60.0, threads: int = 1):
        if not Path(model).is_file():
            raise FileNotFoundError(f"{model}: no such file; python examples/fetch_inputs.py fetches it")
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = threads
        session_options.inter_op_num_threads = 1
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model, session_options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        # Two linear steps, reflectance and standardisation, as one: scale * digital number + shift.
        reflectance = math.pi / (np.array(SUN_IRRADIANCE) * math.sin(math.radians(sun_elevation)))
        self._scale = (reflectance * GAIN / TRAINING_STD).astype(np.float32)
        self._shift = ((reflectance * OFFSET - TRAINING_MEAN) / TRAINING_STD).astype(np.float32)

    def predict_patch(self, patch: np.ndarray) -> np.ndarray:
        """Give the class fractions of one patch.

        Parameters
        ----------
        patch : (height, width, 6) uint8
            Digital numbers of bands 1, 2, 3, 4, 5, 7; height and width are multiples of 256.

        Returns
        -------
        (5,) float32
            Fractions of `CLASSES`; their sum is 1.

        Raises
        ------
        ValueError
            If the patch has another number of channels, or does not divide into blocks of 256.
        """
        height, width, channels = patch.shape
        if channels != len(GAIN):
            raise ValueError(f"a patch of {channels} channels: must be 6 (config.yaml: channels)")
        if height % BLOCK or width % BLOCK:
            raise ValueError(f"a patch of {height} x {width} px: must be multiples of {BLOCK} px")
        standardised = patch * self._scale + self._shift
        blocks = [
            standardised[np.newaxis, y : y + BLOCK, x : x + BLOCK]
            for y in range(0, height, BLOCK)
            for x in range(0, width, BLOCK)
        ]
        # One block at a time: as fast on a CPU as four at once, in half the memory.
        softmax = [self._session.run(None, {self._input: block})[0] for block in blocks]
        # Summed as float64: in float32 the fractions of a patch would miss 1 by 0.0001.
        return np.mean(softmax, axis=(0, 1, 2, 3), dtype=np.float64).astype(np.float32)
