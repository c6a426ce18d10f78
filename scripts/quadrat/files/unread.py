"""Files that a run does not read: images with other endings, and sidecars of its images."""

import os
from collections.abc import Container, Mapping, Sequence

# Endings of images that a run may not take, by what helps.
_ENDINGS = {
    "to take them, add their endings to `extensions` (config.yaml)": """
        .tif .tiff .tf2 .tf8 .btf .ptif .qptiff .svs .ndpi .scn .bif .mrxs .dcm .vms .vmu .svslide
        .png .jpg .jpeg .jfif .jp2 .j2k .vrt .bmp .gif .webp
    """,
    "export them as OME-TIFF, with QuPath or bfconvert": """
        .dicom .dv .ims .lif .lsm .nd2 .oib .oif .oir .sld .stk .vsi .zvi
    """,
    "add .czi to `extensions` (config.yaml) for brightfield slides, or export them as OME-TIFF": ".czi",
    "convert them: gdal_translate IN OUT.tif": ".dem .ecw .grb .grb2 .grib .grib2 .hgt .img .nitf .ntf .sid",
    "convert the arrays that gdalinfo lists: gdal_translate ARRAY OUT.tif": """
        .h5 .hdf .hdf5 .he5 .nc .nc4 .zarr
    """,
    "convert them, with ImageMagick: magick IN OUT.tif": """
        .arw .avif .cr2 .cr3 .dng .exr .heic .heif .jxl .nef .orf .pgm .ppm .psd .raf .rw2 .tga
    """,
}
# The key of files that are left out since the run reads scenes.
NO_BAND = "not bands of scenes"
_HELP = {ending: text for text, endings in _ENDINGS.items() for ending in endings.split()}
_HELP[NO_BAND] = "change the layout, or the pattern, to take them (config.yaml: scenes)"
# More lines would hide the others on the terminal.
MOST_LINES = 3

# A folder of up to millions of files that are one image or array.
ARRAY_FOLDER = ".zarr"

# GDAL also reads the place of these from a .tab of MapInfo.
_WITH_TAB = (".tif", ".tiff", ".tf2", ".tf8", ".btf", ".ptif", ".qptiff", ".jpg", ".jpeg", ".jfif")
_TAB = ".tab"
_OF_WHOLE_NAME = (".aux.xml", ".ovr", ".msk")
# Last endings of all sidecars.
SIDECARS = frozenset((_TAB, ".xml", ".ovr", ".msk"))

NO_PLACE = "no place on Earth"


def not_taken(left_out: Mapping[str, int]) -> list[str]:
    """Describe the images that a run did not take because of their endings.

    Parameters
    ----------
    left_out : mapping of str to int
        Numbers of files by their endings; other keys and endings are no images.

    Returns
    -------
    list of str
        A line for each way to have them read; empty if there are none.
    """
    counts: dict[str, list[str]] = {}
    for ending, number in sorted(left_out.items(), key=lambda item: (-item[1], item[0])):
        if ending in _HELP:
            counts.setdefault(_HELP[ending], []).append(f"{number:,} {ending}")
    lines = [f"not taken: {', '.join(numbers)}; {text}" for text, numbers in counts.items()]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [
            "not taken: images of other formats; `snakemake inspect` lists their endings"
        ]
    return lines


def find_sidecars(path: str, listed: Container[str]) -> list[str]:
    """Return the endings of the sidecars of an image: files beside it that GDAL reads, and quadrat does not.

    Parameters
    ----------
    path : str
        The image.
    listed : container of str
        Paths of files that exist, their last endings in lower case.

    Examples
    --------
    >>> find_sidecars("a.tif", {"a.tab", "a.tif.ovr", "b.tif.msk"})
    ['.tab', '.ovr']
    """
    stem, ending = os.path.splitext(path)
    tabs = [_TAB] if ending.lower() in _WITH_TAB and stem + _TAB in listed else []
    return tabs + [name for name in _OF_WHOLE_NAME if path + name in listed]


def sidecar_notes(endings: Sequence[str], has_place: bool) -> list[str]:
    """Describe what an image lacks because its sidecars are not read.

    Parameters
    ----------
    endings : sequence of str
        As `find_sidecars` returns them.
    has_place : bool
        Whether it is known where the image lies on Earth.
    """
    others = [name for name in endings if has_place or name in (".ovr", ".msk")]
    places = [name for name in endings if name not in others]
    notes = []
    if places:
        notes.append(
            f"{NO_PLACE}, and not read beside the image: {', '.join(places)} "
            "(if they hold it, gdal_translate IN OUT.tif writes it into the image)"
        )
    if others:
        notes.append(f"not read beside the image: {', '.join(others)}")
    return notes
