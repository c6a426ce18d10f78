"""The configuration of a predictor: what its keys must not say together, and what they need."""

import math
import os
from importlib.util import find_spec
from typing import Any

from quadrat.errors import ConfigError

# There where the driver of NVIDIA is.
NVIDIA_DRIVER = "/dev/nvidiactl"


def refuse_contradictions(predictor: dict[str, Any]) -> None:
    """Refuse keys of a predictor that do not go together.

    Parameters
    ----------
    predictor : dict
        The key `predictor` of the configuration, each of whose values is good by itself.

    Raises
    ------
    ConfigError
        One line with the keys, what was expected, and where to change it.
    """
    if predictor["kind"] == "torch" and find_spec("torch") is None:
        raise ConfigError(
            "predictor: kind torch: PyTorch is not installed here: pip install torch, in the build for this "
            "machine (config.yaml: predictor: kind)"
        )
    if "histogram" in predictor.get("of", []):
        _refuse_missing_ends(predictor.get("bins"), predictor.get("range"))
    if predictor.get("split") and "resize" in predictor:
        raise ConfigError(
            "predictor: split and resize: must be one of them (config.yaml: predictor: split, resize)"
        )
    if predictor.get("split") and "reduce" not in predictor:
        raise ConfigError(
            "predictor: reduce: is missing: must be mean, fraction or max, by which the blocks of a patch "
            "become one prediction (config.yaml: predictor: reduce)"
        )


def _refuse_missing_ends(bins: int | None, ends: list[float] | None) -> None:
    if bins is None or ends is None:
        raise ConfigError(
            "predictor: bins and range: must be given with histogram, such as bins: 16 and range: [0, 256] "
            "(config.yaml: predictor: bins, range)"
        )
    if not -math.inf < ends[0] < ends[1] < math.inf:
        raise ConfigError(
            f"predictor: range {ends}: must be the lower end of the first bin and the upper end of the last, "
            "such as [0, 256] (config.yaml: predictor: range)"
        )


def gpus(predictor: dict[str, Any]) -> int:
    """Give how many GPUs a job takes: one where its model runs on it, or may."""
    device = predictor.get("device", "cpu")
    return int(device == "cuda" or (device == "auto" and os.path.exists(NVIDIA_DRIVER)))
