"""The prediction of one image, or of a shard: open it, stream its patches, predict them, store the result."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from quadrat._version import __version__
from quadrat.errors import FileChangedError, ImageError, MemoryBudgetError, PredictorError
from quadrat.files.hashing import hash_file, is_hash, join_hashes, stat_token
from quadrat.files.log import FAILURE
from quadrat.files.sources import image_files
from quadrat.files.text import show
from quadrat.grid import PatchGrid
from quadrat.images.budget import REST_MB
from quadrat.images.image import ImageInfo
from quadrat.images.open import open_image
from quadrat.images.reading import reader_with_validity
from quadrat.jobs.rows import to_level_0
from quadrat.jobs.task import ImageTask
from quadrat.jobs.thumbnails import JobThumbnail
from quadrat.patches.skips import REASONS, PatchRules, known_skips, with_known_skips
from quadrat.patches.stream import PatchBatch, require_listable, stream_batches, stream_patches
from quadrat.predictors import Predictor, load_predictor
from quadrat.results.writer import PredictionWriter, write_failure

# Enough for a reader of common layouts, however little memory the job was given.
LEAST_READER_MB = 100


def predict_image(task: ImageTask) -> None:
    """Predict every patch of an image, or of a shard of it, and write its Parquet.

    An image that cannot be predicted because of its file's content gets an empty output with the failure in
    its footer.

    Parameters
    ----------
    task : ImageTask

    Raises
    ------
    PredictorError
        If the predictor fails; nothing is written.
    MemoryBudgetError
        If the image cannot be predicted in the memory of the job; nothing is written.
    FileChangedError
        If a file of the image or of the predictor is written to meanwhile; nothing is written.
    OSError
        If the result cannot be written.
    """
    show(f"quadrat {__version__} from {os.path.dirname(os.path.dirname(__file__))}")
    own_files = {path: stat_token(status) for path, status in image_files(task.path).items()}
    _refuse_changed(task.predictor_files | task.image_files)
    files = task.predictor_files | task.image_files | own_files
    load = partial(load_predictor, task.predictor, task.threads)
    with ThreadPoolExecutor(1) as pool:
        # Hashed while it is decoded: bytes that one reads are in the page cache for the other.
        hashing = pool.submit(_hash, task, list(own_files))
        try:
            with task.writer() as writer:
                made_from = write_predictions(task, writer, load)
                _refuse_other_content(task, hashing.result())
                writer.finish(task.identity() | made_from | {"content_hash": hashing.result()})
                _refuse_changed(files)
        except MemoryBudgetError as error:
            # The next attempt has more memory.
            raise MemoryBudgetError(str(error), error.hint.replace("predict_image", task.rule)) from error
        except ImageError as error:
            _refuse_changed(files)
            show(f"{FAILURE}{error}")
            content_hash = None if hashing.exception() else hashing.result()
            _refuse_other_content(task, content_hash)
            failure = {"kind": error.kind, "message": str(error), "hint": error.hint}
            write_failure(task.writer(), task.identity() | {"content_hash": content_hash}, failure)


def _hash(task: ImageTask, paths: list[str]) -> str | None:
    """Hash the files of an image; if it has several shards, only the first one does this."""
    if task.rows and task.rows[0] > 0:
        return None
    try:
        return join_hashes([hash_file(path) for path in paths])
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error


def _refuse_changed(files: Mapping[str, Sequence[int]]) -> None:
    for path, before in files.items():
        try:
            now = stat_token(os.stat(path))
        except FileNotFoundError as error:
            raise FileChangedError(f"{path} is gone since the run began; run again") from error
        if now[:2] != tuple(before[:2]):
            raise FileChangedError(f"{path} was written to during the run; run again")
        # A copy of the same size may be given the time of the file that it replaces, but not its ctime.
        if len(before) > 2 and now[2] != before[2]:
            raise FileChangedError(f"{path} was replaced during the run; run again")


def _refuse_other_content(task: ImageTask, content_hash: str | None) -> None:
    """Refuse an image that was replaced between planning and job, since its version names other bytes."""
    if content_hash and is_hash(task.content_id) and task.content_id != content_hash:
        raise FileChangedError(f"{task.filename} was replaced during the run; run again")


class OpenPatches(NamedTuple):
    """The patches of an open image.

    Attributes
    ----------
    info : ImageInfo
        Of the image, as the grid was laid over it.
    grid : PatchGrid
    runs : iterator of PatchBatch
        All patches of the grid rows of the task, in row-major order, each run predicted or skipped as a
        whole. Its patches are views, valid until the next one.
    thumbnail : JobThumbnail
        Made while the runs are read.
    """

    info: ImageInfo
    grid: PatchGrid
    runs: Iterator[PatchBatch]
    thumbnail: JobThumbnail


@contextmanager
def open_patches(task: ImageTask) -> Iterator[OpenPatches]:
    """Open the image of a task, lay its grid over it, and stream its patches."""
    reading = task.reading
    memory_mb = None if task.memory_mb is None else max(LEAST_READER_MB, task.memory_mb - REST_MB)
    masks = task.predictor.get("ignore_nodata", False)
    with open_image(task.path, reading.plane, memory_mb, reading.nodata_by_channel) as image:
        thumbnail = JobThumbnail(task, image)
        opened = reader_with_validity(image, reading, thumbnail.watch, masks)
        info = opened.info
        grid = reading.grid(info.height, info.width)
        require_listable(grid, memory_mb)
        known = known_skips(image, reading, grid, info, task.regions)
        rows = task.grid_rows or range(grid.rows)
        wanted = known == None  # noqa: E711
        wanted[: rows.start] = wanted[rows.stop :] = False
        thumbnail.expect(grid, info, wanted)
        # An error's traceback would keep the stream, and its threads, until Python collects garbage.
        with closing(stream_patches(opened.reader, grid, task.threads, wanted)) as read:
            rules = PatchRules(reading.skip or {}, info, opened.validity, masks)
            runs = rules.applied(read) if reading.skip or masks else read
            yield OpenPatches(info, grid, with_known_skips(runs, grid, known, rows), thumbnail)


def batches_for(predictor: Predictor, image: OpenPatches) -> Iterator[PatchBatch]:
    """Yield all patches of an image in the batches of a predictor, skipped ones among the predicted."""
    info, grid, runs, _ = image
    size = predictor.batch_size(grid.patch_size**2 * info.channels * info.dtype.itemsize)
    return runs if size is None else stream_batches(runs, size, grid.cols)


def write_predictions(
    task: ImageTask, writer: PredictionWriter, load: Callable[[], Predictor]
) -> dict[str, Any]:
    """Write the prediction of each patch.

    Parameters
    ----------
    task : ImageTask
        Its predictor is not looked at.
    writer : PredictionWriter
    load : callable
        Returns the predictor.

    Returns
    -------
    dict
        The part of the footer that describes what was read and predicted.
    """
    with open_patches(task) as image:
        info, grid = image.info, image.grid
        predictor, at_level_0 = load(), to_level_0(grid, info)
        predictor.check(info)
        written, counts = Counter[str | None](), {"nan": 0, "infinite": 0}
        for batch in batches_for(predictor, image):
            positions = at_level_0(batch.positions)
            written.update(batch.reasons)
            if not len(batch.patches):
                writer.skip(positions, batch.reasons)
                continue
            predictions = _predict(predictor, batch)
            writer.append(positions, predictions, batch.reasons)
            if predictions.dtype.kind == "f":
                by_patch = predictions.reshape(len(predictions), -1)
                counts["nan"] += int(np.isnan(by_patch).any(axis=1).sum())
                counts["infinite"] += int(np.isinf(by_patch).any(axis=1).sum())
        image.thumbnail.save()
        skipped = {f"skipped_{reason}": written[reason] for reason in REASONS}
        counts |= {"patches": written.total(), "skipped": sum(skipped.values())}
        return {
            "image": _image_footer(info),
            "grid": {
                "patch_size": grid.patch_size,
                "stride": grid.stride,
                "edge": grid.edge,
                "rows": grid.rows,
                "cols": grid.cols,
            },
            "channels": task.reading.channels,
            "plane": task.reading.plane,
            "regions": task.regions and task.regions["hash"],
            "predictor": predictor.describe(),
            "counts": counts | skipped | {"dropped": grid.dropped},
            "software": {"quadrat": __version__, "numpy": np.__version__} | info.decoders,
        }


def _predict(predictor: Predictor, batch: PatchBatch) -> np.ndarray:
    try:
        return predictor.predict(batch.patches)
    except PredictorError as error:
        positions = batch.predicted if error.patch is None else [batch.predicted[error.patch]]
        (row, col, _), (last_row, last_col, _) = positions[0], positions[-1]
        where = f"patch row {row}, col {col}"
        if len(positions) > 1:
            where = f"a patch from row {row}, col {col} to row {last_row}, col {last_col}"
        raise PredictorError(f"{where}: {error}") from error


def _image_footer(info: ImageInfo) -> dict[str, Any]:
    return {
        "format": info.format,
        "height": info.height,
        "width": info.width,
        "channels": info.channels,
        "dtype": str(info.dtype),
        "level": info.level,
        "downsample": info.downsample,
        "full_size": info.full_size,
        "crs": info.crs,
        "transform": info.transform,
        "mpp": info.mpp,
        "bounds": info.bounds,
        "notes": info.notes,
        **({"bands": info.names} if info.names else {}),
    }
