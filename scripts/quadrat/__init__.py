"""Predictions of every patch of images too large for memory, in a notebook or a program.

The workflow makes the same predictions of a folder of images. docs/library.md shows how to use both.

>>> import quadrat
>>> table = quadrat.predict_image("examples/first_run/images/fields.png", "mean")
>>> [round(mean) for mean in table["prediction"].to_pylist()]
[140, 159, 129, 154]
"""

from quadrat._version import RESULTS_VERSION, __version__

# Type checkers treat this as true; a job need not import the module that defines it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from quadrat.errors import QuadratError
    from quadrat.grid import PatchGrid
    from quadrat.images.open import open_image
    from quadrat.library import Patch, iter_patches, predict_image
    from quadrat.results.predictions import open_predictions

__all__ = [
    "RESULTS_VERSION",
    "Patch",
    "PatchGrid",
    "QuadratError",
    "__version__",
    "iter_patches",
    "open_image",
    "open_predictions",
    "predict_image",
]

_MODULES = {
    "Patch": "quadrat.library",
    "PatchGrid": "quadrat.grid",
    "QuadratError": "quadrat.errors",
    "iter_patches": "quadrat.library",
    "open_image": "quadrat.images.open",
    "open_predictions": "quadrat.results.predictions",
    "predict_image": "quadrat.library",
}


def __getattr__(name: str):
    # Imported on first use: a job that predicts an image must not pay for it.
    if name not in _MODULES:
        raise AttributeError(f"module 'quadrat' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
