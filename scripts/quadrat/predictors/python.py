"""The predictor `python`: the user's own function or class, from a file or passed as an object."""

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from traceback import extract_tb
from types import ModuleType
from typing import Any

import numpy as np

from quadrat.errors import PredictorError
from quadrat.images.image import ImageInfo
from quadrat.predictors.predictor import default_batch_size, without_objects

METHODS = ("predict_patch", "predict_batch")


def as_patch(pixels: np.ndarray) -> np.ndarray:
    """Return a patch as `predict_patch` takes it: (height, width) if it has one channel."""
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


class FunctionPredictor:
    """Predicts by a function or method.

    Parameters
    ----------
    call : callable
        Takes a patch, (height, width) if it has one channel, otherwise (height, width, channel); or a batch,
        (n, height, width, channel).
    by_patch : bool
        Whether it takes a patch.
    name : str
    options : dict, optional
        Keyword arguments that it was made with.
    batch_size : int, optional
        Patches in a batch. Default: as many as 16 MiB hold, at most 32.
    """

    def __init__(
        self,
        call: Callable,
        by_patch: bool,
        name: str,
        options: dict[str, Any] | None = None,
        batch_size: int | None = None,
    ):
        self._call, self._by_patch = call, by_patch
        self._description = {"kind": "python", "name": name, "options": options or {}}
        self._configured_batch_size = batch_size

    def check(self, info: ImageInfo) -> None:
        """Accept every image; the user's code may refuse it."""

    def batch_size(self, patch_bytes: int) -> int:
        """Return the number of patches in a batch; it depends on their size and the configuration alone."""
        if self._configured_batch_size is not None:
            return self._configured_batch_size
        return default_batch_size(patch_bytes)

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Call the user's code.

        Parameters
        ----------
        patches : (n, height, width, channel) array

        Returns
        -------
        (n, ...) array
            Of the dtype and shape that the code returns.

        Raises
        ------
        PredictorError
            If the code raises, returns another number of predictions, or predictions of several shapes.
        """
        return self._predict_each(patches) if self._by_patch else self._predict_batch(patches)

    def describe(self) -> dict[str, Any]:
        """Return the name and options of the user's code."""
        return self._description

    def _predict_each(self, patches: np.ndarray) -> np.ndarray:
        predictions = []
        for index, patch in enumerate(patches):
            try:
                predictions.append(self._call(as_patch(patch)))
            except (Exception, SystemExit) as error:
                raise PredictorError(_type_and_text(error), patch=index) from error
        return _as_array(predictions)

    def _predict_batch(self, patches: np.ndarray) -> np.ndarray:
        try:
            returned = self._call(patches)
        except (Exception, SystemExit) as error:
            raise PredictorError(_type_and_text(error)) from error
        predictions = _as_array(returned)
        if predictions.ndim == 0 or len(predictions) != len(patches):
            what = f"an array of shape {predictions.shape}" if predictions.ndim else _type_of(returned)
            must = "" if predictions.ndim else "an array of shape "
            raise PredictorError(
                f"{self._description['name']} returned {what} for {len(patches)} patches; "
                f"it must be {must}({len(patches)}, ...)"
            )
        return predictions


class PythonPredictor(FunctionPredictor):
    """Predicts by the function or class of a Python file.

    Parameters
    ----------
    path : str
        The Python file. Modules beside it can be imported from it.
    name : str
        `predict_patch` or `predict_batch`, or a class that has one of them as a method and is made once.
    options : dict, optional
        Keyword arguments of the class, or of each call of the function.
    depends : list of str, optional
        Files that the predictions depend on besides `path`; they are part of the version.
    batch_size : int, optional
        Patches in a batch. Default: as many as 16 MiB hold, at most 32.

    Raises
    ------
    PredictorError
        If the file cannot be imported, or has no such function or class.
    """

    def __init__(
        self,
        path: str,
        name: str,
        options: dict[str, Any] | None = None,
        depends: list[str] | None = None,
        batch_size: int | None = None,
    ):
        module = _import_file(path)
        if not hasattr(module, name):
            raise PredictorError(
                f"{path} has no {name}; define it or name another (config.yaml: predictor: name)"
            )
        call, by_patch = _callable(getattr(module, name), name, path, options or {})
        super().__init__(call, by_patch, name, options, batch_size)


def predictor_of(function: Callable) -> FunctionPredictor:
    """Return the predictor that calls a function as it is.

    Parameters
    ----------
    function : callable
        Takes a batch if its name is `predict_batch`, otherwise a patch. A class is made once, and has one of
        `predict_patch` and `predict_batch` as a method.
    """
    # A partial function has no name; the function that it calls has one.
    named = getattr(function, "func", function)
    name = getattr(named, "__name__", type(named).__name__)
    if isinstance(function, type):
        return FunctionPredictor(*_callable(function, name, "predictor", {}), name)
    return FunctionPredictor(function, name != "predict_batch", name)


def _import_file(path: str) -> ModuleType:
    # The file may import modules beside it. Their folder comes last, so that they hide no library.
    sys.path.append(os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("quadrat_predictor", path)
    if spec is None or spec.loader is None:
        raise PredictorError(f"{path} is not a Python file; name one in .py (config.yaml: predictor: path)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise PredictorError(f"{path}: cannot be imported: {_type_and_text(error)}") from error
    return module


def _callable(found: Any, name: str, path: str, options: dict[str, Any]) -> tuple[Callable, bool]:
    """Return the callable that predicts, and whether it takes one patch rather than a batch."""
    if isinstance(found, type):
        methods = [method for method in METHODS if hasattr(found, method)]
        if len(methods) != 1:
            raise PredictorError(
                f"{path}: class {name} has {len(methods)} of the methods {' and '.join(METHODS)}; give it one"
            )
        try:
            predictor = found(**options)
        except (Exception, SystemExit) as error:
            raise PredictorError(f"{path}: {name}(**options) failed: {_type_and_text(error)}") from error
        return getattr(predictor, methods[0]), methods[0] == "predict_patch"
    if not callable(found):
        raise PredictorError(
            f"{path}: {name} is {_type_of(found)}; name a function or a class (config.yaml: predictor: name)"
        )
    if name not in METHODS:
        raise PredictorError(
            f"{path}: the function is called {name}, which does not show whether it takes a patch or a "
            f"batch; call it {' or '.join(METHODS)} (config.yaml: predictor: name)"
        )
    return functools.partial(found, **options), name == "predict_patch"


def _as_array(predictions: Any) -> np.ndarray:
    try:
        return without_objects(np.asarray(predictions))
    except ValueError as error:
        raise PredictorError(f"predictions of a batch have several shapes{_shapes(predictions)}") from error
    except Exception as error:
        raise PredictorError(f"predictions are no array of numbers: {_type_and_text(error)}") from error


def _shapes(predictions: Any) -> str:
    """Show two shapes of predictions, where predictions themselves have one."""
    try:
        shapes = [*dict.fromkeys(map(np.shape, predictions))]
    except ValueError:
        return ", since one of them is a list of lists of several lengths; return one shape"
    return f", such as {shapes[0]} and {shapes[1]}; return one shape"


def _type_of(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _type_and_text(error: BaseException) -> str:
    """Return an error as one line, with the place in the user's file where it was raised."""
    raised = ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))
    frames = [one for one in extract_tb(error.__traceback__)[1:] if not one.filename.startswith("<frozen ")]
    own = [one for one in frames if one.filename == frames[0].filename]
    return f"{raised} ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else raised
