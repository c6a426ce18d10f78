import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import rasterio

from quadrat.errors import ImageError
from quadrat.readers import open_image

# Each leads GDAL to a server.
FILES = {
    "WMS": """<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>
        <DataWindow><UpperLeftX>-1</UpperLeftX><UpperLeftY>1</UpperLeftY><LowerRightX>1</LowerRightX>
        <LowerRightY>-1</LowerRightY><TileLevel>3</TileLevel></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>""",
    "WMTS": "<GDAL_WMTS><GetCapabilitiesUrl>{url}/all</GetCapabilitiesUrl><Layer>a</Layer></GDAL_WMTS>",
    "WCS": "<WCS_GDAL><ServiceURL>{url}/wcs?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
    "VRT": """<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">
        <SimpleSource><SourceFilename>/vsicurl/{url}/a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>""",
}


@pytest.fixture
def server():
    """Give the address of a server, and the list of what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def parse_request(self):
            asked.append(self.raw_requestline)
            return False

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("ending", ["tif", "vrt"])
@pytest.mark.parametrize("form", FILES)
def test_file_that_names_a_server_is_refused_and_the_server_not_asked(tmp_path, server, form, ending):
    url, asked = server
    path = tmp_path / f"a.{ending}"
    path.write_text(FILES[form].format(url=url))
    with pytest.raises(ImageError):
        open_image(path)
    assert asked == []


def test_gdal_itself_would_ask_the_server(tmp_path, server):
    url, asked = server
    (tmp_path / "a.tif").write_text(FILES["WMTS"].format(url=url))
    with pytest.raises(rasterio.RasterioIOError):
        rasterio.open(tmp_path / "a.tif")
    assert asked
