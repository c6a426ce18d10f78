"""The state of the merged files: 12 hex digits for the inputs of all results of a run."""

from collections.abc import Iterable
from typing import NamedTuple

from quadrat.files.hashing import digest

# The layout of the merged files; after a change of this number they are written again.
DICTIONARY_FORMAT = 4


class StateRow(NamedTuple):
    """The content of the merged files for one image.

    Attributes
    ----------
    filename : str
    version : str
        Empty if the image had no job.
    problem : str
        The reason why it had no job.
    columns : dict of str to str
        The user's own columns.
    """

    filename: str
    version: str
    problem: str
    columns: dict[str, str]


def state(rows: Iterable[StateRow], json_max_values: int) -> str:
    """Return 12 hex digits that name the content of the merged files of these images."""
    return digest([DICTIONARY_FORMAT, sorted(rows, key=lambda row: row.filename), json_max_values])
