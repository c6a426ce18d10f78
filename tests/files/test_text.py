import pytest

from quadrat.files.text import counted, show, visible


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


@pytest.mark.parametrize(
    ("number", "noun", "shown"),
    [(0, ["image"], "0 images"), (1, ["image"], "1 image"), (1200, ["patch", "es"], "1,200 patches")],
)
def test_one_thing_is_no_plural(number, noun, shown):
    assert counted(number, *noun) == shown
