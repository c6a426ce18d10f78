"""The state of the merged files: what all results of a run are made from, as 12 hex digits."""

from collections.abc import Iterable
from typing import NamedTuple

from quadrat.files.hashing import digest

# How the merged files are laid out; another number has them written anew.
DICTIONARY_FORMAT = 4


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


def state(rows: Iterable[StateRow], json_max_values: int) -> str:
    """Return 12 hex digits that name what the merged files of these images hold."""
    return digest([DICTIONARY_FORMAT, sorted(rows, key=lambda row: row.filename), json_max_values])
