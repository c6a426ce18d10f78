"""Every error that quadrat raises on purpose, in one tree.

::

    QuadratError
    ├── ConfigError        stops the run before any image is predicted
    ├── ResultsError       a file of the results cannot be used; stops planning or the merge
    │   └── WriteError          a file of the results cannot be written; never the failure of an image
    ├── ImageError         an image cannot be predicted; recorded, and tried again when its file changes
    │   ├── MemoryBudgetError   its job has too little memory; the next run tries it again
    │   └── MissingReaderError  the library that reads it is missing; the next run tries it again
    ├── PredictorError     the user's model failed; Snakemake tries it again, then the next run
    └── FileChangedError   a file was written to during the run; tried again in the same way
"""

import os
import re


class QuadratError(Exception):
    """Base of all errors that quadrat raises on purpose.

    Parameters
    ----------
    reason : str
        One line that a user can act on. Passwords of URLs in it are masked, since it is shown and logged.
    """

    def __init__(self, reason: str):
        super().__init__(masked(reason))


class ConfigError(QuadratError):
    """A configuration value, or a file that it names, is not usable."""

    kind = "config"


class ResultsError(QuadratError):
    """The results folder contains a file that quadrat cannot trust, or another run uses it."""


class WriteError(ResultsError):
    """A file of the results cannot be written.

    Parameters
    ----------
    path : path
    error : OSError
        The reason that the system reports.
    """

    kind = "write"

    def __init__(self, path: str | os.PathLike, error: OSError):
        # Libraries that write replace the system's message by their own.
        why = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(f"{path}: cannot be written: {why}")


class ImageError(QuadratError):
    """An image cannot be predicted because of its file's content.

    Parameters
    ----------
    reason : str
        The fault of the file, with the value found and the value expected.
    hint : str, optional
        A way out for the user.
    """

    kind = "data"

    def __init__(self, reason: str, hint: str = ""):
        super().__init__(reason)
        self.hint = hint


class MemoryBudgetError(ImageError):
    """An image cannot be predicted within the memory of its job; more memory may help."""

    kind = "memory"


class MissingReaderError(ImageError):
    """An image cannot be predicted because the library that reads it is not installed."""

    kind = "reader"


class PredictorError(QuadratError):
    """The predictor cannot be loaded, raised on a patch, or returned predictions that cannot be stored.

    Parameters
    ----------
    reason : str
    patch : int, optional
        Index of the patch in the batch that was predicted, if it is known.
    """

    kind = "predictor"

    def __init__(self, reason: str, patch: int | None = None):
        super().__init__(reason)
        self.patch = patch


class FileChangedError(QuadratError):
    """An image, or a file that the predictor is made from, was written to during the run."""

    kind = "changed"


# A user with any password, since keys of storage contain slashes; or a user alone.
_USER = re.compile(r"(?<=://)(?:[^\s/:@]*:(?:\S*|[^/\n\"']*)@|[^\s/@]*@)")

# The query of a signed URL is its key.
_QUERY = re.compile(r"(://[^\s?\"']*)\?[^\s\"']+")

# As servers quote a request that they refuse (RFC 6750).
_TOKEN = re.compile(
    r"(\bbearer\s+|\b(?:access_token|token|api_?key|password|secret|signature|sig)=)[^\s&\"']+", re.IGNORECASE
)


def masked(text: str) -> str:
    """Return a text with *** in place of tokens, and of user, password and query of URLs."""
    if "://" in text:
        text = _QUERY.sub(r"\1?***", _USER.sub("***@", text))
    return _TOKEN.sub(r"\1***", text)
