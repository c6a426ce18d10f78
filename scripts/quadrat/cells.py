"""Cells of tables that a person may open in a spreadsheet."""

# What makes a cell a formula in Excel, LibreOffice or Google Sheets (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """Give a text that no spreadsheet takes for a formula: one that might be has an apostrophe before it.

    Only for text: a negative number is none.
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
