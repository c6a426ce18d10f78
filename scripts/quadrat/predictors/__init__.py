"""Predictors: what turns patches into predictions."""

from typing import Any

from quadrat.predictors.predictor import Predictor
from quadrat.predictors.session import Session

__all__ = ["Predictor", "load_predictor"]


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
    # Imported one by one: a job pays for the predictor that it uses.
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
