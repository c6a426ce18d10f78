"""Region files: the files with the regions of each image, as planning uses them."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from quadrat.errors import ConfigError, ImageError


def split_classes(regions: str | dict[str, Any]) -> tuple[str, list[str] | None]:
    """Return the path and the classes of the key `regions`."""
    return (regions, None) if isinstance(regions, str) else (regions["path"], regions.get("classes"))


class RegionFiles:
    """The files of the key `regions`.

    Parameters
    ----------
    regions : str or dict
        The value of the key: a folder of `<filename>.geojson`, or one vector file for all images, which may
        name its layer; or such a `path`, and the `classes` of the regions that count.

    Attributes
    ----------
    path : str
    hash : str
        Hash of the vector file's content, once it is checked; empty for a folder.
    """

    def __init__(self, regions: str | dict[str, Any]):
        self.path, self._classes = split_classes(regions)
        self._is_folder = os.path.isdir(self.path)
        self.hash = ""

    def check(self) -> None:
        """Refuse regions that no job could use, and hash a vector file.

        Raises
        ------
        ConfigError
            If the file or folder does not exist, the file has no CRS, or its reader is not installed.
        """
        if self._is_folder:
            return
        from quadrat.patches.vector_files import inspect_vectors, split_layer  # few runs need it

        if not os.path.isfile(split_layer(self.path)[0]):
            raise ConfigError(f"regions {self.path}: no such file or folder (config.yaml: regions)")
        try:
            has_crs, self.hash = inspect_vectors(self.path, self._classes)
        except ImageError as error:
            way_out = error.hint or "(config.yaml: regions)"
            raise ConfigError(f"regions {self.path}: {error}; {way_out}") from error
        if not has_crs:
            raise ConfigError(
                f"regions {self.path}: the file has no coordinate reference system; add one, or name a "
                "folder of <filename>.geojson in pixels (config.yaml: regions)"
            )

    def path_of(self, filename: str) -> str:
        """Return the path of the file with the regions of an image; it may be missing in a folder."""
        return os.path.join(self.path, f"{filename}.geojson") if self._is_folder else self.path

    def hash_each(self, filenames: Iterable[str], hash_path: Callable[[str], str]) -> dict[str, str]:
        """Return the hash of the regions of each image, empty if it has none.

        The hash of a vector file covers only its geometries, since programs that save it may also write to
        other files, or to bytes without geometry.

        Raises
        ------
        ConfigError
            If no image has a file.
        """
        if not self._is_folder:
            return dict.fromkeys(filenames, self.hash)
        hashes = {}
        for filename in filenames:
            path = self.path_of(filename)
            hashes[filename] = hash_path(path) if os.path.isfile(path) else ""
        if hashes and not any(hashes.values()):
            raise ConfigError(
                f"regions {self.path}: none of the {len(hashes):,} images has its file there; add files "
                f"such as {self.path_of(min(hashes))} (config.yaml: regions)"
            )
        return hashes

    def task(self, filename: str, content_hash: str) -> dict[str, Any]:
        """Return the regions as the job of an image needs them; see `quadrat.jobs.task.ImageTask`."""
        return {
            "path": self.path_of(filename),
            "hash": content_hash,
            "in_pixels": self._is_folder,
            "classes": self._classes,
        }
