"""Micrometres per pixel of a TIFF: where its makers write them, and which are credible."""

import io
import math
import re
import unicodedata
from xml.etree import ElementTree

from tifffile import TiffPage

from quadrat.images.tiff.metadata import geo_keys

Sides = tuple[float, float]

INCH, CENTIMETRE = 25_400.0, 10_000.0
# As OME, ImageJ and people write units; NFKC makes one of both micro signs, and of both signs of Angstrom.
MICROMETRES = (
    {"km": 1e9, "m": 1e6, "dm": 1e5, "cm": CENTIMETRE, "mm": 1e3, "nm": 1e-3, "\u00c5": 1e-4, "pm": 1e-6}
    | dict.fromkeys(("\u03bcm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0)
    | {"in": INCH, "inch": INCH, "thou": INCH / 1000, "ft": 12 * INCH}
)
RESOLUTION_UNITS = {2: INCH, 3: CENTIMETRE}
# Scanners of slides write centimetres, and print has up to 2,540 dots per inch, 10 micrometres each: 300 dpi
# are 85 micrometres, 96 dpi 265.
FINEST, FINER_THAN_PRINT, COARSEST = 0.01, 10.0, 50.0


def mpp_of(page: TiffPage) -> Sides | None:
    """Return micrometres per pixel along y and x, None if the file does not contain credible values."""
    unit, tagged = _resolution(page)
    coarsest = FINER_THAN_PRINT if unit == INCH else COARSEST
    is_credible = tagged and all(FINEST <= side <= coarsest for side in tagged)
    return _described(page) or (tagged if is_credible else None)


def mpp_notes(page: TiffPage) -> list[str]:
    """Return a note on a resolution that may be the one for print."""
    unit, tagged = _resolution(page)
    if not tagged or not FINER_THAN_PRINT < max(tagged) <= COARSEST or _described(page):
        return []
    size = f"as {max(tagged):.3g} micrometres per pixel"
    if unit == CENTIMETRE:
        return [f"its resolution is taken {size}, and may be for print"]
    return [f"its resolution is not taken {size}, since it may be for print (config.yaml: default_mpp)"]


def _described(page: TiffPage) -> Sides | None:
    """Return the mpp of a description that has them."""
    for source in (_ome, _aperio, _philips, _imagej):
        try:
            mpp = source(page)
        except (ValueError, TypeError, LookupError, ElementTree.ParseError):
            continue  # a text in place of a number, broken XML, or an unknown encoding
        if mpp and all(0 < side < math.inf for side in mpp):
            return mpp
    return None


def _ome(page: TiffPage) -> Sides | None:
    first = page.parent.pages.first
    if not first.is_ome:
        return None
    sizes = {
        tuple(
            float(pixels.get(f"PhysicalSize{axis}", "nan"))
            * _micrometres(pixels.get(f"PhysicalSize{axis}Unit", "um"))
            for axis in "YX"
        )
        for pixels in _ome_pixels(first.description, page)
    }
    (y, x), *others = sizes
    return None if others else (y, x)


def _ome_pixels(xml: str, page: TiffPage) -> list[ElementTree.Element]:
    """Return the elements of OME-XML that describe a page, or all images of its size if none names it.

    References
    ----------
    OME Data Model 2016-06, TiffData: IFD is the page of its first plane, in the file of its UUID.
    """
    own, images = None, []
    # OME-XML can be huge: it is read up to the element that names the page, or to its end without one.
    for event, element in ElementTree.iterparse(io.BytesIO(xml.encode()), events=("start", "end")):
        name = element.tag.rpartition("}")[2]
        if event == "start":
            own = element.get("UUID") if name == "OME" else own
            images += [element] if name == "Pixels" else []
        elif name == "TiffData" and _is_named(page, element, own):
            return images[-1:]
    size = {"SizeX": str(page.imagewidth), "SizeY": str(page.imagelength)}
    return images if len(images) == 1 else [one for one in images if size.items() <= one.attrib.items()]


def _is_named(page: TiffPage, tiff_data: ElementTree.Element, own: str | None) -> bool:
    file = tiff_data.findtext("{*}UUID")
    return int(tiff_data.get("IFD", 0)) == page.index and (None in (own, file) or file == own)


def _aperio(page: TiffPage) -> Sides | None:
    found = re.search(r"\|\s*MPP\s*=([^|\r\n]*)", page.description) if page.is_svs else None
    # Some scanners write the decimals of their user's language.
    return (float(found[1].replace(",", ".")),) * 2 if found else None


def _philips(page: TiffPage) -> Sides | None:
    if not page.is_philips:
        return None
    images = ElementTree.fromstring(page.description).iterfind(".//DataObject[@ObjectType='DPScannedImage']")
    for image in images:
        of_image = {one.get("Name"): one.text or "" for one in image.iterfind("Attribute")}
        # The others are label and macro.
        if of_image.get("PIM_DP_IMAGE_TYPE", "WSI") == "WSI":
            y, x = of_image.get("DICOM_PIXEL_SPACING", "").replace('"', " ").split()
            return 1000 * float(y), 1000 * float(x)
    return None


def _imagej(page: TiffPage) -> Sides | None:
    if not page.is_imagej:
        return None
    units: dict[str, str] = dict(re.findall(r"^(y?unit)=(.+?)\s*$", page.description, re.MULTILINE))
    written = units.get("yunit", units.get("unit", "")), units.get("unit", "")
    y, x = (_micrometres(unit.replace("\\u00B5", "u")) for unit in written)
    per_unit = _per_unit(page)
    mpp = y / per_unit[0], x / per_unit[1]
    return mpp if INCH not in (y, x) or max(mpp) <= FINER_THAN_PRINT else None


def _micrometres(unit: str) -> float:
    return MICROMETRES.get(unicodedata.normalize("NFKC", unit.strip()), math.nan)


def _resolution(page: TiffPage) -> tuple[float | None, Sides | None]:
    """Return the unit of the resolution tags in micrometres, and the size of a pixel by them."""
    unit = RESOLUTION_UNITS.get(page.tags.valueof(296, 2))
    if unit is None or geo_keys(page):
        return None, None
    try:
        y, x = _per_unit(page)
    except (ValueError, TypeError):  # no fractions
        return None, None
    return unit, (unit / y, unit / x)


def _per_unit(page: TiffPage) -> Sides:
    """Return pixels per unit along y and x; infinite where the file contains none."""
    (y, per_y), (x, per_x) = (page.tags.valueof(tag) or (0, 0) for tag in (283, 282))
    return (y / per_y if y and per_y else math.inf), (x / per_x if x and per_x else math.inf)
