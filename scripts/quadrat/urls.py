"""URLs as they may be shown: without what lets a reader in."""

import re

# A user with a password that may hold anything, as keys of storage hold slashes; or a user alone.
_USER = re.compile(r"(?<=://)(?:[^\s/:@]*:\S*@|[^\s/@]*@)")
# The query of a signed URL is its key.
_QUERY = re.compile(r"(://[^\s?\"']*)\?[^\s\"']+")


def masked(text: str) -> str:
    """Give a text in which each URL shows *** in place of its user, password and query."""
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text)) if "://" in text else text
