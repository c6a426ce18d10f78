"""URLs as they may be shown: without what lets a reader in."""

import re

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
