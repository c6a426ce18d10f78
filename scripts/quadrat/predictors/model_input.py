"""The input contract of a model: the arrays that it takes, and how patches become such arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quadrat.errors import ImageError, PredictorError
from quadrat.images.image import ImageInfo
from quadrat.predictors.resample import Resampling
from quadrat.predictors.session import ModelShape

FILE = "file"


@dataclass(frozen=True)
class InputAxes:
    """The order of a model's four axes, and the lengths that it fixes.

    Attributes
    ----------
    layout : {'NCHW', 'NHWC'}
    batch, channels : int or None
        None if any number will do.
    size : (height, width) or None
        In pixels; None if any will do.
    """

    layout: str
    batch: int | None
    channels: int | None
    size: tuple[int, int] | None

    @classmethod
    def of(cls, axes: tuple[int | None, ...], layout: str | None, input_size: int | None) -> "InputAxes":
        """Find the order of a model's axes, unless it is given.

        Parameters
        ----------
        axes : tuple of int or None
            Length of each; None if any will do.
        layout : {'NCHW', 'NHWC'} or None
        input_size : int or None
            Height and width for a model that takes any.

        Raises
        ------
        PredictorError
            If the model takes another size than the one given.
        """
        layout = layout or _axis_order(axes)
        channel, y, x = (1, 2, 3) if layout == "NCHW" else (3, 1, 2)
        height, width = axes[y] or input_size, axes[x] or input_size
        if input_size and (height, width) != (input_size, input_size):
            raise PredictorError(
                f"input_size {input_size}: the model takes {_by(axes[y], axes[x])} px "
                "(config.yaml: predictor: input_size)"
            )
        return cls(layout, axes[0], axes[channel], (height, width) if height and width else None)


def _axis_order(axes: tuple[int | None, ...]) -> str:
    """Return the order that puts the channels on the fixed or shorter axis of the second and the last."""
    _, second, third, last = axes
    if second is None:
        return "NHWC" if last not in (None, third) else "NCHW"
    return "NHWC" if last is not None and last < second else "NCHW"


class ModelInput:
    """Turns patches into the arrays that a model takes.

    Parameters
    ----------
    shape : ModelShape
        The input of the model, as it declares it.
    configuration : dict
        The key `predictor` of the configuration.

    Attributes
    ----------
    axes : InputAxes

    Raises
    ------
    PredictorError
        If configuration and model contradict each other.
    """

    def __init__(self, shape: ModelShape, configuration: dict[str, Any]):
        self.axes = InputAxes.of(shape.axes, configuration.get("layout"), configuration.get("input_size"))
        self._dtype = shape.dtype
        self._scale, self._offset = configuration.get("scale"), configuration.get("offset")
        normalize = configuration.get("normalize", {})
        self._mean, self._std = normalize.get("mean"), normalize.get("std")
        self._splits, self._resize = configuration.get("split", False), configuration.get("resize")
        # One per channel; made when the channels of an image are known.
        self._factor = self._shift = np.empty(0, np.float32)
        values = [self._scale, self._offset, self._mean, self._std]
        self._is_scaled = any(value is not None for value in values)
        if self._is_scaled and self._dtype.kind != "f":
            raise PredictorError(
                f"the model takes {self._dtype}, but scale, offset and normalize need a model of floats; "
                "leave them out (config.yaml: predictor)"
            )
        if (self._splits or self._resize) and self.axes.size is None:
            key = "split" if self._splits else "resize"
            raise PredictorError(
                f"{key}: the model takes any size; set input_size (config.yaml: predictor: input_size)"
            )

    def check(self, info: ImageInfo) -> None:
        """Check that an image fits the model, and read the scale and offset of its file if they are used.

        Raises
        ------
        ImageError
            If the model does not take its channels or its type.
        """
        if self.axes.channels not in (None, info.channels):
            raise ImageError(
                f"the model takes {_counted(self.axes.channels)}, but {info.channels} of the image are read",
                "choose them with channels in config.yaml",
            )
        if self._dtype.kind != "f" and not np.can_cast(info.dtype, self._dtype):
            raise ImageError(f"the model takes {self._dtype}, but the image is {info.dtype}")
        named = {
            "scale": info.scales if self._scale == FILE else self._scale,
            "offset": info.offsets if self._offset == FILE else self._offset,
            "mean": self._mean,
            "std": self._std,
        }
        if (self._scale == FILE and info.scales is None) or (self._offset == FILE and info.offsets is None):
            raise ImageError(
                "its file contains no scale and offset",
                "give them as numbers in config.yaml: predictor: scale, offset",
            )
        for key, value in named.items():
            if isinstance(value, list) and len(value) != info.channels:
                raise ImageError(
                    f"{key} has {len(value)} values, but {_counted(info.channels)} of the image are read",
                    "give a value for each of them in config.yaml: predictor",
                )
        self._merge(info.channels, **named)

    def _merge(self, channels: int, scale: Any, offset: Any, mean: Any, std: Any) -> None:
        """Make one factor and one shift per channel of (pixel * scale + offset - mean) / std."""
        factor = np.float64(1 if scale is None else scale) / (1 if std is None else std)
        shift = (np.float64(0 if offset is None else offset) - (0 if mean is None else mean)) / (
            1 if std is None else std
        )
        self._factor = np.broadcast_to(factor, channels).astype(np.float32)
        self._shift = np.broadcast_to(shift, channels).astype(np.float32)

    def tiles(self, patch_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the rows and columns of tiles into which a patch is cut for the model.

        Parameters
        ----------
        patch_shape : (height, width, channel)

        Raises
        ------
        PredictorError
            If the model takes another size, or the patch does not divide into it.
        """
        height, width = patch_shape[:2]
        size = self.axes.size or (height, width)
        if self._resize or size == (height, width):
            return 1, 1
        if not self._splits:
            raise PredictorError(
                f"the model takes {_by(*size)} px, but a patch is {_by(height, width)} px; split: true cuts "
                "it, resize: area or bilinear resamples it (config.yaml: predictor)"
            )
        if height % size[0] or width % size[1]:
            raise PredictorError(
                f"a patch of {_by(height, width)} px cannot be split into tiles of {_by(*size)} px; "
                "change one of them (config.yaml: patch_size, edge, or predictor: split)"
            )
        return height // size[0], width // size[1]

    def shape(self, patch_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the model's array for a tile of a patch, without the batch axis."""
        height, width = self.axes.size or patch_shape[:2]
        channels = patch_shape[2]
        return (channels, height, width) if self.axes.layout == "NCHW" else (height, width, channels)

    def fill(self, batch: np.ndarray, patches: np.ndarray) -> None:
        """Write patches, as the model takes them, to the start of a batch.

        Parameters
        ----------
        batch : (m, ...) array
            In the layout and of the type of the model; m is at least the number of tiles.
        patches : (n, height, width, channel) array
            They are cut into tiles in row-major order.
        """
        rows, cols = self.tiles(patches.shape[1:])
        n, height, width, channels = patches.shape
        size = self.axes.size or (height, width)
        if self._resize and size != (height, width):
            patches = Resampling.of(self._resize, (height, width), size).apply(patches)
            height, width = size
            if self._dtype.kind != "f":
                np.rint(patches, out=patches)  # the conversion to integers would cut fractions off
        # (n, row of tiles, y, column of tiles, x, channel)
        cut = patches.reshape(n, rows, height // rows, cols, width // cols, channels)
        cut = (
            cut.transpose(0, 1, 3, 5, 2, 4) if self.axes.layout == "NCHW" else cut.transpose(0, 1, 3, 2, 4, 5)
        )
        target = batch[: n * rows * cols].reshape(cut.shape)
        if not self._is_scaled:
            target[...] = cut
            return
        axis = cut.ndim - 3 if self.axes.layout == "NCHW" else -1
        for channel, (factor, shift) in enumerate(zip(self._factor, self._shift, strict=True)):
            # Into one buffer, and there: no array of the patch's size is made on the way.
            of_channel = np.moveaxis(target, axis, 0)[channel]
            np.multiply(np.moveaxis(cut, axis, 0)[channel], factor, out=of_channel, casting="same_kind")
            np.add(of_channel, shift, out=of_channel)


def _by(height: int | None, width: int | None) -> str:
    return " x ".join("any" if length is None else str(length) for length in (height, width))


def _counted(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"
