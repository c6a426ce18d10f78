"""Plain-name links: the current result of each image under the image's own name."""

import os
import secrets
import shutil
from contextlib import suppress
from itertools import groupby

from quadrat.files.atomic import TEMPORARY, replacing, writing
from quadrat.files.inside import open_folder, walk
from quadrat.files.keys import COMPONENT_BYTES, encode


def link_results(
    targets: dict[str, str], folder: str, results: str, suffix: str = ".parquet"
) -> dict[str, str]:
    """Make a folder contain a link for each image and nothing else.

    Parameters
    ----------
    targets : dict of str to str
        Filename to the path of its current result.
    folder : str
        The folder of the links, such as `predictions`. This function may replace and remove all in it.
    results : str
        The results folder.
    suffix : str
        The text after the filename in the name of a link.

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
        _remove_others(folder, results, wanted)
        with open_folder(folder, results, make=True):
            pass  # it exists without images too
        for parent, paths in groupby(sorted(wanted, key=os.path.dirname), os.path.dirname):
            with open_folder(parent, results, make=True) as opened:
                for link in paths:
                    _link(link, opened, wanted[link], results)
    return links


def _remove_others(folder: str, results: str, wanted: dict[str, str]) -> None:
    for parent, opened, entries in walk(folder, results):
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                with suppress(OSError):  # not empty
                    os.rmdir(entry.name, dir_fd=opened)
            elif f"{parent}/{entry.name}" not in wanted:
                os.unlink(entry.name, dir_fd=opened)


def plain_name(filename: str) -> str:
    """Return the filename, or its key if it is too long for another suffix."""
    longest = max(len(os.fsencode(part)) for part in filename.split("/"))
    return filename if longest <= COMPONENT_BYTES else encode(filename)


def _link(link: str, folder: int, target: str, results: str) -> None:
    """Make a link in an open folder, unless it exists."""
    name, relative = os.path.basename(link), os.path.relpath(target, os.path.dirname(link))
    with suppress(OSError):  # no file exists, or it is no link
        if os.readlink(name, dir_fd=folder) == relative:
            return
    temporary = f".{secrets.token_hex(4)}{TEMPORARY}"
    try:
        os.symlink(relative, temporary, dir_fd=folder)
    except OSError:
        # Some file systems have no links; a copy does the same.
        with replacing(link, results) as copy:
            shutil.copyfile(target, copy)
        return
    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
