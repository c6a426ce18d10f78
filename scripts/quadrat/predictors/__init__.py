"""Predictors: what turns patches into predictions."""

from typing import Any

from quadrat.predictors.predictor import Predictor

__all__ = ["Predictor", "load_predictor"]


def load_predictor(configuration: dict[str, Any]) -> Predictor:
    """Make the predictor of a job, once.

    Parameters
    ----------
    configuration : dict
        The key `predictor` of the configuration, with `kind`.

    Returns
    -------
    Predictor

    Raises
    ------
    PredictorError
        If it cannot be loaded.
    """
    # Imported one by one: a job pays for the predictor that it uses.
    if configuration["kind"] == "mean":
        from quadrat.predictors.mean import MeanPredictor

        return MeanPredictor()
    from quadrat.predictors.python import PythonPredictor

    return PythonPredictor(**{key: value for key, value in configuration.items() if key != "kind"})
