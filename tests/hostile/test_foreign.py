"""A file that names other files or servers, in any format of GDAL and OGR, leads nowhere."""

import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreign import band, foreign, source, tiff

FOLLOW = Path(__file__).with_name("follow.py")
IMAGE_ENDINGS = (".tif", ".png", ".jp2", ".vrt")
REGION_ENDINGS = (".gpkg", ".geojson")
IN_OPEN = 0x20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with an image in `secret`, which nobody may read, and none in `files`."""
    folder = tmp_path_factory.mktemp("foreign")
    for name in ("secret", "files"):
        (folder / name).mkdir()
    (folder / "secret/a.tif").write_bytes(tiff(""))
    return folder


@pytest.fixture(scope="module")
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def files(folder, server):
    """Return the folder of all foreign files under each ending."""
    contents = foreign(str(folder / "secret/a.tif"), f"http://127.0.0.1:{server.getsockname()[1]}")
    assert len(contents) > 50
    for name, content in contents.items():
        for ending in IMAGE_ENDINGS + REGION_ENDINGS:
            (folder / "files" / f"{name}{ending}").write_bytes(content)
    # GDAL reads these beside a BMP, whatever it is told; and beside others where it looks.
    for name, form in (("a.bmp", "BMP"), ("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.jp2", "JPEG2000")):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "files" / name, format=form)
        for beside in (".ovr", ".msk", ".aux.xml"):
            (folder / "files" / f"{name}{beside}").write_text(band(source(str(folder / "secret/a.tif"))))
    return folder / "files"


class Opened:
    """Whether a file is opened, as inotify(7) reports it."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._queue, os.fsencode(path), IN_OPEN) > 0

    def any(self):
        try:
            return bool(os.read(self._queue, 1 << 16))
        except BlockingIOError:
            return False
        finally:
            os.close(self._queue)


def is_asked(server):
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def follow(*command):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "GDAL_HTTP_TIMEOUT": "5"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def contents(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_no_file_leads_to_another_or_to_a_server_and_none_is_written(folder, files, server):
    opened, before = Opened(folder / "secret/a.tif"), contents(folder)
    read = follow(sys.executable, str(FOLLOW), str(files))
    assert not opened.any()
    assert not is_asked(server)
    assert contents(folder) == before
    assert [name for name in read["pixels"] if name not in ("a.gif", "a.webp", "a.jp2")] == []
    # These are GeoJSON without a feature, whose links are text.
    assert {name.partition(".")[0] for name in read["regions"]} <= {
        *("stacit", "oapif", "next_page", "esri_json", "eedai", "zarr", "kerchunk", "stacta"),
    }


def test_gdal_itself_would_follow(folder, server):
    secret, url = folder / "secret/a.tif", f"/vsicurl/http://127.0.0.1:{server.getsockname()[1]}/a.tif"
    opened = Opened(secret)
    for number, name in enumerate((secret, url)):
        (folder / f"{number}.tif").write_text(band(source(name)))
        code = f"import rasterio; rasterio.open({str(folder / f'{number}.tif')!r}).read(); print(0)"
        environment = os.environ | {"GDAL_HTTP_TIMEOUT": "1"}
        subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
        (folder / f"{number}.tif").unlink()
    assert opened.any()
    assert is_asked(server)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_nothing_else_is_opened_at_all(folder, files, tmp_path):
    log = tmp_path / "log"
    watched = "trace=open,openat,creat,connect,rename,mkdir,unlink"
    follow("strace", "-f", "-qq", "-e", watched, "-o", str(log), sys.executable, str(FOLLOW), str(files))
    calls = log.read_text(errors="replace").splitlines()
    assert [call for call in calls if "AF_INET" in call] == []
    written = [
        call for call in calls if re.search(r"O_WRONLY|O_RDWR|O_CREAT|(creat|rename|mkdir|unlink)\(", call)
    ]
    assert [call for call in written if "/dev/null" not in call and "ENOENT" not in call] == []
    paths = {match[1] for call in calls if "ENOENT" not in call and (match := re.search(r'"([^"]+)"', call))}
    # What Python, its packages and the system's libraries are.
    own = (
        sys.prefix,
        sys.base_prefix,
        str(Path(__file__).parents[2]),
        "/usr",
        "/lib",
        "/etc",
        "/proc",
        "/sys",
        "/dev",
    )
    allowed = {str(files), *map(str, files.iterdir())}
    assert sorted(path for path in paths - allowed if not path.startswith(own)) == []
