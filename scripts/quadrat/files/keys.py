"""Keys: filenames written in characters that no shell, scheduler or file system gives a meaning."""

import hashlib
from urllib.parse import quote

# A path component may have 255 bytes on the usual file systems (NAME_MAX). The version and the suffixes of
# outputs and temporary files need the rest.
COMPONENT_BYTES = 180

_SHORTENED = "+-"


def encode(filename: str) -> str:
    """Make the key of a filename.

    Snakemake and its plugins put keys into commands of shells, each with its own quoting. So a key contains
    nothing to quote: ASCII letters, digits and ``._-`` stay, and each other byte becomes ``+XX``. A path
    component that is then longer than 180 bytes is cut, and ends in a hash of the whole component.

    Parameters
    ----------
    filename : str
        Path relative to the images folder, as `os.fsdecode` gives it.

    Returns
    -------
    str
        The key. Different filenames have different keys.

    Examples
    --------
    >>> encode("north/my scene.tif")
    'north/my+20scene.tif'
    """
    return "/".join(map(_encode_component, filename.split("/")))


def _encode_component(component: str) -> str:
    quoted = quote(component.encode("utf-8", "surrogateescape"), safe="").replace("~", "%7E")  # it keeps ~
    # The plus sign marks an escape, and not the percent sign: Slurm replaces such as %20a in the paths of
    # logs (sbatch(1), "filename pattern").
    encoded = quoted.replace("%", "+")
    if len(encoded) > COMPONENT_BYTES:
        # An escape never reads "+-", so that no other component has such a key.
        mark = _SHORTENED + hashlib.blake2b(encoded.encode(), digest_size=16).hexdigest()
        return encoded[: COMPONENT_BYTES - len(mark)] + mark
    return encoded
