"""Keys: filenames made safe as Snakemake wildcards and as parts of paths."""

import hashlib
import re

# A path component may have 255 bytes on the usual file systems (NAME_MAX); the version, the suffixes
# of outputs and those of temporary files need the rest.
COMPONENT_BYTES = 180

# "<" would end the scripts of Snakemake's report, which holds keys as they are.
_UNSAFE = re.compile(r"[{}<%\x00-\x1f\x7f]|[\ud800-\udfff]")
_ESCAPE = re.compile(r"(?:%[0-9A-F]{2})+")


def encode(filename: str) -> str:
    """Make the key of a filename.

    Braces, "<", percent signs, control characters and bytes that are not UTF-8 become ``%XX``. A path
    component that is then longer than 180 bytes is cut and ends in a hash of the whole component.

    Parameters
    ----------
    filename : str
        Path relative to the images folder, as `os.fsdecode` gives it.

    Returns
    -------
    str
        The key; equal filenames have equal keys, different ones different keys.
    """
    return "/".join(_shorten(_UNSAFE.sub(_escape, part)) for part in filename.split("/"))


def decode(key: str) -> str | None:
    """Give the filename of a key, or None where the key was shortened and only the manifest knows it."""
    if any(_is_shortened(part) for part in key.split("/")):
        return None
    return _ESCAPE.sub(lambda match: _unescape(match[0]), key)


def _escape(match: re.Match) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _unescape(escapes: str) -> str:
    return bytes.fromhex(escapes.replace("%", "")).decode("utf-8", "surrogateescape")


def _shorten(component: str) -> str:
    encoded = component.encode()
    if len(encoded) <= COMPONENT_BYTES:
        return component
    mark = "%~" + hashlib.blake2b(encoded, digest_size=16).hexdigest()
    return encoded[: COMPONENT_BYTES - len(mark)].decode("utf-8", "ignore") + mark


def _is_shortened(component: str) -> bool:
    # "%~" is in no key but a shortened one: a percent sign of the filename became %25.
    return "%~" in component
