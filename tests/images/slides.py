"""Slides for the tests, written from what the formats' readers expect."""

import io
import sqlite3
import struct
from contextlib import closing

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


WHOLE_SLIDE, CT_IMAGE = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, JPEG_BASELINE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


def write_dicom(folder, pixels, tile=64, levels=1, **options):
    """Write a DICOM slide, a file per level: of level n every 2**n-th pixel is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    for level in range(levels):
        step = 2**level
        content = dicom(pixels[::step, ::step], tile, level=level, **options)
        (folder / f"level_{level}.dcm").write_bytes(content)


def dicom(
    pixels, tile, level=0, series="1.2.3", kind=WHOLE_SLIDE, flavour="VOLUME", jpeg=None, part=None, **changed
):
    """Return a DICOM file with an image in tiles.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
    flavour : str
        Third value of the image type.
    jpeg : dict, optional
        Options with which Pillow writes each tile as a JPEG.
    part : (int, int, int), optional
        Number and count of the files of the image, and the number of tiles in each.
    changed : bytes
        Values of elements by the name of their tag, such as `t00280010`.

    References
    ----------
    DICOM PS3.3, A.32.8 (VL Whole Slide Microscopy Image); PS3.5, 7.1 (elements); PS3.10, 7.1 (preamble).
    """
    height, width = pixels.shape[:2]
    corners = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    if part:
        count = part[2]
        corners = corners[(part[0] - 1) * count : part[0] * count]
    frames = (_filled_up(pixels[y : y + tile, x : x + tile], tile) for y, x in corners)
    syntax = EXPLICIT if jpeg is None else JPEG_BASELINE
    spacing = f"{0.00025 * 2**level}\\{0.00025 * 2**level}"
    own = f"{series}.{level + 1}.{part[0] if part else 0}"
    elements = {
        0x00020002: ("UI", kind),
        0x00020003: ("UI", own),
        0x00020010: ("UI", syntax),
        0x00080008: ("CS", rf"DERIVED\PRIMARY\{flavour}\{'RESAMPLED' if level else 'NONE'}"),
        0x00080016: ("UI", kind),
        0x00080018: ("UI", own),
        0x0020000E: ("UI", series),
        0x00209311: ("CS", "TILED_FULL"),
        0x00280002: ("US", 3),
        0x00280004: ("CS", "RGB" if jpeg is None else "YBR_FULL_422"),
        0x00280006: ("US", 0),
        0x00280008: ("IS", str(len(corners))),
        0x00280010: ("US", tile),
        0x00280011: ("US", tile),
        0x00280100: ("US", 8),
        0x00280101: ("US", 8),
        0x00280102: ("US", 7),
        0x00280103: ("US", 0),
        0x00480006: ("UL", width),
        0x00480007: ("UL", height),
        0x52009229: ("SQ", _items(_element(0x00289110, "SQ", _items(_element(0x00280030, "DS", spacing))))),
    }
    if part:
        elements |= {
            0x00200242: ("UI", f"{series}.{level + 1}"),
            0x00209161: ("UI", f"{series}.9"),
            0x00209162: ("US", part[0]),
            0x00209163: ("US", part[1]),
            0x00209228: ("UL", (part[0] - 1) * part[2]),
        }
    for name, value in changed.items():
        tag = int(name.removeprefix("t"), 16)
        elements[tag] = (elements.get(tag, ("UI",))[0], value)
    if jpeg is None:
        data = _element(0x7FE00010, "OB", b"".join(frame.tobytes() for frame in frames))
    else:
        coded = b"".join(_items(_jpeg(frame, **jpeg)) for frame in frames)
        end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        data = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + _items(b"") + coded + end
    written = {tag: _element(tag, *elements[tag]) for tag in sorted(elements)}
    meta = b"".join(value for tag, value in written.items() if tag < 0x00030000)
    rest = b"".join(value for tag, value in written.items() if tag > 0x00030000)
    return bytes(128) + b"DICM" + _element(0x00020000, "UL", len(meta)) + meta + rest + data


def _filled_up(pixels, tile):
    whole = np.zeros((tile, tile, 3), np.uint8)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    return whole


def _jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def _element(tag, kind, value):
    if isinstance(value, int):
        value = struct.pack("<H" if kind == "US" else "<I", value)
    if isinstance(value, str):
        value = value.encode()
    value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind in ("OB", "SQ") else struct.pack("<H", len(value))
    return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind.encode()) + length + value


def _items(content):
    content += b"\0" * (len(content) % 2)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def write_vms(path, pixels, columns=2, rows=2, **changed):
    """Write a Hamamatsu VMS: a text beside a JPEG per part and one of the whole slide, of every fourth pixel.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
        Whose sides are multiples of 64 for each part.
    changed : str
        Values of keys of the text.

    References
    ----------
    OpenSlide, "Hamamatsu format": a tile of a JPEG ends with a restart marker.
    """
    keys = {
        "NoLayers": 1,
        "NoJpegColumns": columns,
        "NoJpegRows": rows,
        "PhysicalWidth": 250 * pixels.shape[1],  # nanometres
        "PhysicalHeight": 250 * pixels.shape[0],
        "MapFile": f"{path.stem}_map.jpg",
        "MacroImage": f"{path.stem}_macro.jpg",
        "OptimisationFile": f"{path.stem}.opt",
    }
    for row, part_row in enumerate(np.vsplit(pixels, rows)):
        for col, part in enumerate(np.hsplit(part_row, columns)):
            name = f"{path.stem}({col},{row}).jpg" if row or col else f"{path.stem}.jpg"
            keys[f"ImageFile({col},{row})" if row or col else "ImageFile"] = name
            _write_restarting(path.with_name(name), part)
    _write_restarting(path.with_name(keys["MapFile"]), pixels[::4, ::4])
    _write_restarting(path.with_name(keys["MacroImage"]), pixels[:64, :64])
    lines = [f"{key}={value}" for key, value in (keys | changed).items()]
    path.write_text("\r\n".join(["[Virtual Microscope Specimen]", *lines, ""]))


def _write_restarting(path, pixels):
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        path, "JPEG", quality=95, subsampling=0, restart_marker_blocks=8
    )


def write_vmu(path, pixels, column=32, **changed):
    """Write a Hamamatsu VMU: a text beside two raw images, the second of every fourth pixel.

    References
    ----------
    OpenSlide, "Hamamatsu format": NGR files have columns of samples of 12 bit.
    """
    keys = {
        "NoLayers": 1,
        "ImageFile": f"{path.stem}.ngr",
        "MapFile": f"{path.stem}_map.ngr",
        "BitsPerPixel": 36,
        "PixelOrder": "RGB",
    } | changed
    for name, part in ((f"{path.stem}.ngr", pixels), (f"{path.stem}_map.ngr", pixels[::4, ::4])):
        height, width = part.shape[:2]
        side = min(column, width)
        header = struct.pack("<2s2x3i8xi", b"GN", width, height, side, 28)
        columns = [part[:, x : x + side].astype("<u2") << 4 for x in range(0, width, side)]
        path.with_name(name).write_bytes(header + b"".join(column.tobytes() for column in columns))
    lines = [f"{key}={value}" for key, value in keys.items()]
    path.write_text("\n".join(["[Uncompressed Virtual Microscope Specimen]", *lines, ""]))


def write_svslide(path, pixels, tile=64, levels=2, side=None):
    """Write a Sakura svslide: a database with a gray JPEG per tile and colour.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
        Of level n every 2**n-th pixel is taken.
    side : int, optional
        Side of a tile that the header claims.

    References
    ----------
    OpenSlide, "Sakura format".
    """
    height, width = pixels.shape[:2]
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE DataManagerSQLiteConfigXPO (TableName TEXT)")
        base.execute("INSERT INTO DataManagerSQLiteConfigXPO VALUES ('slide')")
        base.execute("CREATE TABLE slide (id TEXT, data BLOB)")
        base.execute("CREATE TABLE SVSlideDataXPO (OID, m_labelScan, m_overviewScan)")
        base.execute("CREATE TABLE SVHRScanDataXPO (ParentSlide, ResolutionMmPerPix)")
        base.execute("INSERT INTO SVSlideDataXPO VALUES (1, 0, 0)")
        base.execute("INSERT INTO SVHRScanDataXPO VALUES (1, 0.00025)")
        header = struct.pack("<3I4xI", side or tile, width, height, 1)
        base.executemany(
            "INSERT INTO slide VALUES (?, ?)", [("++MagicBytes", "SVGigaPixelImage"), ("Header", header)]
        )
        for level in range(levels):
            step = 2**level
            coarse = pixels[::step, ::step]
            for y in range(0, coarse.shape[0], tile):
                for x in range(0, coarse.shape[1], tile):
                    whole = _filled_up(coarse[y : y + tile, x : x + tile], tile)
                    for colour in range(3):
                        name = f"T;{x * step}|{y * step};{step};{colour};0"
                        base.execute("INSERT INTO slide VALUES (?, ?)", (name, _jpeg(whole[..., colour])))


def write_czi(path, pixels, tile=64, levels=2, kind=3, claimed=None):
    """Write a Zeiss CZI of tiles without compression.

    Parameters
    ----------
    pixels : (height, width, 3) uint8 array
        Of level n every 2**n-th pixel is taken.
    kind : int
        Type of the pixels: 3 is 8 bit in the order blue, green, red, and 0 is gray.
    claimed : int, optional
        Side of a tile that the directory claims.

    References
    ----------
    ZEISS, "CZI file format": segments of a header, subblocks, a directory of them, metadata, attachments.
    """
    height, width = pixels.shape[:2]
    blocks, entries, position = [], [], 32 + 512
    for level in range(levels):
        step = 2**level
        coarse = pixels[::step, ::step]
        for y in range(0, coarse.shape[0], tile):
            for x in range(0, coarse.shape[1], tile):
                part = coarse[y : y + tile, x : x + tile]
                entry = _czi_entry(
                    part.shape, y * step, x * step, step, position, kind, len(entries), claimed
                )
                data = np.ascontiguousarray(part[..., ::-1]).tobytes()
                body = (struct.pack("<iiq", 0, 0, len(data)) + entry).ljust(256, b"\0") + data
                blocks.append(_czi_segment("ZISRAWSUBBLOCK", body))
                entries.append(entry)
                position += len(blocks[-1])
    xml = (
        f"<ImageDocument><Metadata><Information><Image><SizeX>{width}</SizeX><SizeY>{height}</SizeY></Image>"
        '</Information><Scaling><Items><Distance Id="X"><Value>2.5e-07</Value></Distance>'
        '<Distance Id="Y"><Value>2.5e-07</Value></Distance></Items></Scaling></Metadata></ImageDocument>'
    ).encode()
    directory = _czi_segment("ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries))
    metadata = _czi_segment("ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
    attachments = _czi_segment("ZISRAWATTDIR", struct.pack("<i252x", 0))
    places = (position, position + len(directory), position + len(directory) + len(metadata))
    start = struct.pack("<4i16s16si2qiq", 1, 0, 0, 0, b"a" * 16, b"a" * 16, 0, *places[:2], 0, places[2])
    header = _czi_segment("ZISRAWFILE", start.ljust(512, b"\0"))
    path.write_bytes(header + b"".join(blocks) + directory + metadata + attachments)


def _czi_segment(name, body):
    return struct.pack("<16sqq", name.encode(), len(body), len(body)) + body


def _czi_entry(shape, top, left, step, position, kind, number, claimed):
    height, width = shape[:2]
    sides = [(b"X", left, width * step, claimed or width), (b"Y", top, height * step, claimed or height)]
    sides += [(b"M", number, 1, 1)]
    dimensions = b"".join(
        struct.pack("<4siifi", name, at, size, at, stored) for name, at, size, stored in sides
    )
    return struct.pack("<2siqii6xi", b"DV", kind, position, 0, 0, len(sides)) + dimensions
