"""Markdown: sections by headings; tables and fenced code are not cut unless one alone is too large."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from storycore.ingestion.documents import Chunked, Document
from storycore.ingestion.markdown_blocks import Block, blocks
from storycore.ingestion.packing import Atom, by_lines, by_sentences, cut, pack

__all__ = ["MarkdownChunker", "front_matter", "table_atoms"]

_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_LINE = re.compile(r"^(title|type)[ \t]*:[ \t]*(.+?)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MarkdownChunker:
    """Cuts Markdown.

    Args:
        chunk_chars: most characters of a piece.
        min_chars: fewest characters of a piece before a heading.
    """

    chunk_chars: int
    min_chars: int

    def __call__(self, document: Document, /) -> Chunked:
        """Pieces whose text is the source's own, except for the repeated head of a cut table."""
        text = document.text
        facts, start = front_matter(text)
        found = list(blocks(text, start))
        atoms = (atom for block in found for atom in _atoms(text, block, self.chunk_chars))
        pieces = pack(text, atoms, limit=self.chunk_chars, minimum=self.min_chars)
        return Chunked(pieces, facts.get("title") or _first_heading(found), facts.get("type", ""))


def table_atoms(text: str, start: int, head: int, end: int, section: str, limit: int) -> Iterator[Atom]:
    """The lines of a table; each repeats the table's head, ``start`` to ``head``, where a piece begins with it."""
    prefix = text[start:head] if head - start <= limit // 2 else ""
    for at, stop in cut(text, by_lines(text, start, head), limit):
        yield Atom(at, stop, section, opens=True)
    for at, stop in cut(text, by_lines(text, head, end), limit - len(prefix)):
        yield Atom(at, stop, section, prefix=prefix)


def front_matter(text: str) -> tuple[dict[str, str], int]:
    """Title and type from lines between ``---`` at the top, and where the text begins behind them."""
    found = _FRONT.match(text)
    if not found:
        return {}, 0
    return {name: value.strip("\"'") for name, value in _FRONT_LINE.findall(found[1])}, found.end()


def _first_heading(found: list[Block]) -> str:
    return next((block.section for block in found if block.kind == "heading" and block.section), "")


def _atoms(text: str, block: Block, limit: int) -> Iterator[Atom]:
    if block.end - block.start <= limit:
        opens, prose = block.kind == "heading", block.kind == "prose"
        return iter([Atom(block.start, block.end, block.section, opens=opens, prose=prose)])
    if block.kind == "table":
        return table_atoms(text, block.start, block.head, block.end, block.section, limit)
    divide = by_lines if block.kind == "fence" else by_sentences
    return (Atom(*span, block.section) for span in cut(text, divide(text, block.start, block.end), limit))
