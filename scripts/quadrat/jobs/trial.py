"""The trial: what all images share is tried on the first of them that can be read."""

from collections.abc import Iterable
from itertools import islice

from quadrat.errors import ConfigError, ImageError, MemoryBudgetError, PredictorError
from quadrat.files.text import show
from quadrat.images.open import open_image
from quadrat.jobs.predict import OpenPatches, batches_for, open_patches
from quadrat.jobs.task import ImageTask
from quadrat.predictors import Predictor, load_predictor
from quadrat.results.writer import require_storable

# Images that are looked at until one is predicted: some may be broken, or have no patch that is wanted.
MOST_IMAGES = 50

# A predictor that fails on two images fails because of neither.
MOST_FAILURES = 2


def try_predictor(tasks: Iterable[ImageTask]) -> str:
    """Predict one batch of patches, of the first image that can be predicted, and drop the predictions.

    Parameters
    ----------
    tasks : iterable of ImageTask
        The images of a run. All have the same predictor.

    Returns
    -------
    str
        Filename of the image that was predicted; empty if no image can be read, or has a patch to predict.

    Raises
    ------
    ConfigError
        If the predictor cannot be loaded or fails, or if no image that can be opened has what the
        configuration needs.
    """
    predictor: Predictor | None = None
    failures: list[PredictorError] = []
    misfits: list[tuple[str, ImageError]] = []
    for task in islice(tasks, MOST_IMAGES):
        predictor = predictor or _load(task)
        is_fit = False
        try:
            with open_patches(task) as image:
                predictor.check(image.info)
                is_fit = True
                if _predict_first(predictor, image, task):
                    show(f"tried on {task.filename}")
                    return task.filename
        except PredictorError as error:
            failures.append(error)
            if len(failures) == MOST_FAILURES:
                break
        except (MemoryBudgetError, OSError):
            continue  # its own job may have more memory, or find the disk
        except ImageError as error:
            if not is_fit and _can_be_opened(task):
                misfits.append((task.filename, error))
    if failures:
        raise ConfigError(f"predictor: {failures[0]}") from failures[0]
    if misfits:
        filename, misfit = misfits[0]
        reason = "; ".join(filter(None, [str(misfit), misfit.hint]))
        others = f" and {len(misfits) - 1:,} more" if len(misfits) > 1 else ""
        raise ConfigError(f"no image fits: {reason}; tried on {filename}{others}") from misfit
    return ""


def _load(task: ImageTask) -> Predictor:
    try:
        return load_predictor(task.predictor, task.threads)
    except PredictorError as error:
        raise ConfigError(f"predictor: {error}") from error


def _predict_first(predictor: Predictor, image: OpenPatches, task: ImageTask) -> bool:
    """Predict the first batch of an image; return whether it has one."""
    batch = next((batch for batch in batches_for(predictor, image) if len(batch.patches)), None)
    if batch is None:
        return False
    try:
        require_storable(predictor.predict(batch.patches))
    except PredictorError as error:
        place = task.filename
        if error.patch is not None:
            row, col, _ = batch.predicted[error.patch]
            place += f", patch row {row}, col {col}"
        raise PredictorError(f"{error}; tried on {place}") from error
    return True


def _can_be_opened(task: ImageTask) -> bool:
    try:
        with open_image(task.path, task.reading.plane):
            return True
    except (ImageError, OSError):
        return False
