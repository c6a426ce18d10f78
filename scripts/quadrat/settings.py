"""The checked configuration as frozen values: settings of the run, and of reading each image."""

import os
from dataclasses import asdict, dataclass, fields
from itertools import count
from typing import Any

from quadrat.grid import PatchGrid

# The key `nodata` for images whose nodata value, alpha and mask do not count.
NO_NODATA = "none"

# Predictors that come with quadrat: they fit every image, and take no memory of their own.
OWN_KINDS = ("mean", "statistics")


@dataclass(frozen=True)
class ReadSettings:
    """The part of the configuration that cuts patches from an image; all of it changes results.

    Attributes
    ----------
    patch_size, stride : int
        In pixels of the level that is read.
    edge : {'drop', 'pad', 'partial', 'shift'}
        The rule for patches that do not fit.
    channels : list of int, list of str, or None
        Channels to read, counted from 1, or bands of scenes; None for all.
    level : int
        Pyramid level, 0 is full resolution.
    nodata : int, float, str, list or None
        The value of samples without data, in place of what files declare: of all channels, or a list with one
        for each channel that is read; 'nan', or 'none' for images without nodata.
    plane : dict of str to int, or None
        Which plane of a stack, counted from 1; None for the first.
    mpp, gsd : float or None
        Size of a pixel to read, in micrometres or in units of the image's CRS, in place of a level.
    default_mpp : float or None
        Size of the pixels of images whose metadata lack it, in micrometres.
    skip : dict, or None
        Rules by which patches are skipped because of their pixels, or None.
    """

    patch_size: int = 512
    stride: int = 512
    edge: str = "drop"
    channels: list[Any] | None = None
    level: int = 0
    plane: dict[str, int] | None = None
    mpp: float | None = None
    gsd: float | None = None
    default_mpp: float | None = None
    skip: dict[str, Any] | None = None
    nodata: int | float | str | list[int | float | str] | None = None

    @property
    def nodata_by_channel(self) -> int | float | str | dict[int, int | float | str] | None:
        """`nodata`, with the channels of the file that its values belong to, counted from 1."""
        if not isinstance(self.nodata, list):
            return self.nodata
        return dict(zip(self.channels or count(1), self.nodata, strict=False))

    def as_dict(self) -> dict[str, Any]:
        """Return it as a mapping of configuration key to value."""
        return asdict(self)

    def grid(self, height: int, width: int) -> PatchGrid:
        """Lay the grid over an image of this size in pixels."""
        return PatchGrid(height, width, self.patch_size, self.stride, self.edge)


@dataclass(frozen=True, kw_only=True)
class Settings(ReadSettings):
    """All settings of a run; `config.schema.yaml` describes each key and its default."""

    images: str | list[str]
    scenes: str | dict[str, Any] | None
    include: list[str]
    exclude: list[str]
    extensions: list[str]
    follow_links: bool
    results: str
    regions: str | dict[str, Any] | None
    predictor: dict[str, Any]
    on_failure: str
    shard_pixels: int | None
    retries: int
    allow_removed: bool
    json_max_values: int
    maps: bool | str | dict[str, list[int]]
    verify: str

    @property
    def reading(self) -> ReadSettings:
        """The settings by which each image is read; a scene consists of the bands that `channels` names."""
        values = {field.name: getattr(self, field.name) for field in fields(ReadSettings)}
        return ReadSettings(**values | ({"channels": None} if self.scenes else {}))

    @property
    def needs_trial(self) -> bool:
        """Whether images share what may be wrong for all of them: a model, code, or a file of regions."""
        return self.predictor["kind"] not in OWN_KINDS or self.regions is not None


# Exists if the driver of NVIDIA is loaded.
NVIDIA_DRIVER = "/dev/nvidiactl"


def gpus(predictor: dict[str, Any]) -> int:
    """Return the number of GPUs of a job: one if its model runs, or may run, on a GPU."""
    device = predictor.get("device", "cpu")
    return int(device == "cuda" or (device == "auto" and os.path.exists(NVIDIA_DRIVER)))
