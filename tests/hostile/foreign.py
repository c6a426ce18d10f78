"""Files of formats that can name other files or servers, for GDAL and OGR to follow."""

# ruff: noqa: E501  the files are texts, as they are

import struct
from io import BytesIO

import imagecodecs
import numpy as np
import tifffile

VRT = '<VRTDataset rasterXSize="64" rasterYSize="64"{root}>{inside}</VRTDataset>'
BAND = '<VRTRasterBand dataType="Byte" band="1"{kind}>{inside}</VRTRasterBand>'
SOURCE = "<SimpleSource{more}><SourceFilename{relative}>{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
TILES = (
    "<DataWindow><UpperLeftX>-1</UpperLeftX><UpperLeftY>1</UpperLeftY><LowerRightX>1</LowerRightX>"
    "<LowerRightY>-1</LowerRightY><TileLevel>3</TileLevel></DataWindow><BandsCount>3</BandsCount>"
)


def band(inside, kind="", root=""):
    return VRT.format(root=root, inside=BAND.format(kind=kind, inside=inside))


def source(name, relative="", more=""):
    return SOURCE.format(name=name, relative=relative, more=more)


def sql_class(name):
    return f' subClass="{name}"'


def foreign(secret, url):
    """Return the content of each file by name, as bytes.

    Parameters
    ----------
    secret : str
        Path of an image that no file may lead to.
    url : str
        Address of a server that no file may lead to.
    """
    inline = band(source(secret)).replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    raw = "<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>64</LineOffset>"
    texts = {
        # Virtual rasters that are not checked: a VRT of plain sources is, under its own ending.
        "vrt_url": band(source(f"/vsicurl/{url}/a.tif")),
        "vrt_connection": band(source(f"vrt://{secret}")),
        "vrt_inline": band(source(inline)),
        "vrt_attribute": band(
            f'<SimpleSource SourceFilename="{secret}"><SourceBand>1</SourceBand></SimpleSource>'
        ),
        "vrt_space": band(source(f" {secret}")),
        "vrt_raw": band(f"<SourceFilename>{secret}</SourceFilename>{raw}", sql_class("VRTRawRasterBand")),
        "vrt_overview": VRT.format(
            root="",
            inside=f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{secret}</MDI></Metadata>'
            + BAND.format(kind="", inside=""),
        ),
        "vrt_processed": VRT.format(
            root=sql_class("VRTProcessedDataset"),
            inside=f"<Input><SourceFilename>{secret}</SourceFilename></Input><ProcessingSteps/>",
        ),
        "vrt_multidimensional": VRT.format(
            root="",
            inside='<Group name="/"><Array name="a"><DataType>Byte</DataType><Dimension name="x" size="4"/>'
            f"<Source><SourceFilename>{secret}</SourceFilename></Source></Array></Group>",
        ),
        "vrt_open_options": band(
            source(secret).replace(
                "<SourceBand>", '<OpenOptions><OOI key="A">B</OOI></OpenOptions><SourceBand>'
            )
        ),
        "vrt_subdataset": band(source(f'HDF5:"{secret}"://a')),
        # Rasters
        "wms": f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}</ServerUrl></Service>{TILES}</GDAL_WMS>',
        "wms_arcgis": f'<GDAL_WMS><Service name="AGS"><ServerUrl>{url}</ServerUrl></Service>{TILES}</GDAL_WMS>',
        "wmts": f"<GDAL_WMTS><GetCapabilitiesUrl>{url}/all</GetCapabilitiesUrl><Layer>a</Layer></GDAL_WMTS>",
        "wcs": f"<WCS_GDAL><ServiceURL>{url}/wcs?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
        "gti": f"<GDALTileIndexDataset><IndexDataset>{secret}</IndexDataset></GDALTileIndexDataset>",
        "mrf": f'<MRF_META><CachedSource><Source>{secret}</Source></CachedSource><Raster><Size x="4" y="4"/>'
        f"<DataFile>{secret}</DataFile></Raster></MRF_META>",
        "stacit": f'{{"type": "FeatureCollection", "stac_version": "1.0.0", "features": [{{"type": "Feature", '
        f'"stac_version": "1.0.0", "properties": {{"proj:epsg": 4326}}, "assets": {{"a": {{"href": "{url}/a.tif"}}}}}}]}}',
        "stacta": f'{{"stac_extensions": ["tiled-assets"], "asset_templates": {{"a": {{"href": "{url}/a.tif"}}}}}}',
        "eedai": f'{{"type": "IMAGE", "name": "{url}", "bands": []}}',
        "pds": f'PDS_VERSION_ID = PDS3\r\n^IMAGE = "{secret}"\r\nOBJECT = IMAGE\r\nLINES = 64\r\n'
        "LINE_SAMPLES = 64\r\nSAMPLE_TYPE = UNSIGNED_INTEGER\r\nSAMPLE_BITS = 8\r\nEND_OBJECT = IMAGE\r\nEND\r\n",
        "pds4": f'<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1"><File_Area_Observational><File>'
        f"<file_name>{secret}</file_name></File></File_Area_Observational></Product_Observational>",
        "isis3": f"Object = IsisCube\n Object = Core\n ^Core = {secret}\n Format = Tile\n End_Object\nEnd_Object\nEnd\n",
        "til": f'BandId = "RGB"\nnumTiles = 1;\nBEGIN_GROUP = TILE_1\nfilename = "{secret}";\nEND_GROUP\n',
        "ers": f'DatasetHeader Begin\n DataFile = "{secret}"\n RasterInfo Begin\n RasterInfo End\nDatasetHeader End\n',
        "envi": f"ENVI\nsamples = 64\nlines = 64\nbands = 1\ndata type = 1\ndata file = {secret}\n",
        "ehdr": "BYTEORDER I\nLAYOUT BIL\nNROWS 64\nNCOLS 64\nNBANDS 1\n",
        "dimap": f'<Dimap_Document><Data_Access><Data_File><DATA_FILE_PATH href="{secret}"/></Data_File></Data_Access>'
        "</Dimap_Document>",
        "sentinel2": f"<n1:Level-1C_User_Product><IMAGE_FILE>{secret}</IMAGE_FILE></n1:Level-1C_User_Product>",
        "safe": f'<xfdu:XFDU><dataObject><fileLocation href="{secret}"/></dataObject></xfdu:XFDU>',
        "tsx": f"<level1Product><filename>{secret}</filename></level1Product>",
        "rs2": f"<product><fullResolutionImageData>{secret}</fullResolutionImageData></product>",
        "superoverlay": f"<kml><Document><GroundOverlay><Icon><href>{secret}</href></Icon></GroundOverlay></Document></kml>",
        "rraster": f"[general]\ncreator=R\n[data]\ndatatype=INT1U\nfilename={secret}\n",
        "rpftoc": f"A.TOC {secret}",
        "ozi": f"OziExplorer Map Data File Version 2.2\na\n{secret}\n",
        "map": f"OziExplorer Map Data File Version 2.2\na\n{secret}\n1 ,Map Code,\nWGS 84\n",
        "zarr": '{"zarr_format": 2, "shape": [64, 64], "chunks": [64, 64], "dtype": "|u1"}',
        "kerchunk": f'{{"version": 1, "refs": {{".zgroup": "{{}}", "a/0": ["{url}/a", 0, 9]}}}}',
        "hdf5": "\x89HDF\r\n\x1a\n",
        "netcdf": "CDF\x01",
        # Vectors
        "ogr_vrt": f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{secret}</SrcDataSource>'
        f"<SrcSQL>VACUUM INTO '{secret}.made'</SrcSQL></OGRVRTLayer></OGRVRTDataSource>",
        "gdalg": f'{{"type": "gdal_streamed_alg", "command_line": "gdal raster pipeline read {secret} ! stream"}}',
        "wfs": f"<OGRWFSDataSource><URL>{url}/wfs</URL></OGRWFSDataSource>",
        "oapif": f'{{"type": "FeatureCollection", "links": [{{"rel": "data", "href": "{url}/collections"}}], "features": []}}',
        "next_page": f'{{"type": "FeatureCollection", "features": [], "links": [{{"rel": "next", "href": "{url}/2"}}]}}',
        "esri_json": f'{{"geometryType": "esriGeometryPoint", "fields": [], "features": [], "url": "{url}"}}',
        "geojson_crs": f'{{"type": "FeatureCollection", "features": [], "crs": {{"type": "link", "properties": {{"href": "{url}"}}}}}}',
        "geojson_crs_name": f'{{"type": "FeatureCollection", "features": [], "crs": {{"type": "name", "properties": {{"name": "{url}"}}}}}}',
        "gml": f'<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml" xmlns:xsi="http://www.w3.org/2001/'
        f'XMLSchema-instance" xsi:schemaLocation="a {url}/a.xsd"><gml:featureMember xlink:href="{url}/b"/>'
        "</gml:FeatureCollection>",
        "kml": f"<kml><Document><NetworkLink><Link><href>{url}/a.kml</href></Link></NetworkLink></Document></kml>",
        "georss": f'<rss version="2.0"><channel><item><link>{url}</link></item></channel></rss>',
        "mapml": f'<mapml-><map-head/><map-body><map-link href="{url}"/></map-body></mapml->',
        "entity": f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file://{secret}">]><gpx>&b;</gpx>',
    }
    contents = {name: text.encode("latin-1") for name, text in texts.items()}
    item = '<GDALMetadata><Item name="OVERVIEW_FILE" domain="OVERVIEWS">{}</Item></GDALMetadata>'
    for name, target in (("tiff_overview_file", secret), ("tiff_overview_url", f"/vsicurl/{url}/a.tif")):
        contents[name] = tiff(item.format(target))
    contents["jp2_overview_file"] = jp2(secret)
    return contents


def tiff(metadata):
    file, tags = BytesIO(), [(42112, "s", 0, metadata, True)]
    tifffile.imwrite(file, np.zeros((64, 64), np.uint8), photometric="minisblack", extratags=tags)
    return file.getvalue()


def jp2(overviews):
    """Return a JPEG 2000 file whose box of XML names a file of overviews."""
    text = (
        '<GDALMultiDomainMetadata><Metadata domain="OVERVIEWS">'
        f'<MDI key="OVERVIEW_FILE">{overviews}</MDI></Metadata></GDALMultiDomainMetadata>'
    ).encode()
    image = imagecodecs.jpeg2k_encode(np.zeros((64, 64), np.uint8), codecformat="jp2")
    place = image.index(b"jp2c") - 4
    return image[:place] + struct.pack(">I4s", 8 + len(text), b"xml ") + text + image[place:]
