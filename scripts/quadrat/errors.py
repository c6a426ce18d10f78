"""Every error that quadrat raises on purpose, in one tree.

::

    QuadratError
    ├── ConfigError        stops the run before its first job
    ├── ResultsError       the results folder does not hold what it should; stops planning or the merge
    │   └── WriteError          a file of it cannot be written; never recorded as the failure of an image
    ├── ImageError         its file cannot be predicted; recorded, and tried again when the file changes
    │   ├── MemoryBudgetError   not in the memory of its job; tried again by the next run
    │   └── MissingReaderError  not by the installed libraries; tried again likewise
    ├── PredictorError     the user's model failed; tried again by Snakemake, then by the next run
    └── FileChangedError   a file was written to during the run; tried again likewise
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


class ResultsError(QuadratError):
    """The results folder holds a file that quadrat cannot trust, or is in use by another run."""


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
        # Libraries that write put their own words in the place of the system's.
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
    """An image cannot be predicted within the memory of its job; it may be when the job is given more."""

    kind = "memory"


class MissingReaderError(ImageError):
    """An image cannot be predicted because the library that reads it is not installed."""

    kind = "reader"


class PredictorError(QuadratError):
    """The predictor could not be loaded, raised on a patch, or returned what cannot be stored.

    Parameters
    ----------
    reason : str
    patch : int, optional
        Index of the patch in the batch that was predicted, where it is known.
    """

    kind = "predictor"

    def __init__(self, reason: str, patch: int | None = None):
        super().__init__(reason)
        self.patch = patch


class FileChangedError(QuadratError):
    """An image, or a file that the predictor is made from, was written to during the run."""

    kind = "changed"


# A user with a password that may hold anything, as keys of storage hold slashes; or a user alone.
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
