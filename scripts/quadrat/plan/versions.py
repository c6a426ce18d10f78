"""Versions: the inputs of a result, as 12 hex digits."""

from collections.abc import Callable
from typing import Any

from quadrat._version import RESULTS_VERSION
from quadrat.files.hashing import digest
from quadrat.plan.region_files import split_classes
from quadrat.plan.scenes import SceneNames
from quadrat.predictors.files import files_of
from quadrat.settings import Settings


def recipe(settings: Settings, hash_path: Callable[[str], str], regions_hash: str = "") -> dict[str, Any]:
    """Return all inputs of predictions except the images themselves.

    Threads, memory, profiles and the places of files are not part of it: they do not change results.

    Parameters
    ----------
    settings : Settings
    hash_path : callable
        Returns the content hash of the file at a path.
    regions_hash : str, optional
        Hash of the vector file of all images; empty if each image has its own.

    Returns
    -------
    dict
        Configuration key to value, with hashes in place of the files that the predictor is made from. Keys
        that are null are left out: a new key of a later quadrat changes no version before it is used.

    Raises
    ------
    ConfigError
        If a file that the predictor is made from is missing.
    """
    predictor = dict(settings.predictor)
    for key, paths in files_of(predictor).items():
        hashes = [hash_path(path) for path in paths]
        predictor |= {key: hashes[0] if key == "path" else hashes}
    if predictor["kind"] == "python":
        predictor.setdefault("options", {})
    regions: Any = None
    if settings.regions:
        regions, classes = regions_hash or "of each image", split_classes(settings.regions)[1]
        regions = [regions, sorted(classes)] if classes else regions
    made_from = settings.reading.as_dict() | {"regions": regions}
    if settings.scenes:
        names = SceneNames(settings.scenes, settings.channels)
        made_from |= {"channels": names.bands, "resample": names.resample}
    return {
        "results_version": RESULTS_VERSION,
        **{key: value for key, value in made_from.items() if value is not None},
        "predictor": predictor,
    }


def predictor_files(settings: Settings) -> list[str]:
    """List the paths of the files that the predictor is made from."""
    return [path for paths in files_of(settings.predictor).values() for path in paths]


def version(content_id: str, recipe_digest: str, *others: str) -> str:
    """Return the version of the result that a recipe makes from a content.

    Parameters
    ----------
    content_id, recipe_digest : str
    *others : str
        Hashes of further inputs of this image's result.

    Returns
    -------
    str
        12 hex digits.
    """
    return digest([content_id, recipe_digest, *others])
