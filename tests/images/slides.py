"""Slides for the tests: MRXS, BIF, SCN and Trestle, written from what the formats' readers expect."""

import io
import struct

import numpy as np
import tifffile
from PIL import Image

SLIDE_ID = "0123456789abcdef"
MRXS_MPP = 0.25
SCN_NM = 500  # nanometres per pixel of level 0
STORAGE = {"photometric": "rgb", "compression": "zlib", "metadata": None}


def write_mrxs(path, pixels, tile=128, levels=3, overlap=0, left_out=(), fill=0xFFFFFF):
    """Write an MRXS slide of PNG tiles: an image beside the folder of its name.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
        Whose tiles are cut at every `tile` - `overlap` pixels; of level n every 2**n-th pixel is taken.
    left_out : tuple of int
        Tiles of level 0, in row-major order, that were not scanned.
    fill : int
        Blue, green and red of the background, from the highest byte on.

    References
    ----------
    OpenSlide, "MIRAX format": Slidedat.ini names the other files; Index.dat lists, by level, offset, size and
    file of each tile.
    """
    Image.fromarray(pixels[:40, :60]).save(path, format="JPEG")
    folder = path.with_suffix("")
    folder.mkdir()
    step = tile - overlap
    rows, cols = ((length - overlap) // step for length in pixels.shape[:2])
    data, pages = io.BytesIO(), []
    for level in range(levels):
        factor, page = 2**level, []
        for row in range(0, rows, factor):
            for col in range(0, cols, factor):
                index = row * cols + col
                if level == 0 and index in left_out:
                    continue
                part = pixels[row * step :: factor, col * step :: factor][:tile, :tile]
                whole = np.zeros((tile, tile, 3), np.uint8)
                whole[: part.shape[0], : part.shape[1]] = part
                start = data.tell()
                Image.fromarray(whole).save(data, format="PNG")
                page.append((index, start, data.tell() - start, 0))
        pages.append(page)
    (folder / "Data0000.dat").write_bytes(data.getvalue())
    (folder / "Index.dat").write_bytes(_index(pages))
    (folder / "Slidedat.ini").write_text(_slidedat(rows, cols, tile, levels, overlap, fill))


def _index(pages):
    """Return the version, the slide's id, and then pointers: to levels, to their pages, and the pages."""
    header = b"01.02" + SLIDE_ID.encode()
    table = len(header) + 8
    content, pointers = b"", []
    for page in pages:
        start = table + 4 * len(pages) + len(content)
        pointers.append(start)
        items = b"".join(struct.pack("<4i", *item) for item in page)
        content += struct.pack("<4i", 0, start + 8, len(page), 0) + items
    return header + struct.pack("<2i", table, 0) + struct.pack(f"<{len(pages)}i", *pointers) + content


def _slidedat(rows, cols, tile, levels, overlap, fill):
    sections = {
        "GENERAL": {
            "SLIDE_VERSION": "01.02",
            "SLIDE_ID": SLIDE_ID,
            "IMAGENUMBER_X": cols,
            "IMAGENUMBER_Y": rows,
            "OBJECTIVE_MAGNIFICATION": 40,
        },
        "HIERARCHICAL": {
            "HIER_COUNT": 1,
            "NONHIER_COUNT": 0,
            "INDEXFILE": "Index.dat",
            "HIER_0_NAME": "Slide zoom level",
            "HIER_0_COUNT": levels,
        },
        "DATAFILE": {"FILE_COUNT": 1, "FILE_0": "Data0000.dat"},
    }
    for level in range(levels):
        sections["HIERARCHICAL"][f"HIER_0_VAL_{level}_SECTION"] = f"LEVEL_{level}"
        sections[f"LEVEL_{level}"] = {
            "OVERLAP_X": overlap / 2**level,
            "OVERLAP_Y": overlap / 2**level,
            "MICROMETER_PER_PIXEL_X": MRXS_MPP * 2**level,
            "MICROMETER_PER_PIXEL_Y": MRXS_MPP * 2**level,
            "IMAGE_CONCAT_FACTOR": min(level, 1),
            "IMAGE_FORMAT": "PNG",
            "IMAGE_FILL_COLOR_BGR": fill,
            "DIGITIZER_WIDTH": tile,
            "DIGITIZER_HEIGHT": tile,
        }
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for name, keys in sections.items()
    )


def write_bif(path, pixels, tile=128, overlap=0):
    """Write a Ventana BIF, each of whose tiles overlaps those before it and above it.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
        Whose tiles are cut at every `tile` - `overlap` pixels.

    References
    ----------
    OpenSlide, "Ventana format": iScan in the XMP of the first page, EncodeInfo in that of level 0.
    """
    step = tile - overlap
    rows, cols = ((length - overlap) // step for length in pixels.shape[:2])
    stored = _side_by_side(pixels, rows, cols, tile, step)
    xmp = ['<iScan Magnification="40" ScanRes="0.25" Z-layers="1"/>']
    xmp.append(
        '<EncodeInfo><SlideStitchInfo><ImageInfo AOIScanned="1" Pos-X="0" Pos-Y="0" '
        f'Width="{tile}" Height="{tile}" NumRows="{rows}" NumCols="{cols}">'
        f"{_joints(rows, cols, overlap)}</ImageInfo></SlideStitchInfo>"
        '<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    )
    pages = zip(("Label Image", "level=0 mag=40 quality=95"), (pixels[:64, :64], stored), xmp, strict=True)
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for description, image, text in pages:
            tags = [(700, 1, len(text), text.encode(), True)]
            tif.write(image, description=description, extratags=tags, tile=(tile, tile), **STORAGE)


def _side_by_side(pixels, rows, cols, tile, step):
    """Return tiles that overlap as one image, in which they do not."""
    return np.vstack(
        [
            np.hstack([pixels[y : y + tile, x : x + tile] for x in range(0, cols * step, step)])
            for y in range(0, rows * step, step)
        ]
    )


def _joints(rows, cols, overlap):
    """Return how tiles overlap; they are numbered from the lowest row up, to the right and back in turn."""

    def number(row, col):
        from_below = rows - 1 - row
        return from_below * cols + (cols - 1 - col if from_below % 2 else col) + 1

    def joint(direction, one, other, x, y):
        return (
            f'<TileJointInfo Direction="{direction}" Tile1="{number(*one)}" Tile2="{number(*other)}" '
            f'OverlapX="{x}" OverlapY="{y}" Confidence="100"/>'
        )

    places = [(row, col) for row in range(rows) for col in range(cols)]
    right = [joint("RIGHT", (row, col - 1), (row, col), overlap, 0) for row, col in places if col]
    up = [joint("UP", (row, col), (row - 1, col), 0, overlap) for row, col in places if row]
    return "".join(right + up)


def write_scn(path, shape, regions, levels=2, tile=64, light="brightfield"):
    """Write a Leica SCN: an overview of the whole slide, and an image for each region.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the slide, in pixels of level 0.
    regions : list of (int, int, (height, width, 3) uint8 array)
        Top, left and pixels of each, whose sides are multiples of 4**(levels - 1): of level n every 4**n-th
        pixel is taken.

    References
    ----------
    OpenSlide, "Leica format": places are in nanometres from the corner of the collection; `ifd` counts pages.
    """
    overview = np.full((shape[0] // 8, shape[1] // 8, 3), 90, np.uint8)
    pages, images = [], []
    for top, left, pixels, coarsest, step in [
        (0, 0, overview, 1, 8),
        *((*region, levels, 1) for region in regions),
    ]:
        dimensions = []
        for level in range(coarsest):
            part = pixels[:: 4**level, :: 4**level]
            dimensions.append(
                f'<dimension sizeX="{part.shape[1]}" sizeY="{part.shape[0]}" r="{level}" ifd="{len(pages)}"/>'
            )
            pages.append((part, 1e7 / (SCN_NM * step * 4**level)))
        height, width = (SCN_NM * step * side for side in pixels.shape[:2])
        images.append(
            f"<image><pixels>{''.join(dimensions)}</pixels>"
            f'<view sizeX="{width}" sizeY="{height}" offsetX="{SCN_NM * left}" offsetY="{SCN_NM * top}"/>'
            "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
            f"<illuminationSource>{light}</illuminationSource></illuminationSettings></scanSettings></image>"
        )
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection sizeX="{SCN_NM * shape[1]}" sizeY="{SCN_NM * shape[0]}">'
        f"{''.join(images)}</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, (part, per_cm) in enumerate(pages):
            tif.write(
                part,
                description=text if number == 0 else None,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                tile=(tile, tile),
                **STORAGE,
            )


def write_svs(
    path, tiles, shape, tile=128, maker="aperio", compression="zlib", photometric="rgb", coarser=()
):
    """Write an SVS, or a Philips TIFF.

    Parameters
    ----------
    tiles : list of array, bytes or None
        Pixels or data of each tile of level 0, in row-major order; None where the scanner left it out.
    shape : (int, int)
        Height and width in pixels.
    coarser : list of array
        Pixels of other levels, each half of the one before. Philips fills them up to whole tiles.

    References
    ----------
    OpenSlide, "Aperio format" and "Philips format".
    """
    spacing = '<Attribute Name="DICOM_PIXEL_SPACING">"{0}" "{0}"</Attribute>'
    philips = (
        '<DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>'
        '<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        + spacing.format(0.00025)
        + '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>'
        + "".join(
            f'<DataObject ObjectType="PixelDataRepresentation">{spacing.format(0.00025 * 2**n)}</DataObject>'
            for n in range(1 + len(coarser))
        )
        + "</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    aperio = f"Aperio Image Library v12\r\n{shape[1]}x{shape[0]} |AppMag = 40|MPP = 0.25"
    storage = STORAGE | {"tile": (tile, tile), "compression": compression, "photometric": photometric}
    storage["software"] = "Philips DP v1.0" if maker == "philips" else None
    with tifffile.TiffWriter(path) as tif:
        description = aperio if maker == "aperio" else philips
        tif.write(iter(tiles), shape=(*shape, 3), dtype=np.uint8, description=description, **storage)
        if maker == "aperio" and coarser:  # a thumbnail comes second
            tif.write(coarser[-1], description=aperio, **STORAGE)
        for pixels in coarser:
            description, is_reduced = (aperio, 0) if maker == "aperio" else (None, 1)
            tif.write(pixels, description=description, subfiletype=is_reduced, **storage)


def write_trestle(path, pixels, overlap, tile=128):
    """Write a Trestle slide of one level, each of whose tiles overlaps those before it and above it.

    References
    ----------
    OpenSlide, "Trestle format": the overlaps of each level are in the description, x first.
    """
    step = tile - overlap
    rows, cols = ((length - overlap) // step for length in pixels.shape[:2])
    stored = _side_by_side(pixels, rows, cols, tile, step)
    tifffile.imwrite(
        path,
        stored,
        software="MedScan",
        description=f"Background Color=00ffffff;Objective Power=20;OverlapsXY={overlap} {overlap};",
        tile=(tile, tile),
        **STORAGE,
    )
