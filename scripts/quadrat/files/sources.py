"""Sources: the other files that an image takes its pixels from, as a VRT and slides of several files do."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from xml.parsers import expat

from quadrat.errors import ImageError
from quadrat.files.scenes import named_files
from quadrat.files.world_files import find_world_file

VRT_ENDING, MRXS_ENDING, DICOM_ENDING = ".vrt", ".mrxs", ".dcm"
HAMAMATSU_ENDINGS = (".vms", ".vmu")
# A text that names the other files of a Hamamatsu slide, and these names.
MOST_HAMAMATSU_BYTES = 1 << 20
HAMAMATSU_FILE = re.compile(
    rb"^\s*(?:ImageFile[^=\n]*|MapFile|MacroImage|OptimisationFile)[^\S\n]*=[^\S\n]*(.*?)[^\S\n]*$",
    re.MULTILINE,
)
# The size of a mosaic of 100,000 scenes; a larger file is no VRT.
MOST_VRT_BYTES = 200_000_000
LONGEST_TAG = 100  # characters of an element, in a message
# A VRT of VRTs of VRTs.
MOST_LEVELS = 8

# Elements of a VRT that name a file of pixels. GDAL ignores case, and treats an attribute as an element. A
# VRT may have only these names and the next ones, in any case.
NAMING = {"sourcefilename", "sourcedataset"}
ELEMENTS = NAMING | set(
    """
    vrtdataset srs geotransform metadata mdi gcplist gcp overviewlist maskband vrtrasterband
    overview colorinterp nodatavalue hidenodatavalue description unittype offset scale categorynames
    category colortable entry histograms histitem histmin histmax bucketcount includeoutofrange
    approximate histcounts simplesource complexsource averagedsource kernelfilteredsource sourceband
    sourceproperties srcrect dstrect nodata scaleoffset scaleratio exponent srcmin srcmax dstmin
    dstmax clamp colortablecomponent lut usemaskband kernel size coefs pixelfunctiontype
    pixelfunctionarguments sourcetransfertype blockxsize blockysize gdalwarpoptions warpmemorylimit
    resamplealg workingdatatype option bandlist bandmapping srcnodatareal srcnodataimag
    dstnodatareal dstnodataimag srcalphaband dstalphaband initdest options transformer
    approxtransformer maxerror basetransformer genimgprojtransformer srcgeotransform
    srcinvgeotransform dstgeotransform dstinvgeotransform reprojecttransformer
    reprojectiontransformer sourcesrs targetsrs pansharpeningoptions algorithm algorithmoptions
    weights resampling numthreads bitdepth spatialextentadjustment panchroband spectralband
    """.split()  # noqa: SIM905  a list of words is read more easily so
)
ATTRIBUTES = set(
    """
    rasterxsize rasterysize subclass dataaxistosrsaxismapping coordinateepoch domain format key
    projection id info pixel line x y z resampling datatype band blockxsize blockysize c1 c2 c3 c4
    relativetovrt shared xoff yoff xsize ysize normalized name src dst min max dstband
    """.split()  # noqa: SIM905  a list of words is read more easily so
)
# All other classes read raw bytes, or name files in their own ways.
CLASSES = {
    *("vrtwarpeddataset", "vrtpansharpeneddataset"),
    *("vrtsourcedrasterband", "vrtderivedrasterband", "vrtwarpedrasterband", "vrtpansharpenedrasterband"),
}
# Other options of a transformer, such as the coordinate operation, name files of grids.
OPTION_KEYS = {"area_of_interest", "center_long"}
# GDAL does not read such names as paths, but as subdatasets, servers, archives or XML.
INLINE = "<vrtdataset"
NO_PATH = re.compile(r"\w+:|[\"<{\s]|/vsi|.*\s\Z", re.DOTALL)

LOCAL_HINT = "write a VRT of local files, or convert it: gdal_translate -co TILED=YES in.vrt out.tif"
WRITE_HINT = "write the VRT again, such as with gdalbuildvrt"


class Sources(NamedTuple):
    """The sources of an image.

    Attributes
    ----------
    files : dict of str to os.stat_result
        Path and status of each source that is a file, sources of sources included; without the image.
    problem : str
        The reason why the image cannot be read from these files; empty if it can.
    hint : str
        A way out.
    """

    files: dict[str, os.stat_result]
    problem: str
    hint: str = ""


def find_sources(path: str) -> Sources:
    """Find the files that an image names, however deep.

    Parameters
    ----------
    path : str
        The image; it has sources only if its name ends in .vrt, .mrxs, .dcm, .vms or .vmu.

    Returns
    -------
    Sources
        The sources that exist, also of a broken image, which may be whole after a change of its sources.
    """
    if path.lower().endswith(MRXS_ENDING):
        return _mrxs_files(path)
    if is_dicom(path):
        return _parts(name for name in dicom_files(os.path.dirname(path)) if name != path)
    return _hamamatsu_files(path) if is_hamamatsu(path) else _of_vrt(path)


def image_files(path: str) -> dict[str, os.stat_result]:
    """Return the path and status of each file of an image, in the order in which its hash covers them.

    Parameters
    ----------
    path : str
        Of a file, which comes before the files that it names, or of a scene.

    Raises
    ------
    OSError
        If a file that the path itself names cannot be looked at.
    """
    return {file: status for own in named_files(path) for file, status in _files_of(own)}


def _files_of(path: str) -> Iterator[tuple[str, os.stat_result]]:
    yield path, os.stat(path)
    yield from find_sources(path).files.items()
    if world_file := find_world_file(path):
        yield world_file, os.stat(world_file)


def _mrxs_files(path: str) -> Sources:
    """Find the files of an MRXS slide: all files in the folder with its name without the ending."""
    folder = path[: -len(MRXS_ENDING)]
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return Sources({}, f"its folder {os.path.basename(folder)} cannot be read: {error.strerror}")
    return _parts(os.path.join(folder, name) for name in names)


def _parts(paths: Iterable[str]) -> Sources:
    """Return the files of a slide among some paths. A pipe or a device, which has no end, is a problem."""
    files, problem = {}, ""
    for path in paths:
        if status := file_status(path):
            files[path] = status
        elif os.path.exists(path) and not os.path.isdir(path):
            problem = problem or f"its part {os.path.basename(path)} is not a file"
    return Sources(files, problem)


def is_dicom(path: str) -> bool:
    """Return whether a file is taken for part of a DICOM slide; all such files of a folder are one slide."""
    return path.lower().endswith(DICOM_ENDING)


def dicom_files(folder: str) -> list[str]:
    """Return the paths of the DICOM files in a folder, in order; none if it cannot be listed."""
    try:
        with os.scandir(folder or ".") as entries:
            names = sorted(entry.name for entry in entries if is_dicom(entry.name) and not entry.is_dir())
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names]


def is_one_of_dicom(path: str) -> bool:
    """Return whether a DICOM file has others beside it."""
    own = os.path.basename(path)
    with os.scandir(os.path.dirname(path) or ".") as entries:
        return any(is_dicom(entry.name) and entry.name != own and not entry.is_dir() for entry in entries)


def is_hamamatsu(path: str) -> bool:
    """Return whether a file is taken for the text of a Hamamatsu slide, which names files beside it."""
    return path.lower().endswith(HAMAMATSU_ENDINGS)


def _hamamatsu_files(path: str) -> Sources:
    """Find the files that a VMS or VMU names, which must lie beside it."""
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_HAMAMATSU_BYTES + 1)
    except OSError as error:
        return Sources({}, f"cannot be read: {error.strerror}")
    if len(text) > MOST_HAMAMATSU_BYTES:
        return Sources({}, f"broken: more than {MOST_HAMAMATSU_BYTES // 10**6} MB of text")
    names = [os.fsdecode(name) for name in HAMAMATSU_FILE.findall(text) if name]
    # OpenSlide reads a backslash as the start of an escape.
    problem = next(
        (
            f"names the file {name}, but one beside it is expected"
            for name in names
            if re.search(r"[/\\]", name)
        ),
        "",
    )
    folder = os.path.dirname(path)
    return Sources({}, problem) if problem else _parts(os.path.join(folder, name) for name in names)


def linked_parts(path: str, files: Iterable[str]) -> list[str]:
    """Return the links among the folder and the files of a slide; none for other kinds of images."""
    is_mrxs = path.lower().endswith(MRXS_ENDING)
    if not (is_mrxs or is_dicom(path) or is_hamamatsu(path)):
        return []
    folder = [path[: -len(MRXS_ENDING)]] if is_mrxs else []
    return [part for part in (*folder, *files) if os.path.islink(part)]


def _of_vrt(path: str) -> Sources:
    """Find the files that a VRT names, and the files that they name; none if the image is no VRT."""
    files, problems = {}, []
    pending = [(path, 1)] if is_vrt(path) else []
    while pending:
        vrt, level = pending.pop()
        where = "" if vrt == path else f"its source {os.path.basename(vrt)}: "
        try:
            if INLINE in vrt.lower():
                raise ImageError("the path of the VRT is itself XML, which is not read")
            if level > MOST_LEVELS:
                raise ImageError(f"VRTs are nested more than {MOST_LEVELS} deep, which is not read")
            names = _sources_named_in(vrt)
        except ImageError as error:
            problems.append((f"{where}{error}", error.hint))
            continue
        except OSError as error:
            problems.append((f"{where}cannot be read: {error.strerror}", ""))
            continue
        for name, text in names:
            if name in files or name == path:
                continue
            if NO_PATH.match(text) or INLINE in name.lower():
                problems.append((f"its source {text}: not the path of a local file", LOCAL_HINT))
            elif status := file_status(name):
                files[name] = status
                if is_vrt(name):
                    pending.append((name, level + 1))
            else:
                problems.append((f"its source {text}: no such file", WRITE_HINT))
    return Sources(files, *(problems or [("", "")])[0])


def is_vrt(path: str) -> bool:
    """Return whether the sources of a file are looked for."""
    return path.lower().endswith(VRT_ENDING)


def file_status(path: str) -> os.stat_result | None:
    """Return the status of a file, None if there is no file of that path."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null byte
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _sources_named_in(path: str) -> list[tuple[str, str]]:
    """List path and text of the files that a VRT names, in its order.

    References
    ----------
    GDAL, "VRT -- GDAL Virtual Format": relativeToVRT is 1 for paths relative to the VRT, links to it
    resolved; other paths are relative to the working directory.
    """
    if os.path.getsize(path) > MOST_VRT_BYTES:
        raise ImageError(f"a VRT of more than {MOST_VRT_BYTES // 10**6} MB is not read")
    folder = os.path.dirname(os.path.realpath(path))
    names: list[tuple[str, str]] = []
    text: list[str] | None = None
    is_relative = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal text, is_relative
        values = {name.lower(): value for name, value in attributes.items()}
        # The arguments of a pixel function are numbers with any name.
        unknown = set() if tag.lower() == "pixelfunctionarguments" else values.keys() - ATTRIBUTES
        if (
            tag.lower() not in ELEMENTS
            or unknown
            or values.keys() & NAMING
            or values.get("subclass", "vrtsourcedrasterband").lower() not in CLASSES
            or values.get("key", "").lower() == "overview_file"
            or (tag.lower() == "option" and values.get("key", "center_long").lower() not in OPTION_KEYS)
            or values.get("relativetovrt", "0") not in ("0", "1")
        ):
            shown = " ".join([tag, *(f'{name}="{value}"' for name, value in attributes.items())])
            raise ImageError(
                f"a VRT with <{shown[:LONGEST_TAG]}> is not read, as it may name files that nobody watches",
                LOCAL_HINT,
            )
        if text is not None:
            raise ImageError(f"a VRT with <{tag}> in the name of a file is not read")
        if tag.lower() in NAMING:
            text, is_relative = [], values.get("relativetovrt") == "1"

    def end(tag: str) -> None:
        nonlocal text
        if text is not None and tag.lower() in NAMING:
            name = "".join(text)
            names.append((os.path.join(folder if is_relative else os.getcwd(), name), name))
            text = None

    def characters(piece: str) -> None:
        if text is not None:
            text.append(piece)

    def refuse(what: str) -> Callable[..., None]:
        def handle(*_: object) -> None:
            raise ImageError(f"a VRT with a {what}, which no VRT needs, is not read")

        return handle

    # GDAL reads all bytes as UTF-8, whatever encoding the text declares.
    parser = expat.ParserCreate("UTF-8")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    # Entities, and with them expansion without end, can only be declared in a document type.
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, refuse("document type")
    # GDAL reads these in its own way.
    parser.ProcessingInstructionHandler = refuse("processing instruction")
    parser.StartCdataSectionHandler = refuse("CDATA section")
    with open(path, "rb") as file:
        try:
            parser.ParseFile(file)
        except expat.ExpatError as error:
            place = f"line {error.lineno}, column {error.offset}"
            raise ImageError(f"not a readable VRT: its XML is broken at {place}", WRITE_HINT) from error
    return names
