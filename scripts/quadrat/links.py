"""Plain-name links: the current result of each image under the image's own name."""

import os
import shutil
import tempfile

from quadrat.keys import COMPONENT_BYTES, encode
from quadrat.store import replacing, writing


def link_results(targets: dict[str, str], folder: str, suffix: str = ".parquet") -> dict[str, str]:
    """Make a folder hold a link for each image and nothing else.

    Parameters
    ----------
    targets : dict of str to str
        Filename to the path of its current result.
    folder : str
        The folder of the links, such as `predictions`; all in it is this function's to replace and to remove.
    suffix : str
        What follows the filename in the name of a link.

    Returns
    -------
    dict of str to str
        Filename to the path of its link.

    Raises
    ------
    WriteError
        If the folder cannot be written to.
    """
    links = {filename: f"{folder}/{plain_name(filename)}{suffix}" for filename in targets}
    wanted = {links[filename]: path for filename, path in targets.items()}
    with writing(folder):
        _remove_others(folder, set(wanted))
        os.makedirs(folder, exist_ok=True)
        for link, target in wanted.items():
            _link(link, os.path.relpath(target, os.path.dirname(link)), target)
    return links


def _remove_others(folder: str, wanted: set[str]) -> None:
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            if f"{parent}/{name}" not in wanted:
                os.unlink(f"{parent}/{name}")
        for name in folders:
            if not os.listdir(f"{parent}/{name}"):
                os.rmdir(f"{parent}/{name}")


def plain_name(filename: str) -> str:
    """Give the filename, or its key where it is too long to take another suffix."""
    longest = max(len(os.fsencode(part)) for part in filename.split("/"))
    return filename if longest <= COMPONENT_BYTES else encode(filename)


def _link(link: str, relative: str, target: str) -> None:
    if os.path.islink(link) and os.readlink(link) == relative:
        return
    os.makedirs(os.path.dirname(link), exist_ok=True)
    temporary = tempfile.mktemp(prefix=".", suffix=".tmp", dir=os.path.dirname(link))
    try:
        os.symlink(relative, temporary)
    except OSError:
        # Some file systems have no links; a copy serves as well.
        with replacing(link) as copy:
            shutil.copyfile(target, copy)
        return
    os.replace(temporary, link)
