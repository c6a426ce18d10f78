"""The files of a predictor: the files that its configuration names, and the files of a model's weights."""

import os
import zipfile
from enum import Enum
from typing import Any

from quadrat.errors import ConfigError
from quadrat.predictors.onnx_files import external_data

ZIP, PICKLE = b"PK", b"\x80"
# After 8 bytes with the length of the header, which is JSON.
SAFETENSORS = b"{"
WEIGHTS_ALONE = (
    "weights without their network; load them into the network in Python (predictor: kind: python), or "
    "export both as one file with torch.export.save"
)


class TorchFormat(Enum):
    """The formats of PyTorch's files that contain a model."""

    SCRIPT = "TorchScript"
    PROGRAM = "a program of torch.export"
    CHECKPOINT = "a pickled checkpoint"


def files_of(predictor: dict[str, Any]) -> dict[str, list[str]]:
    """List the files that a predictor is made from.

    Parameters
    ----------
    predictor : dict
        The key `predictor` of the configuration.

    Returns
    -------
    dict of str to list of str
        Paths under the keys `path`, `depends` and, for an ONNX model, `external_data`.

    Raises
    ------
    ConfigError
        If a file is missing, if an ONNX model cannot be read or names files outside its folder, or if a
        PyTorch model that the configuration does not trust is not TorchScript.
    """
    if "path" not in predictor:
        return {}
    named = {"path": [predictor["path"]]}
    if predictor["kind"] == "python":
        named["depends"] = predictor.get("depends", [])
    for key, paths in named.items():
        for path in paths:
            _require_readable(path, f"config.yaml: predictor: {key}")
    if predictor["kind"] == "onnx":
        named["external_data"] = external_data(predictor["path"])
    if predictor["kind"] == "torch" and not predictor.get("trust"):
        _refuse_code(predictor["path"])
    return named


def torch_format(path: str) -> TorchFormat:
    """Return the format of a file of PyTorch, by its first bytes and the names in its archive.

    Parameters
    ----------
    path : str
        A pickle counts as a checkpoint: before PyTorch 1.6, checkpoints were no archives.

    Raises
    ------
    ConfigError
        If it has no such format, such as weights in safetensors.
    """
    where = "(config.yaml: predictor: path)"
    with open(path, "rb") as file:
        start = file.read(len(SAFETENSORS) + 8)
    if start.startswith(ZIP):
        names = _names(path)
        if "constants.pkl" in names:
            return TorchFormat.SCRIPT
        if "archive_format" in names or "serialized_exported_program.json" in names:
            return TorchFormat.PROGRAM
        if not names:
            raise ConfigError(f"{path} is only a part of a model: copy it again {where}")
    if start.startswith(PICKLE) or (start.startswith(ZIP) and "data.pkl" in names):
        return TorchFormat.CHECKPOINT
    if start.endswith(SAFETENSORS):
        raise ConfigError(f"{path} contains {WEIGHTS_ALONE} {where}")
    raise ConfigError(f"{path} is not a model of PyTorch; name one {where}")


def _names(path: str) -> set[str]:
    """Return the names in an archive without their common folder; none if its end is missing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.partition("/")[2] or name for name in archive.namelist()}
    except zipfile.BadZipFile:
        return set()


def _require_readable(path: str, where: str) -> None:
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a folder; name a file ({where})")
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: no such file ({where})")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{path}: cannot be read: permission denied ({where})")


def _refuse_code(path: str) -> None:
    """Refuse files that can run code when loaded: pickles, and programs of torch.export with expressions."""
    form = torch_format(path)
    if form is not TorchFormat.SCRIPT:
        raise ConfigError(
            f"{path} is {form.value}, which can run any code when it is loaded; convert it to TorchScript, "
            "or set trust: true if you know its origin (config.yaml: predictor: trust)"
        )
