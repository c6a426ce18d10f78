import os

import pytest
import xxhash

from quadrat.files import hashing
from quadrat.files.hashing import hash_file, is_hash, join_hashes, stat_token


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
    monkeypatch.setattr(hashing, "READ_BYTES", 1000)
    content = os.urandom(size)
    path.write_bytes(content)
    assert hash_file(path) == xxhash.xxh3_128_hexdigest(content)


def test_file_that_cannot_be_read_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "missing.tif")


def test_stat_token_of_a_file_left_alone_stays(path):
    before = stat_token(os.stat(path))
    path.read_bytes()
    assert stat_token(os.stat(path)) == before


def test_stat_token_tells_size_and_times(path):
    stat = os.stat(path)
    assert stat_token(stat) == (6, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def test_replacing_a_file_by_one_of_the_same_size_and_time_changes_its_stat_token(path, tmp_path):
    before = os.stat(path)
    other = tmp_path / "other"
    other.write_bytes(b"PIXELS")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)
    assert stat_token(os.stat(path)) != stat_token(before)
    assert stat_token(os.stat(path))[:2] == stat_token(before)[:2]


def test_only_ctime_changes_when_a_file_is_linked_or_made_executable(path, tmp_path):
    before = stat_token(os.stat(path))
    os.link(path, tmp_path / "link")
    path.chmod(0o755)
    after = stat_token(os.stat(path))
    assert (after[:2], after[3]) == (before[:2], before[3])
    path.write_bytes(b"pixels and more")
    assert stat_token(os.stat(path))[:2] != before[:2]


def test_size_and_time_are_no_hash(path):
    assert is_hash(hash_file(path))
    assert not is_hash(f"6-{os.stat(path).st_mtime_ns}")
    assert not is_hash("")


def test_stat_token_of_several_files_tells_when_one_of_them_is_replaced_or_touched(path, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"PIXELS")
    stats = os.stat(path), os.stat(other)
    before = stat_token(*stats)
    assert stat_token(os.stat(path), os.stat(other)) == before
    assert before[0] == 12
    os.utime(other, ns=(0, 0))
    assert all(
        new != old
        for new, old in zip(stat_token(os.stat(path), os.stat(other))[1:3], before[1:3], strict=True)
    )
    os.utime(other, ns=(stats[1].st_atime_ns, stats[1].st_mtime_ns))
    assert stat_token(os.stat(path), os.stat(other))[:2] == before[:2]
    assert stat_token(os.stat(path), os.stat(other)) != before


def test_joint_hash_shows_content_and_order_of_files():
    one, other = "1" * 32, "2" * 32
    assert join_hashes([one]) == one
    assert is_hash(join_hashes([one, other]))
    assert len({one, other, join_hashes([one, other]), join_hashes([other, one])}) == 4
