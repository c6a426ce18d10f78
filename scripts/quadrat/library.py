"""The library for notebooks and programs: one image, its patches and their predictions, without Snakemake."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quadrat.config import complete
from quadrat.errors import ConfigError, ImageError
from quadrat.files.hashing import hash_file
from quadrat.grid import Window
from quadrat.jobs.predict import open_patches, write_predictions
from quadrat.jobs.task import ImageTask
from quadrat.plan.region_files import RegionFiles
from quadrat.predictors import Predictor, load_predictor, restoring
from quadrat.predictors.files import files_of
from quadrat.predictors.python import as_patch, predictor_of
from quadrat.settings import ReadSettings

_READ_KEYS = [field.name for field in fields(ReadSettings)]


class Patch(NamedTuple):
    """A patch of an image.

    Attributes
    ----------
    row, col : int
        Its place in the grid, counted from 0.
    window : Window
        Its y, x, height and width, in pixels of the level that was read.
    pixels : (height, width, channel) or (height, width) array
        As `predict_patch` takes them: without the last axis if one channel is read.
    """

    row: int
    col: int
    window: Window
    pixels: np.ndarray


def iter_patches(path: str | os.PathLike, **keys: Any) -> Iterator[Patch]:
    """Yield the patches of an image that the workflow would predict, while the next ones are decoded.

    Parameters
    ----------
    path : path
        The image file.
    **keys
        Keys of config.yaml that choose patches: `patch_size`, `stride`, `edge`, `channels`, `level`, `mpp`,
        `gsd`, `default_mpp`, `nodata`, `plane`, `skip` and `regions`. They have the same meanings, defaults
        and checks. A folder of `regions` holds the file <name of the image file>.geojson.

    Yields
    ------
    Patch
        In row-major order. Each has its own array, so that `list(iter_patches(path))` works if it fits the
        memory.

    Raises
    ------
    ConfigError
        If a key is unknown or its value does not fit. The message names the key as in config.yaml.
    ImageError
        If the image cannot be read, at the first patch or later.

    Examples
    --------
    >>> from quadrat import iter_patches
    >>> for patch in iter_patches("examples/first_run/images/fields.png", stride=768, edge="partial"):
    ...     print(patch.row, patch.col, patch.pixels.shape, patch.window)
    0 0 (512, 512, 3) Window(y=0, x=0, height=512, width=512)
    0 1 (512, 256, 3) Window(y=0, x=768, height=512, width=256)
    1 0 (256, 512, 3) Window(y=768, x=0, height=256, width=512)
    1 1 (256, 256, 3) Window(y=768, x=768, height=256, width=256)
    """
    return _patches(_task(path, keys))


def predict_image(
    path: str | os.PathLike, predictor: str | dict[str, Any] | Callable = "mean", **keys: Any
) -> pa.Table:
    """Predict the patches of an image as the workflow would.

    Parameters
    ----------
    path : path
        The image file.
    predictor : str, dict or callable, optional
        The key `predictor` of config.yaml, such as ``{"kind": "onnx", "path": "model.onnx"}``; or a function.
        A function takes a batch, (n, height, width, channel), if its name is `predict_batch`; otherwise it
        takes a patch as `iter_patches` yields it.
    **keys
        As in `iter_patches`.

    Returns
    -------
    pyarrow.Table
        One row per patch, in row-major order, with the columns and values of the workflow's
        results/predictions/<filename>.parquet. A skipped patch has null as its prediction, and the reason in
        the column `skipped`. The metadata describe image, grid and predictor: JSON under the key `quadrat`.

    Raises
    ------
    ConfigError
        If a key or the predictor is not usable. The message names the key as in config.yaml.
    ImageError
        If the image cannot be read or predicted.
    PredictorError
        If the predictor fails.

    Examples
    --------
    >>> from quadrat import predict_image
    >>> def predict_patch(patch):
    ...     return int(patch.max()) - int(patch.min())
    >>> table = predict_image("examples/first_run/images/fields.png", predict_patch)
    >>> table.select(["row", "col", "prediction"]).to_pylist()[0]
    {'row': 0, 'col': 0, 'prediction': 149}
    """
    if callable(predictor):
        task = _task(path, keys)
        load: Callable[[], Predictor] = partial(predictor_of, predictor)
    else:
        task = _task(path, keys | {"predictor": predictor}, "predictor")
        files_of(task.predictor)
        load = partial(load_predictor, task.predictor, task.threads)
    with TemporaryDirectory() as folder, _naming(path), restoring(task.predictor):
        task = replace(task, output=os.path.join(folder, "result.parquet"))
        with task.writer() as writer:
            writer.finish(write_predictions(task, writer, load))
        return pq.ParquetFile(task.output).read()


def _task(path: str | os.PathLike, given: dict[str, Any], *others: str) -> ImageTask:
    """Return the task of an image, from the keys that choose patches and from others."""
    path = os.fspath(path)
    written = {key: _as_yaml(key, value) for key, value in given.items()}
    values = complete(written, [*_READ_KEYS, "regions", *others])
    predictor, regions = values.pop("predictor", {}), values.pop("regions")
    filename = os.path.basename(path)
    return ImageTask(
        filename=filename,
        path=path,
        version="",
        content_id="",
        reading=ReadSettings(**values),
        predictor=predictor,
        output="",
        regions=regions and _regions(regions, filename),
        threads=os.cpu_count() or 1,
    )


def _as_yaml(key: str, value: Any) -> Any:
    """Return a value as YAML would contain it, with lists for tuples and texts for paths."""

    def plain(item: Any) -> Any:
        if isinstance(item, np.generic | np.ndarray):
            return item.tolist()
        return os.fspath(item)

    try:
        return json.loads(json.dumps(value, default=plain))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}; use a value that config.yaml can contain") from error


def _regions(regions: str | dict[str, Any], filename: str) -> dict[str, Any]:
    files = RegionFiles(regions)
    files.check()
    return files.task(filename, files.hash_each([filename], hash_file)[filename])


def _patches(task: ImageTask) -> Iterator[Patch]:
    with _naming(task.path), open_patches(task) as image:
        for run in image.runs:
            for (row, col, window), pixels in zip(run.predicted, run.patches, strict=True):
                yield Patch(row, col, window, as_patch(pixels).copy())


@contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Add the image's name and the way out to its errors, which no log shows here."""
    try:
        yield
    except ImageError as error:
        reason = "; ".join(filter(None, [f"{os.fspath(path)}: {error}", error.hint]))
        raise type(error)(reason, error.hint) from error
