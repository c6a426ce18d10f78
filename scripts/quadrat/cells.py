"""Cells of tables that a person may open in a spreadsheet, or see on a terminal."""

import re

# What makes a cell a formula in Excel, LibreOffice or Google Sheets (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


# All but the tab, which tables quote: they would break lines, or do things to a terminal.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Give a text in which control characters, but the tab, are written out as escapes."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def harmless(text: str) -> str:
    """Give a text that no spreadsheet takes for a formula: one that might be has an apostrophe before it.

    Only for text: a negative number is none.
    """
    return f"'{text}" if _might_be_formula(text) else text


def original(cell: str) -> str:
    """Give the text that `harmless` made a cell of."""
    return cell[1:] if cell.startswith("'") and _might_be_formula(cell) else cell


def _might_be_formula(text: str) -> bool:
    # Also where it has apostrophes before it, so that no two texts make one cell.
    return text.lstrip("'").startswith(FORMULA_STARTS)
