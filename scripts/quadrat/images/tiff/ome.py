"""OME-XML without TiffData, as users of libvips write it: the meaning of a TIFF's pages, in their order."""

from math import prod
from typing import NamedTuple
from xml.etree import ElementTree

from tifffile import TiffPage


class Planes(NamedTuple):
    """Letters and sizes of the axes along which pages follow each other, the last the fastest."""

    axes: str
    sizes: tuple[int, ...]


def ome_planes(xml: str, page: TiffPage) -> Planes | None:
    """Return the planes of an image that OME-XML describes.

    Parameters
    ----------
    xml : str
    page : tifffile.TiffPage
        The first of them.

    Returns
    -------
    Planes or None
        None if the XML is broken, or describes no image of the page's size.

    References
    ----------
    OME Data Model 2016-06, Pixels: DimensionOrder begins with XY and names the fastest axis first; SizeC
    counts samples.
    """
    try:
        for pixels in ElementTree.fromstring(xml).iterfind(".//{*}Pixels"):
            axes = pixels.attrib["DimensionOrder"][:1:-1]
            height, width, *sizes = (int(pixels.attrib[f"Size{axis}"]) for axis in "YX" + axes)
            channel = axes.index("C")
            sizes[channel] = -(-sizes[channel] // page.samplesperpixel)
            # Planes may also lie one below the other in a single page, where nothing separates them.
            if width == page.imagewidth and page.imagelength in (height, height * prod(sizes)):
                return Planes(axes, tuple(sizes))
    except (ElementTree.ParseError, LookupError, ValueError):
        return None
    return None
