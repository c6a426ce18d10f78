import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.keys import COMPONENT_BYTES, decode, encode

awkward_bytes = st.one_of(st.sampled_from([b"{", b"}", b"%", b"~", b"\n", b"\x7f", b"\xff", "ü".encode()]))
parts = (
    st.lists(st.one_of(awkward_bytes, st.binary(min_size=1, max_size=3)), min_size=1, max_size=90)
    .map(b"".join)
    .map(lambda name: name.replace(b"/", b"").replace(b"\0", b"")[:255])
    .filter(lambda name: name not in (b"", b".", b".."))
)
filenames = st.lists(parts, min_size=1, max_size=3).map(b"/".join).map(os.fsdecode)


@given(filenames)
def test_key_gives_its_filename_back_unless_it_was_shortened(filename):
    key = encode(filename)
    if decode(key) is None:
        assert any(len(part.encode()) == COMPONENT_BYTES or "%~" in part for part in key.split("/"))
    else:
        assert decode(key) == filename


@given(filenames)
def test_key_is_text_that_snakemake_and_every_file_system_take(filename):
    key = encode(filename)
    key.encode()  # valid UTF-8
    assert not re.search(r"[{}\x00-\x1f\x7f]", key)
    assert all(1 <= len(part.encode()) <= 180 for part in key.split("/"))
    assert key.count("/") == filename.count("/")


@given(filenames, filenames)
def test_different_filenames_have_different_keys(one, other):
    assert (encode(one) == encode(other)) == (one == other)


@pytest.mark.parametrize(
    "filename", ["a b.tif", "-a.tif", "it's.tif", "#1.tif", "ü.tif", "x/a.tif", "雪.png"]
)
def test_common_filename_is_its_own_key(filename):
    assert encode(filename) == filename


@pytest.mark.parametrize(
    ("filename", "key"),
    [
        ("100%.tif", "100%25.tif"),
        ("{a}.tif", "%7Ba%7D.tif"),
        ("a\nb.tif", "a%0Ab.tif"),
        ("\udcff.tif", "%FF.tif"),
        ("a</script>.tif", "a%3C/script>.tif"),
    ],
)
def test_unsafe_characters_are_percent_encoded(filename, key):
    assert encode(filename) == key
    assert decode(key) == filename


def test_filename_that_looks_percent_encoded_is_not_taken_for_the_other():
    assert encode("a%20b.tif") != encode("a b.tif")
    assert decode(encode("%7Ba%7D.tif")) == "%7Ba%7D.tif"


def test_names_that_differ_only_after_180_bytes_have_different_keys():
    assert encode("a" * 200 + "1.tif") != encode("a" * 200 + "2.tif")


def test_name_of_180_bytes_is_kept_and_one_of_181_is_shortened():
    assert encode("a" * 180) == "a" * 180
    assert len(encode("a" * 181)) <= 180
    assert decode(encode("a" * 181)) is None


def test_long_name_is_not_cut_inside_a_character():
    assert encode("é" * 120).encode().decode() == encode("é" * 120)
