"""Versions: what a result was made from, as 12 hex digits; and states: what all of a run are made from."""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from quadrat._version import RESULTS_VERSION
from quadrat.config import Settings
from quadrat.model_files import files_of
from quadrat.results import VERSION_DIGITS

# How the merged files are laid out; another number has them written anew.
LAYOUT = 3


class StateRow(NamedTuple):
    """What the merged files hold of one image.

    Attributes
    ----------
    filename : str
    version : str
        Empty where the image had no job.
    problem : str
        Why it had none.
    columns : dict of str to str
        The user's own columns.
    """

    filename: str
    version: str
    problem: str
    columns: dict[str, str]


def digest(value: Any) -> str:
    """Give 12 hex digits that name a value made of JSON's types."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=VERSION_DIGITS // 2).hexdigest()


def recipe(settings: Settings, hash_path: Callable[[str], str], regions_hash: str = "") -> dict[str, Any]:
    """Give all that predictions are made from but the images themselves.

    Threads, memory, profiles and the places of files are not part of it: they do not change results.

    Parameters
    ----------
    settings : Settings
    hash_path : callable
        Gives the content hash of the file at a path.
    regions_hash : str, optional
        Of the vector file of all images; empty where each has its own.

    Returns
    -------
    dict
        Configuration key to value, with hashes in place of the files that the predictor is made from. Keys
        that are null are left out: one that a later quadrat knows changes no version before it is used.

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
    regions = settings.regions and (regions_hash or "of each image")
    made_from = settings.reading.as_dict() | {"regions": regions}
    return {
        "results_version": RESULTS_VERSION,
        **{key: value for key, value in made_from.items() if value is not None},
        "predictor": predictor,
    }


def predictor_files(settings: Settings) -> list[str]:
    """List the paths of the files that the predictor is made from."""
    return [path for paths in files_of(settings.predictor).values() for path in paths]


def version(content_id: str, recipe_digest: str, *others: str) -> str:
    """Give the version of the result that a recipe makes from a content.

    Parameters
    ----------
    content_id, recipe_digest : str
    *others : str
        Hashes of what the result is made from besides, for this image alone.

    Returns
    -------
    str
        12 hex digits.
    """
    return digest([content_id, recipe_digest, *others])


def state(rows: Iterable[StateRow], json_max_values: int) -> str:
    """Give 12 hex digits that name what the merged files of these images hold."""
    return digest([LAYOUT, sorted(rows, key=lambda row: row.filename), json_max_values])
