import os
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.files.keys import COMPONENT_BYTES, encode

awkward_bytes = st.one_of(
    st.sampled_from([b"{", b"%", b"+", b"-", b"~", b"\n", b"\x7f", b"\xff", "ü".encode()])
)
parts = (
    st.lists(st.one_of(awkward_bytes, st.binary(min_size=1, max_size=3)), min_size=1, max_size=90)
    .map(b"".join)
    .map(lambda name: name.replace(b"/", b"").replace(b"\0", b"")[:255])
    .filter(lambda name: name not in (b"", b".", b".."))
)
filenames = st.lists(parts, min_size=1, max_size=3).map(b"/".join).map(os.fsdecode)


@given(filenames)
def test_each_byte_of_a_filename_is_in_its_key_unless_it_was_shortened(filename):
    for part, key in zip(filename.split("/"), encode(filename).split("/"), strict=True):
        if "+-" in key:
            assert len(key) == COMPONENT_BYTES
        else:
            assert unquote_to_bytes(key.replace("+", "%")) == os.fsencode(part)


@given(filenames)
def test_key_holds_nothing_that_a_shell_a_scheduler_or_a_file_system_changes(filename):
    key = encode(filename)
    assert re.fullmatch(r"[A-Za-z0-9._+/-]+", key)
    assert all(1 <= len(part) <= COMPONENT_BYTES for part in key.split("/"))


@given(filenames, filenames)
def test_different_filenames_have_different_keys(one, other):
    assert (encode(one) == encode(other)) == (one == other)


@pytest.mark.parametrize(
    ("filename", "key"),
    [
        ("north/scene_01-b.v2.tif", "north/scene_01-b.v2.tif"),
        ("a b.tif", "a+20b.tif"),
        ("100%.tif", "100+25.tif"),
        ("a+20b.tif", "a+2B20b.tif"),
        ("$(touch x).tif", "+24+28touch+20x+29.tif"),
        ("a\nb.tif", "a+0Ab.tif"),
        ("ü.tif", "+C3+BC.tif"),
        ("\udcff.tif", "+FF.tif"),
        ("a</script>.tif", "a+3C/script+3E.tif"),
    ],
)
def test_bytes_that_could_mean_something_are_written_in_hexadecimal(filename, key):
    assert encode(filename) == key


@pytest.mark.parametrize("common", ["a" * 200, " " * 70])
def test_names_that_differ_only_after_180_bytes_have_different_keys(common):
    one, other = encode(common + "1.tif"), encode(common + "2.tif")
    assert one != other
    assert len(one) == len(other) == COMPONENT_BYTES


def test_name_of_180_bytes_is_kept_and_one_of_181_is_shortened():
    assert encode("a" * 180) == "a" * 180
    assert "+-" in encode("a" * 181)
