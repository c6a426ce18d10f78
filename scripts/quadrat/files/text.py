"""Text that people read: escaped on a terminal, in a log or a message, and tab-separated in a table."""

import csv
import io
import re
import sys
from collections.abc import Iterable
from typing import TextIO

# Characters that break lines, control a terminal, or change the direction of text (Unicode UAX #9) and so its
# meaning. The tab is not among them, since tables quote it.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

# Stands for bytes that are not UTF-8 where they are decoded as Python decodes names of files.
NOT_UTF_8 = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """Return a text with escapes in place of control characters and of bytes that are not UTF-8."""
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), decoded)


def visible_lines(text: str) -> str:
    """Return a text of several lines, such as a traceback, each of them visible and ended."""
    return "".join(f"{visible(line)}\n" for line in text.split("\n") if line)


def counted(number: int, noun: str, ending: str = "s") -> str:
    """Return a number of things, such as "1 image" or "1,200 images"."""
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def show(line: str, stream: TextIO | None = None) -> None:
    """Show a line on the terminal; control characters in it are escaped.

    Parameters
    ----------
    line : str
    stream : file, optional
        Default: stderr.
    """
    print(visible(line), file=stream or sys.stderr, flush=True)


def table_bytes(header: list[str], rows: Iterable[list]) -> bytes:
    """Return a table as tab-separated text; values with tabs, quotes or line breaks are quoted."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
