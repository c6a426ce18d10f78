"""Predictions of every patch of images too large for memory.

In a notebook::

    from quadrat import open_predictions

    predictions = open_predictions("results")
    predictions["north/scene_01.tif"]
"""

from quadrat._version import RESULTS_VERSION, __version__

__all__ = ["RESULTS_VERSION", "__version__", "open_predictions"]


def __getattr__(name: str):
    # Imported on first use: a job that predicts an image must not pay for it.
    if name == "open_predictions":
        from quadrat.results.predictions import open_predictions

        return open_predictions
    raise AttributeError(f"module 'quadrat' has no attribute {name!r}")
