import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.cells import harmless, original, show, visible


@pytest.mark.parametrize("text", ["=1+1", "+1", "-a.tif", "@SUM(A1)", "\t=1", "\r=1", "'=1"])
def test_text_that_starts_a_formula_gets_an_apostrophe(text):
    assert harmless(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a=b", "north/-a.tif", "1-2", "'quoted"])
def test_other_text_stays(text):
    assert harmless(text) == text


@given(st.text("'=-a", max_size=5))
def test_text_is_found_again_in_its_cell(text):
    assert original(harmless(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\x9b\n", r"\x9b\n"),
        ("fit.\u202egpj", r"fit.\u202egpj"),
        ("a\u2028b", r"a\u2028b"),
        ("\udcff.tif", r"\xff.tif"),
        ("ü\t雪", "ü\t雪"),
        (r"a\n", r"a\n"),
    ],
)
def test_what_a_terminal_would_not_show_as_it_is_is_written_out(text, shown):
    assert visible(text) == shown


def test_line_is_shown_whatever_it_quotes(capsys):
    show("\x1b]0;title\x07 \udcff.tif")
    assert capsys.readouterr().err == "\\x1b]0;title\\x07 \\xff.tif\n"
