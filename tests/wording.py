"""Compare how often texts have wordings that shall go with the counts in wording.tsv; `make lint` runs it.

A count may only fall. Each row of the table has a regular expression, what to write instead, and its count.
"""

import ast
import csv
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".tsv")
FILES = ("scripts/**/*.py", "scripts/**/*.yaml", "workflow/**/*.smk", "docs/*.md", "README.md")
# Comments and quoted strings of Snakemake's language, which is not quite Python's.
QUOTED = re.compile(r'"""[\s\S]*?"""|"[^"\n]*"|#.*')


class Text(NamedTuple):
    """A text, and the line where it begins."""

    line: int
    text: str


def texts(path: Path) -> Iterator[Text]:
    """Yield the texts of a file: docstrings, comments and messages, or the whole of a document."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".smk":
        for found in QUOTED.finditer(content):
            yield Text(1 + content.count("\n", 0, found.start()), found[0].strip('"# '))
    elif path.suffix == ".py":
        yield from _strings(ast.parse(content))
        yield from _comments(content)
    else:
        yield Text(1, content)


def _strings(node: ast.AST) -> Iterator[Text]:
    """Yield each string once, an f-string whole, with {} for its values."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield Text(node.lineno, "".join(map(str, parts)))
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield Text(node.lineno, node.value)
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _comments(content: str) -> Iterator[Text]:
    """Yield comments; lines that follow each other are one."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != last + 1:
            yield Text(last - len(block) + 1, "\n".join(block))
            block = []
        block.append(token.string.lstrip("# "))
        last = token.start[0]
    if block:
        yield Text(last - len(block) + 1, "\n".join(block))


def main() -> None:
    """Fail where a count differs from its record; show the places where it rose."""
    found = [
        (path.relative_to(PROJECT), text)
        for pattern in FILES
        for path in sorted(PROJECT.glob(pattern))
        for text in texts(path)
    ]
    is_wrong = False
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for row in rows:
        places = [
            (f"{path}:{text.line + text.text.count(chr(10), 0, match.start())}", " ".join(match[0].split()))
            for path, text in found
            for match in re.finditer(row["pattern"].replace(" ", r"\s+"), text.text, re.MULTILINE)
        ]
        before = int(row["count"])
        if len(places) > before:
            for place, words in places:
                print(f"{place}: '{words}'; write instead: {row['instead']}")
        advice = "mend the new one" if len(places) > before else f"lower the count to {len(places)}"
        if len(places) != before:
            is_wrong = True
            print(f"{row['pattern']}: {len(places)} places, {before} in tests/wording.tsv; {advice}\n")
    if is_wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
