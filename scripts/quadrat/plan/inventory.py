"""The inventory: the images of a run."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from quadrat.errors import ConfigError
from quadrat.files.scenes import SCENE_START
from quadrat.files.sources import (
    VRT_ENDING,
    dicom_files,
    file_status,
    find_sources,
    is_dicom,
    is_hamamatsu,
    is_one_of_dicom,
    is_vrt,
    linked_parts,
)
from quadrat.files.text import CONTROL, NOT_UTF_8, visible
from quadrat.files.unread import SIDECARS, find_sidecars, not_taken
from quadrat.files.world_files import WORLD_ENDINGS, find_world_file
from quadrat.plan.found import FoundImage
from quadrat.plan.image_table import ending_of, is_table, read_rows
from quadrat.plan.scenes import as_scenes
from quadrat.plan.tree import walk
from quadrat.settings import Settings

# It may lead to a file that its author could not read.
LEAVING = "a link that leaves the images folder is not followed"
LEAVING_HINT = "follow_links: true follows it (config.yaml)"

# It may show the pixels of any file.
NO_VRT = "a VRT, which extensions leave out"
NO_VRT_HINT = "add .vrt to extensions (config.yaml)"

OF_SLIDE = "it is one of the files of a DICOM slide"

RENAME_HINT = "rename the file: its name would not survive the workflow"

NO_FILES = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


# Last endings of files that are looked for beside an image.
BESIDE = SIDECARS | WORLD_ENDINGS

# Reasons to leave out images; the others are HIDDEN and the endings of files.
NOT_CHOSEN = "left out by include and exclude"
OF_RESULTS = "in the results folder"
PART_OF_SLIDE = "parts of slides"


def find_images(settings: Settings, left_out: Counter[str] | None = None) -> list[FoundImage]:
    """List the images of a run, in order of their filenames.

    Hidden files and folders, folders of file servers, and the results folder are not searched.

    Parameters
    ----------
    settings : Settings
    left_out : collections.Counter of str, optional
        Counts the files that are no images of the run, by their ending or by the reason.

    Returns
    -------
    list of FoundImage
        Without the images that `include` and `exclude` leave out.

    Raises
    ------
    ConfigError
        If `images` is missing or empty, or its table is not usable.
    """
    left_out = Counter() if left_out is None else left_out
    images = _found(settings, left_out)
    if images and settings.scenes:
        images = _scenes_of(images, settings, left_out)
    if not images:
        found = "".join(f"; {line}" for line in not_taken(left_out))
        raise ConfigError(
            f"images {settings.images}: no file in it ends in {' '.join(settings.extensions)}; "
            f"put images there or name another folder (config.yaml: images, extensions){found}"
        )
    chosen = [image for image in images if is_chosen(image.filename, settings)]
    left_out[NOT_CHOSEN] += len(images) - len(chosen)
    if not chosen:
        raise ConfigError(
            f"images {settings.images}: include and exclude leave out all {len(images):,} images; "
            "change them (config.yaml: include, exclude)"
        )
    return sorted(chosen, key=lambda image: image.filename)


def _scenes_of(files: list[FoundImage], settings: Settings, left_out: Counter[str]) -> list[FoundImage]:
    scenes = as_scenes(files, settings, left_out)
    if not scenes:
        raise ConfigError(
            f"images {settings.images}: none of the {len(files):,} files, such as {files[0].filename}, is a "
            "band of a scene; change the layout or the pattern (config.yaml: scenes)"
        )
    return scenes


def _found(settings: Settings, left_out: Counter[str]) -> list[FoundImage]:
    if isinstance(settings.images, list):
        return [
            image
            for name, path in _with_prefixes(settings.images)
            for image in _at(path, name, settings, left_out)
        ]
    if is_table(settings.images):
        return _in_table(settings.images, settings, left_out)
    return _at(settings.images, "", settings, left_out)


def _at(path: str, prefix: str, settings: Settings, left_out: Counter[str]) -> list[FoundImage]:
    """Return the images of a folder, or the image that a path itself names."""
    if os.path.isdir(path) or not os.path.exists(path):
        return _in_folder(path, prefix, settings, left_out)
    folder, filename = os.path.split(path)
    root = None if settings.follow_links else folder
    image = _named(filename, path, root, False, {}, settings)
    return _with_beside([image], set(_beside([folder])), lambda _: root)


def is_chosen(filename: str, settings: Settings) -> bool:
    """Return whether `include` and `exclude` keep an image."""
    return any(fnmatchcase(filename, glob) for glob in settings.include) and not any(
        fnmatchcase(filename, glob) for glob in settings.exclude
    )


def _with_prefixes(paths: list[str]) -> list[tuple[str, str]]:
    by_name: dict[str, str] = {}
    for path in paths:
        name = os.path.basename(os.path.abspath(path))
        if is_table(path):
            raise ConfigError(
                f"images {path}: a table cannot be one of several; name it alone (config.yaml: images)"
            )
        if name in by_name:
            raise ConfigError(
                f"images {by_name[name]} and {path}: both are called {name}, so that their "
                "filenames would have one prefix; name their parent folder instead (config.yaml: images)"
            )
        by_name[name] = path
    return list(by_name.items())


def _in_folder(folder: str, prefix: str, settings: Settings, left_out: Counter[str]) -> list[FoundImage]:
    if not os.path.isdir(folder):
        raise ConfigError(
            f"images {folder}: no such folder or file; create it or name another, such as "
            "--config images=/data/my_images (config.yaml: images)"
        )
    endings = tuple(ending.lower() for ending in settings.extensions)
    root = None if settings.follow_links else folder
    images: list[FoundImage] = []
    slides: dict[str, str] = {}
    beside: set[str] = set()
    try:
        for name, path, is_link, problem, hint in walk(
            folder, prefix, settings.results, settings.follow_links, left_out
        ):
            if problem:
                images.append(_failed(name, path, problem, hint, {}))
            elif name.lower().endswith(endings) and is_dicom(name):
                slides[os.path.dirname(path)] = os.path.dirname(name)
            elif name.lower().endswith(endings):
                images.append(_image(name, path, root, is_link, {}))
            else:
                left_out[ending_of(name)] += 1
                if ending_of(name) in BESIDE:
                    beside.add(path)
    except OSError as error:
        raise ConfigError(
            f"images {folder}: the folder cannot be listed: {error.strerror} (config.yaml: images)"
        ) from error
    images = _without_parts(images, left_out)
    for path, name in slides.items():
        filename = name or os.path.basename(os.path.abspath(folder))
        if filename != name and filename in slides.values():
            raise ConfigError(
                f"images {folder}: DICOM slides in it and in its folder {filename} would have one name; "
                "move one of them (config.yaml: images)"
            )
        images.append(_image(filename, path, root, False, {}))
    return _with_beside(images, beside, lambda _: root)


def _without_parts(images: list[FoundImage], left_out: Counter[str]) -> list[FoundImage]:
    """Return the images without the JPEG files of slides of Hamamatsu, which lie beside them."""
    slides = {image.path: image.files.keys() for image in images if is_hamamatsu(image.path)}
    parts = set().union(*slides.values()) - slides.keys()
    left = [image for image in images if image.path not in parts]
    left_out[PART_OF_SLIDE] += len(images) - len(left)
    return left


def _with_beside(
    images: list[FoundImage], beside: set[str], root_of: Callable[[str], str | None]
) -> list[FoundImage]:
    """Return the images with their world files and sidecars among the files beside them."""
    listed = {stem + ending.lower() for stem, ending in map(os.path.splitext, beside)}
    if not listed:
        return images
    found = (replace(image, sidecars=find_sidecars(image.path, listed)) for image in images)
    return [_with_world_file(image, beside, root_of(image.path)) for image in found]


def _with_world_file(image: FoundImage, beside: set[str], root: str | None) -> FoundImage:
    world_file = find_world_file(image.path, lambda path: path in beside and os.path.isfile(path))
    status = world_file and file_status(world_file)
    if not world_file or not status or image.problem:
        return image
    problem, hint = _unreadable(world_file), ""
    if not problem and root is not None and os.path.islink(world_file) and not _is_within(world_file, root):
        problem, hint = LEAVING, LEAVING_HINT
    if problem:
        problem = f"its world file {os.path.basename(world_file)}: {problem}"
        return _failed(image.filename, image.path, problem, hint, image.columns)
    return replace(image, files=image.files | {world_file: status})


def _image(filename: str, path: str, root: str | None, is_link: bool, columns: dict[str, str]) -> FoundImage:
    """Return an image, with the problem that prevents reading it; links must stay in the root, if any.

    The DICOM files of a folder are one image, which is opened by the first of them. Here no file is opened,
    since a pipe would wait for its writer.
    """
    # A file in the working folder may be called like a scene.
    path = os.path.join(".", path) if path.startswith(SCENE_START) else path
    problem = _unusable_name(filename + path)
    if problem:
        return _failed(filename, path, problem, RENAME_HINT, columns)
    try:
        status = os.stat(path)
    except OSError as error:
        return _failed(filename, path, f"cannot be opened: {error.strerror}", "", columns)
    if stat.S_ISDIR(status.st_mode) and (parts := dicom_files(path)):
        return _image(filename, parts[0], root, is_link, columns)
    if not stat.S_ISREG(status.st_mode):
        kind = NO_FILES.get(stat.S_IFMT(status.st_mode), "device")
        return _failed(filename, path, f"it is not a file but a {kind}", "", columns)
    if problem := _unreadable(path):
        # Snakemake, which reads small inputs itself, would stop the run.
        return _failed(filename, path, problem, "", columns)
    files = {path: status, **find_sources(path).files}
    if root is not None:
        if is_link and not _is_within(path, root):
            return _failed(filename, path, LEAVING, LEAVING_HINT, columns)
        for part in linked_parts(path, files):
            if not _is_within(part, root):
                return _failed(filename, path, f"{os.path.basename(part)}: {LEAVING}", LEAVING_HINT, columns)
    return FoundImage(filename, path, files, columns=columns)


def _unreadable(path: str) -> str:
    may_read = os.access(path, os.R_OK, effective_ids=True)
    return "" if may_read else f"cannot be opened: {os.strerror(errno.EACCES)}"


def _failed(filename: str, path: str, problem: str, hint: str, columns: dict[str, str]) -> FoundImage:
    return FoundImage(visible(filename), path, problem=visible(problem), hint=hint, columns=columns)


def _is_within(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _unusable_name(path: str) -> str:
    if NOT_UTF_8.search(path):
        return "the name is not valid UTF-8"
    if CONTROL.search(path):
        return "the name contains a line break or another control character"
    return ""


def _named(
    filename: str, path: str, root: str | None, is_link: bool, columns: dict[str, str], settings: Settings
) -> FoundImage:
    """Return an image that the configuration or a table names, whatever its ending."""
    if is_vrt(path) and VRT_ENDING not in map(str.lower, settings.extensions):
        return _failed(filename, path, NO_VRT, NO_VRT_HINT, columns)
    if is_dicom(path) and os.path.isfile(path) and is_one_of_dicom(path):
        return _failed(filename, path, OF_SLIDE, f"name its folder, {os.path.dirname(path)}", columns)
    return _image(filename, path, root, is_link, columns)


def _in_table(table: str, settings: Settings, left_out: Counter[str]) -> list[FoundImage]:
    folder = os.path.dirname(table)
    own, results = (os.path.join(os.path.abspath(path), "") for path in (folder, settings.results))
    is_inside = cache(_is_within)  # asked once per folder, since it costs more than the rest

    def root_of(path: str) -> str | None:
        """Return the folder that links at a path must stay in, if any."""
        if settings.follow_links:
            return None
        return folder if os.path.abspath(path).startswith(own) else os.path.dirname(path)

    images: list[FoundImage] = []
    lines: dict[str, int] = {}
    for row in read_rows(table):
        if lines.setdefault(row.filename, row.line) != row.line:
            raise ConfigError(
                f"images {table}: {row.filename} is on lines {lines[row.filename]} and {row.line}; "
                f"list it once, or rename one of two files ({table})"
            )
        path = os.path.join(folder, row.path)
        if os.path.abspath(path).startswith(results):
            left_out[OF_RESULTS] += 1
            continue
        root = root_of(path)
        is_link = os.path.islink(path) or (root is not None and not is_inside(os.path.dirname(path), root))
        images.append(_named(row.filename, path, root, is_link, row.columns, settings))
    if not images:
        raise ConfigError(f"images {table}: lists no image; add a row per image ({table})")
    return _with_beside(images, set(_beside({os.path.dirname(image.path) for image in images})), root_of)


def _beside(folders: Iterable[str]) -> Iterator[str]:
    """Yield the paths of the files that lie in some folders."""
    for folder in folders:
        # A missing folder fails with its images; one that may be searched, but not listed, shows no sidecars.
        with suppress(OSError):
            yield from (os.path.join(folder, name) for name in os.listdir(folder or "."))
