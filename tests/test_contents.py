import os

import pytest
import xxhash

from quadrat import contents
from quadrat.contents import hash_file, is_hash, mark, signature


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"pixels")
    return path


def test_hash_of_an_empty_file_is_the_published_one(path):
    path.write_bytes(b"")
    assert hash_file(path) == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 3000, 12_345])
def test_hash_read_in_pieces_is_that_of_all_bytes(path, monkeypatch, size):
    monkeypatch.setattr(contents, "READ_BYTES", 1000)
    content = os.urandom(size)
    path.write_bytes(content)
    assert hash_file(path) == xxhash.xxh3_128_hexdigest(content)


def test_file_that_cannot_be_read_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "missing.tif")


def test_signature_of_a_file_left_alone_stays(path):
    before = signature(os.stat(path))
    path.read_bytes()
    assert signature(os.stat(path)) == before


def test_signature_tells_size_and_times(path):
    stat = os.stat(path)
    assert signature(stat) == (6, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def test_replacing_a_file_by_one_of_the_same_size_and_time_changes_its_signature(path, tmp_path):
    before = os.stat(path)
    other = tmp_path / "other"
    other.write_bytes(b"PIXELS")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)
    assert signature(os.stat(path)) != signature(before)
    assert signature(os.stat(path))[:2] == signature(before)[:2]


def test_mark_changes_when_a_file_is_written_to(path):
    before = mark(path)
    assert mark(path) == before == [6, os.stat(path).st_mtime_ns]
    path.write_bytes(b"pixels and more")
    assert mark(path) != before


def test_hash_is_told_from_size_and_time(path):
    assert is_hash(hash_file(path))
    assert not is_hash(f"6-{os.stat(path).st_mtime_ns}")
    assert not is_hash("")
