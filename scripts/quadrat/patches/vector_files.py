"""Vector files: geometries, read without following the names of other files in their file.

GDAL would open a file with any of its drivers, and many of them follow names of other files and servers, or
run SQL. Here the content chooses one of four formats; GDAL reads two of them, without other drivers.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import shapely
import xxhash

from quadrat.errors import ImageError, MissingReaderError
from quadrat.files.hashing import stat_token
from quadrat.processes.limits import MOST_BYTES, MOST_SECONDS, Ended, answers

HINT = "convert it: ogr2ogr OUT.gpkg IN (config.yaml: regions)"
WGS_84 = "EPSG:4326"
SQLITE = b"SQLite format 3\0"
WRITTEN_TO = (
    "cannot be read: another program writes to it, or was stopped while writing; open and close it there"
)
BY_GDAL = {b"fgb": "FlatGeobuf", b"\0\0\x27\x0a": "ESRI Shapefile"}
# Identifiers that mean no reference system, in the standard and in GDAL.
UNDEFINED = (-1, 0, 99999)
# Bytes of the envelope of a geometry in a GeoPackage, by the code in its flags.
ENVELOPES = (0, 32, 48, 48, 64)


# Attributes, in upper or lower case, with the name of a region and its class; the first that has a value.
NAMED_BY, CLASSED_BY = ("name", "id"), ("classification", "class")
# Classes that a message lists.
MOST_NAMES = 10


class Label(NamedTuple):
    """The names of a region.

    Attributes
    ----------
    number : int
        Its place in the file, counted from 1.
    name, class_name : str
        Empty if the file does not contain them.
    is_ignored : bool
        Whether QuPath ignores it: its class ends with an asterisk, or it is a missing TMA core.
    """

    number: int
    name: str = ""
    class_name: str = ""
    is_ignored: bool = False


class Vectors(NamedTuple):
    """The content of a vector file.

    Attributes
    ----------
    crs : str or None
        Coordinate reference system, as 'AUTHORITY:code' or WKT; None if the file has none.
    geometries : list of shapely.Geometry
        May contain None.
    labels : list of Label
        Of each geometry.
    """

    crs: str | None
    geometries: list[Any]
    labels: list[Label]

    def of_classes(self, classes: Sequence[str] | None) -> "Vectors":
        """Return the regions of some classes; if None is given, all that QuPath does not ignore."""
        kept = [
            place
            for place, label in enumerate(self.labels)
            if (label.class_name in classes if classes is not None else not label.is_ignored)
        ]
        return Vectors(self.crs, *([of[place] for place in kept] for of in self[1:]))

    @property
    def hash(self) -> str:
        """32 hex digits that name the geometries, in their order, and their reference system."""
        digest = xxhash.xxh3_128(f"{self.crs}\n".encode())
        for geometry in self.geometries:
            digest.update(shapely.to_wkb(geometry, output_dimension=2, byte_order=1) or b"")
        return digest.hexdigest()


def split_layer(name: str) -> tuple[str, str | None]:
    """Split `FILE:LAYER` into the path of the file and the layer; None if no layer is named."""
    ends = (index for index, character in enumerate(name) if character == ":")
    end = None if os.path.exists(name) else next((end for end in ends if os.path.isfile(name[:end])), None)
    return (name, None) if end is None else (name[:end], name[end + 1 :])


def read_vectors(name: str) -> Vectors:
    """Read the geometries of GeoJSON, of a layer of a GeoPackage, of FlatGeobuf or of a Shapefile.

    Parameters
    ----------
    name : str
        Path of the file; `FILE:LAYER` for a GeoPackage with several layers.

    Raises
    ------
    ImageError
        If the file has another format, is broken, or has several layers and `name` does not choose one of
        them. The message does not name the file.
    MissingReaderError
        If pyogrio, which reads FlatGeobuf and Shapefiles, is not installed.
    """
    path, layer = split_layer(name)
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
            if start.startswith(SQLITE):
                return _read_geopackage(path, layer)
            if layer is not None:
                raise ImageError(f"it has no layer {layer}, since only a GeoPackage has layers", HINT)
            if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
                return parse_geojson(start + file.read(), is_placed=True)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    for magic, driver in BY_GDAL.items():
        if start.startswith(magic):
            return _read_by_gdal(path, driver)
    raise ImageError("cannot be read: it is not GeoJSON, GeoPackage, FlatGeobuf or Shapefile", HINT)


def inspect_vectors(name: str, classes: list[str] | None = None) -> tuple[bool, str]:
    """Return whether a vector file has a reference system, and its hash, from a process with limits.

    Parameters
    ----------
    name : str
        As of `read_vectors`.
    classes : list of str, optional
        The classes of the regions that are hashed. Default: all.

    Raises
    ------
    ImageError, MissingReaderError
        As `read_vectors`, or if the process reaches its limits.
    """
    (found,) = answers(__name__, [[name, classes]])
    if isinstance(found, Ended):
        limits = f"{MOST_BYTES >> 30} GB in {MOST_SECONDS} s"
        raise ImageError(f"cannot be read with {limits}: {found.why}", HINT)
    if "problem" in found:
        kind = MissingReaderError if found["is_missing"] else ImageError
        raise kind(found["problem"], found["hint"])
    return found["has_crs"], found["hash"]


def answer(question: list[Any]) -> dict[str, Any]:
    """Return what `inspect_vectors` returns or raises, in JSON's types."""
    name, classes = question
    try:
        read = read_vectors(name)
        vectors = read.of_classes(classes)
        if classes is not None and not vectors.geometries:
            known = ", ".join(sorted({label.class_name for label in read.labels})[:MOST_NAMES])
            raise ImageError(
                f"it has no region of class {', '.join(classes)}; its classes are {known or 'not named'}",
                "change classes (config.yaml: regions)",
            )
        return {"has_crs": vectors.crs is not None, "hash": vectors.hash}
    except ImageError as error:
        is_missing = isinstance(error, MissingReaderError)
        return {"problem": str(error), "hint": error.hint, "is_missing": is_missing}


def parse_geojson(text: bytes, is_placed: bool = False) -> Vectors:
    """Parse GeoJSON, wrapped in any way; `is_placed` is whether its coordinates are of a reference system.

    References
    ----------
    QuPath, "Exporting annotations": a FeatureCollection, or the bare list of its features. RFC 7946, 4:
    coordinates are longitude and latitude of WGS 84; GeoJSON of before may name another system in `crs`.
    """
    try:
        content = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
        features = content.get("features", [content]) if isinstance(content, dict) else content
        geometries, labels = [], []
        for number, feature in enumerate(features, start=1):
            geometry, properties = feature.get("geometry", feature), feature.get("properties")
            if geometry:
                geometries.append(shapely.geometry.shape(geometry))
                labels.append(_label(number, properties if isinstance(properties, dict) else {}))
        return Vectors(_named_crs(content) if is_placed else None, geometries, labels)
    except (
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as error:
        raise ImageError(
            f"cannot be read: it is not GeoJSON: {error}", "export them again (config.yaml: regions)"
        ) from error


def _label(number: int, properties: dict[str, Any]) -> Label:
    """Return the names of a region from its attributes.

    References
    ----------
    QuPath, GsonTools and PathObjectTypeAdapters: `classification` has a `name`, or the `names` of the classes
    it derives from; TMA cores have `isMissing`. PathClassTools.isIgnoredClass: the last name ends with an
    asterisk.
    """
    given = {key.lower(): value for key, value in properties.items()}
    name, class_name = (
        next(filter(None, (_text(given.get(key)) for key in keys)), "") for keys in (NAMED_BY, CLASSED_BY)
    )
    is_ignored = _text(given.get("classification")).endswith("*") or given.get("ismissing") is True
    return Label(number, name, class_name, is_ignored)


def _text(value: Any) -> str:
    """Return an attribute, or a class of QuPath, as text; empty if it has no value."""
    if isinstance(value, dict):
        names = value.get("names")
        return ": ".join(map(str, names)) if isinstance(names, list) else _text(value.get("name"))
    return "" if value is None or value != value else str(value)  # NaN in a column of numbers


def _named_crs(content: dict[str, Any] | list[Any]) -> str | None:
    """Return the system that GeoJSON names by a code. PROJ would search disks and servers for other texts."""
    if not isinstance(content, dict) or "crs" not in content:
        return WGS_84
    if content["crs"] is None:
        return None
    name = content["crs"]["properties"]["name"]
    authority, *_, code = name.removeprefix("urn:ogc:def:crs:").split(":")
    if (authority, code) == ("OGC", "CRS84"):
        return WGS_84
    if authority != "EPSG" or not code.isdecimal():
        raise ValueError(f"its crs is {name!r}, but must be urn:ogc:def:crs:EPSG::n")
    return f"EPSG:{code}"


def _read_geopackage(path: str, layer: str | None) -> Vectors:
    """Read a layer; nothing is written beside the file, and its SQL may only read columns.

    References
    ----------
    OGC GeoPackage 1.3 (12-128r18), 2.1: tables gpkg_geometry_columns and gpkg_spatial_ref_sys, and a header
    before the WKB of each geometry.
    """
    try:
        with _as_saved(path) as address, closing(sqlite3.connect(address, uri=True)) as base:
            base.execute("PRAGMA trusted_schema = OFF")
            base.set_authorizer(_only_columns)
            columns = "SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns"
            table, column, srs_id = _chosen_layer(base.execute(columns).fetchall(), layer)
            table = _quoted(table)
            fields = base.execute(f"SELECT * FROM {table} LIMIT 0").description
            named = [name for name, *_ in fields if name.lower() in (*NAMED_BY, *CLASSED_BY)]
            geometries, labels = [], []
            rows = base.execute(f"SELECT {', '.join(map(_quoted, [column, *named]))} FROM {table}")
            for number, (blob, *values) in enumerate(rows, start=1):
                if blob is not None:
                    geometries.append(shapely.from_wkb(_wkb(blob)))
                    labels.append(_label(number, dict(zip(named, values, strict=True))))
            query = (
                "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys "
                "WHERE srs_id = ?"
            )
            system = None if srs_id in UNDEFINED else base.execute(query, (srs_id,)).fetchone()
            if system and not isinstance(system[2], str | None):
                raise ValueError(f"the definition of its reference system is {type(system[2]).__name__}")
    except (
        sqlite3.Error,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        NotImplementedError,  # curves
        shapely.errors.ShapelyError,
    ) as error:
        raise ImageError(f"cannot be read: not a readable GeoPackage: {error}", HINT) from error
    if system is None:
        return Vectors(None, geometries, labels)
    organization, code, definition = system
    crs = f"EPSG:{code}" if str(organization).upper() == "EPSG" else definition
    return Vectors(crs, geometries, labels)


def _quoted(name: str) -> str:
    """Return a name of SQL."""
    return f'"{name.replace(chr(34), chr(34) * 2)}"'


@contextmanager
def _as_saved(path: str) -> Iterator[str]:
    """Yield the address of a SQLite file, or of a copy with what another program has saved beside it.

    References
    ----------
    SQLite, "Write-Ahead Logging": changes by a program that has FILE open are in FILE-wal. "Atomic Commit In
    SQLite": FILE-journal has a header if FILE may be half written.
    """
    wal, journal = f"{path}-wal", f"{path}-journal"
    if os.path.isfile(journal):
        with open(journal, "rb") as file:
            if file.read(1) not in (b"", b"\0"):
                raise ImageError(WRITTEN_TO)  # not reverted: it can name a file that SQLite then deletes
    if not (os.path.isfile(wal) and os.path.getsize(wal)):
        yield f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"
        return
    with tempfile.TemporaryDirectory() as folder:
        copy, before = os.path.join(folder, "copy"), stat_token(os.stat(path), os.stat(wal))
        shutil.copyfile(path, copy)
        shutil.copyfile(wal, f"{copy}-wal")
        if stat_token(os.stat(path), os.stat(wal)) != before:
            raise ImageError(WRITTEN_TO)
        yield f"{Path(copy).as_uri()}?mode=rw"


def _chosen_layer(layers: list[tuple], name: str | None) -> tuple:
    """Return the row of the layer with this name, or of the only layer."""
    if not layers:
        raise ImageError("cannot be read: it has no layer", HINT)
    chosen = [layer for layer in layers if name in (None, layer[0])]
    if len(chosen) == 1:
        return chosen[0]
    found = "it has several layers" if name is None else f"it has no layer {name}"
    names = ", ".join(sorted(str(layer[0]) for layer in layers))
    raise ImageError(f"{found}: {names}", "name one of them, as FILE.gpkg:LAYER (config.yaml: regions)")


def _only_columns(action: int, *_: object) -> int:
    """Allow SQLite to read columns, and no more: no function, no other file, no change."""
    return (
        sqlite3.SQLITE_OK if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) else sqlite3.SQLITE_DENY
    )


def _wkb(blob: bytes) -> bytes:
    if blob[:2] != b"GP":
        raise ValueError("a geometry without its header")
    return blob[8 + ENVELOPES[blob[3] >> 1 & 7] :]


def _read_by_gdal(path: str, driver: str) -> Vectors:
    if find_spec("pyogrio") is None:
        raise MissingReaderError(
            "cannot be read: pyogrio, which reads this format, is not installed",
            "pip install pyogrio (config.yaml: regions)",
        )
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    with _only_driver(driver):
        try:
            fields = pyogrio.read_info(os.path.abspath(path))["fields"].tolist()
            named = [name for name in fields if name.lower() in (*NAMED_BY, *CLASSED_BY)]
            metadata, _, geometries, columns = pyogrio.raw.read(os.path.abspath(path), columns=named)
            given = [
                dict(zip(metadata["fields"], values, strict=True)) for values in zip(*columns, strict=True)
            ]
            labels = [_label(n, of) for n, of in enumerate(given or [{}] * len(geometries), start=1)]
            return Vectors(metadata["crs"], [*shapely.from_wkb(geometries)], labels)
        except (DataSourceError, DataLayerError, NotImplementedError) as error:
            raise ImageError(f"cannot be read: {str(error).splitlines()[0]}", HINT) from error


@contextmanager
def _only_driver(name: str) -> Iterator[None]:
    """Unload all drivers of pyogrio's GDAL except one; no open file needs the others."""
    import pyogrio
    from pyogrio._ogr import _register_drivers

    before = pyogrio.get_gdal_config_option("GDAL_SKIP")
    others = ",".join(driver for driver in pyogrio.list_drivers() if driver != name)
    pyogrio.set_gdal_config_options({"GDAL_SKIP": others})
    try:
        _register_drivers()
        if set(pyogrio.list_drivers()) != {name}:
            raise ImageError("cannot be read: the drivers of GDAL cannot be unloaded", HINT)
        yield
    finally:
        pyogrio.set_gdal_config_options({"GDAL_SKIP": before})
        _register_drivers()
