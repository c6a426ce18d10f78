"""The documents as their readers see them: headings, blocks of code, commands to type, links."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path.relative_to(PROJECT).as_posix()
    for pattern in ("*.md", "docs/*.md", "examples/*/*.md", "benchmarks/*.md")
    for path in PROJECT.glob(pattern)
)
PROGRAMS = (
    "apptainer|bash|conda|docker|find|gdal_translate|gdaladdo|gdalbuildvrt|git|hf|make|pip|podman|python|"
    "sbatch|scancel|scontrol|sinfo|snakemake|squeue"
)
MARKDOWN = MarkdownIt("commonmark").enable("table")


class Piece(NamedTuple):
    """A part of a document: where it stands, and what it says.

    Its kind is that of markdown-it's token (`fence`, `code_block`, `code_inline`, `heading`), or `link`; the
    language is that of a fenced block.
    """

    document: str
    line: int
    heading: str
    kind: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"


@cache
def pieces(document: str) -> list[Piece]:
    """List what a document consists of, but for its plain text."""
    return list(_pieces(document, MARKDOWN.parse((PROJECT / document).read_text(encoding="utf-8"))))


def _pieces(document: str, tokens: list[Token]) -> Iterator[Piece]:
    heading, line, is_heading = "", 0, False
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        if token.type in ("fence", "code_block"):
            yield Piece(document, line, heading, token.type, token.info.strip(), token.content)
        if token.type == "inline" and is_heading:
            heading = token.content
            yield Piece(document, line, heading, "heading", "", heading)
        for child in token.children or ():
            if child.type == "code_inline":
                yield Piece(document, line, heading, child.type, "", child.content)
            if child.type in ("link_open", "image"):
                yield Piece(
                    document, line, heading, "link", "", child.attrs.get("href") or child.attrs["src"]
                )
        is_heading = token.type == "heading_open"


def blocks(language: str, *documents: str) -> list[Piece]:
    """List the fenced blocks of a language, in some documents or in all."""
    return [
        piece
        for document in documents or DOCUMENTS
        for piece in pieces(document)
        if piece.kind == "fence" and piece.language == language
    ]


def commands(*documents: str) -> list[Piece]:
    """List what readers are to type, whether it stands in a block or in the text; options count, too."""
    found = []
    for piece in (piece for document in documents or DOCUMENTS for piece in pieces(document)):
        if piece.kind == "fence" and piece.language == "sh":
            found += [piece._replace(text=text) for text in _typed(piece.text)]
        elif piece.kind == "code_inline" and re.match(rf"(?:{PROGRAMS}) \S|--[a-z]", piece.text):
            found.append(piece)
    return found


def _typed(code: str) -> list[str]:
    """Split a block into what is typed at once: a line with those that continue it, or a whole loop."""
    code = re.sub(r"\\\n\s*", "", code)
    if re.search(r"^(?:for|while) ", code, re.MULTILINE):
        return [code]
    lines = (re.sub(r"\s+#\s.*", "", line).strip() for line in code.splitlines())
    return [line for line in lines if line]


def cell_values(block: Piece) -> list[Any]:
    """Run a block of Python as the cells of a notebook, and give the values of its expressions."""
    names, values = {}, []
    for part in ast.parse(block.text).body:
        if isinstance(part, ast.Expr):
            values.append(eval(compile(ast.Expression(part.value), str(block), "eval"), names))
        else:
            exec(compile(ast.Module([part], []), str(block), "exec"), names)
    return values


def rows(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables under a heading, as they are written, without the first row of each."""
    found, current, is_heading = [], "", False
    for token in MARKDOWN.parse((PROJECT / document).read_text(encoding="utf-8")):
        if token.type == "inline" and is_heading:
            current = token.content
        elif token.type == "thead_close" and current == heading:
            found = found[:-1]
        elif token.type == "tr_open" and current == heading:
            found.append([])
        elif token.type == "inline" and current == heading and token.level > 3 and found:
            found[-1].append(token.content)
        is_heading = token.type == "heading_open"
    return found
