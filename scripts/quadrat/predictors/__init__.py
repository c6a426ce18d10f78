"""Predictors: they turn patches into predictions."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quadrat.predictors.predictor import Predictor
from quadrat.predictors.session import Session

__all__ = ["Predictor", "load_predictor", "restoring"]


def load_predictor(configuration: dict[str, Any], threads: int = 1) -> Predictor:
    """Make the predictor of a job, once.

    Parameters
    ----------
    configuration : dict
        The key `predictor` of the configuration, with `kind`.
    threads : int, optional
        Threads that it may compute on; no prediction depends on them.

    Returns
    -------
    Predictor

    Raises
    ------
    PredictorError
        If it cannot be loaded.
    """
    # Imported one by one, so that a job imports only the predictor that it uses.
    options = {key: value for key, value in configuration.items() if key != "kind"}
    if configuration["kind"] in ("mean", "statistics"):
        from quadrat.predictors.statistics import StatisticsPredictor

        return StatisticsPredictor(**options)
    if configuration["kind"] in ("onnx", "torch"):
        from quadrat.predictors.model import ModelPredictor

        return ModelPredictor(_load_session(configuration), configuration, threads)
    from quadrat.predictors.python import PythonPredictor

    return PythonPredictor(**options)


def _load_session(configuration: dict[str, Any]) -> Session:
    keys = ("path", "output", "device", "trust")
    chosen = {key: configuration[key] for key in keys if key in configuration}
    if configuration["kind"] == "onnx":
        from quadrat.predictors.onnx import OnnxSession

        return OnnxSession(**chosen)
    from quadrat.predictors.torch import TorchSession

    return TorchSession(**chosen)


@contextmanager
def restoring(configuration: dict[str, Any]) -> Iterator[None]:
    """Undo a predictor's changes to its process when the block ends, since a notebook goes on afterwards.

    Parameters
    ----------
    configuration : dict
        Of the predictor; empty for a function of the process itself.
    """
    kind = configuration.get("kind")
    if kind == "torch":
        import torch

        threads = torch.get_num_threads()
    search_path, modules = [*sys.path], {*sys.modules}
    try:
        yield
    finally:
        if kind == "torch":
            torch.set_num_threads(threads)
        if kind == "python":
            sys.path[:] = search_path
            # Another predictor, or a new version of this one, may have its own module of the same name.
            folder = os.path.join(os.path.dirname(os.path.abspath(configuration["path"])), "")
            for name in {*sys.modules} - modules:
                if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                    del sys.modules[name]
