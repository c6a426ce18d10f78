"""The output contract of a model: how its output becomes the prediction of a patch."""

from typing import Any

import numpy as np

from quadrat.errors import PredictorError

# A pixel of a map with one channel has the class if its value is above this.
HALF = 0.5


class ModelOutput:
    """Turns the output of a model into predictions.

    Parameters
    ----------
    layout : {'NCHW', 'NHWC'}
        The axis of the classes in an output of four axes.
    configuration : dict
        The key `predictor` of the configuration.
    """

    def __init__(self, layout: str, configuration: dict[str, Any]):
        self._layout = layout
        self._activation = configuration.get("activation", "none")
        self._reduce = configuration.get("reduce")
        self._takes_argmax = configuration.get("argmax", False)
        self._labels = configuration.get("labels")

    def predictions(self, output: np.ndarray, patches: int) -> np.ndarray:
        """Return the prediction of each patch.

        Parameters
        ----------
        output : (patches * tiles, ...) array
            The output of the model for the tiles of each patch: (n,), (n, class), maps (n, height, width), or
            maps of classes in the layout of the model.
        patches : int

        Returns
        -------
        (patches, ...) array

        Raises
        ------
        PredictorError
            If the output does not fit the configuration.
        """
        values = self._activated(self._classes_last(output))
        if self._reduce:
            values = self._reduced(values.reshape(patches, -1, values.shape[-1]))
        self._check_labels(values.shape[-1])
        if self._takes_argmax:
            return self._labelled(values)
        if self._layout == "NCHW" and values.ndim == 4:
            values = np.moveaxis(values, -1, 1)
        return values.reshape(patches, *(length for length in values.shape[1:] if length != 1))

    def _check_labels(self, classes: int) -> None:
        if self._labels is not None and len(self._labels) != classes:
            raise PredictorError(
                f"the model outputs {classes} classes but {len(self._labels)} labels are given; give one "
                "label per class (config.yaml: predictor: labels)"
            )

    def _classes_last(self, output: np.ndarray) -> np.ndarray:
        """Return the output with a last axis of classes, of length 1 if it has one class only."""
        if output.ndim == 4 and self._layout == "NCHW":
            return np.moveaxis(output, 1, -1)
        return output if output.ndim in (2, 4) else output[..., np.newaxis]

    def _activated(self, values: np.ndarray) -> np.ndarray:
        if self._activation == "none":
            return values
        values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
        if self._activation == "sigmoid":
            # Computed on the side that does not overflow.
            small = np.exp(-np.abs(values))
            return np.where(values < 0, small, 1) / (1 + small)
        if values.shape[-1] == 1:
            raise PredictorError(
                "softmax of one class is 1 everywhere; use sigmoid or none "
                "(config.yaml: predictor: activation)"
            )
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def _reduced(self, values: np.ndarray) -> np.ndarray:
        """Reduce (patch, pixels or tiles, class) to (patch, class)."""
        if self._reduce == "max":
            return values.max(axis=1)
        shares = self._chosen_class(values) if self._reduce == "fraction" else values
        # Summed as float64: the sum of a patch's fractions would differ from 1 by 0.0001 in float32.
        means = shares.mean(axis=1, dtype=np.float64).astype(np.float32)
        if self._reduce == "fraction":
            means[np.isnan(values).any(axis=(1, 2))] = np.nan  # a pixel of NaN has no class
        return means

    def _chosen_class(self, values: np.ndarray) -> np.ndarray:
        """Return the class of each pixel, as (patch, pixels, class) bool array."""
        if values.shape[-1] > 1:
            return values.argmax(axis=-1)[..., np.newaxis] == np.arange(values.shape[-1])
        if values.dtype.kind == "f":
            return values > HALF
        if self._labels is None:
            raise PredictorError(
                "the model outputs a map of class numbers; reduce: fraction needs one label per class "
                "(config.yaml: predictor: labels)"
            )
        self._refuse_numbers_without_label(values, len(self._labels))
        return values == np.arange(len(self._labels))

    def _refuse_numbers_without_label(self, numbers: np.ndarray, count: int) -> None:
        without = numbers[(numbers < 0) | (numbers >= count)]
        if without.size:
            raise PredictorError(
                f"the model outputs class number {without[0]}, but the {count} labels name the numbers 0 to "
                f"{count - 1}; give each number a label (config.yaml: predictor: labels)"
            )

    def _labelled(self, values: np.ndarray) -> np.ndarray:
        if values.ndim != 2 or values.shape[1] == 1:
            raise PredictorError(
                f"argmax needs one value per class, but the model outputs {values.shape[1:]} for a patch; "
                "reduce maps first (config.yaml: predictor: argmax, reduce)"
            )
        if np.isnan(values).any():
            raise PredictorError(
                "the model outputs NaN for a patch, so that no class is the largest; if "
                "the pixels are nodata, skip the patch (config.yaml: predictor: argmax, skip)"
            )
        classes = values.argmax(axis=1)
        return classes if self._labels is None else np.array(self._labels, dtype=str)[classes]
