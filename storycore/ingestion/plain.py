"""Text without markup: paragraphs and sentences, underlined headings, lines of code, rows of CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from storycore.ingestion.documents import Chunked, Document
from storycore.ingestion.markdown import table_atoms
from storycore.ingestion.packing import Atom, by_lines, by_sentences, cut, pack

__all__ = ["CsvChunker", "LinesChunker", "TextChunker"]

_PARAGRAPH = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+(?:[^\S\n]*\n)*|(?:[^\S\n]*\n)+|[^\S\n]+\Z")
_UNDERLINED = re.compile(r"[ \t]*(\S[^\n]*)\n[ \t]*([=\-~^\"'#*+.])\2{2,}[ \t\r]*(?:\n\s*)?\Z")
_TITLE_CHARS = 100


@dataclass(frozen=True, slots=True)
class TextChunker:
    """Cuts prose at paragraphs, then at sentences.

    Args:
        chunk_chars: most characters of a piece.
        min_chars: fewest characters of a piece before a heading.
    """

    chunk_chars: int
    min_chars: int

    def __call__(self, document: Document, /) -> Chunked:
        """Pieces whose text is the source's own; the title is a short first line that stands alone."""
        pieces = pack(document.text, self._atoms(document.text), limit=self.chunk_chars, minimum=self.min_chars)
        return Chunked(pieces, _title(document.text))

    def _atoms(self, text: str) -> Iterator[Atom]:
        path: list[tuple[str, str]] = []
        for found in _PARAGRAPH.finditer(text):
            heading = _UNDERLINED.match(found[0]) if len(found[0]) < 3 * _TITLE_CHARS else None
            if heading:
                path = _deepened(path, style=heading[2], name=heading[1].strip())
            section = " > ".join(name for _, name in path)
            spans = [found.span()]
            if found.end() - found.start() > self.chunk_chars:
                spans = list(by_sentences(text, *found.span()))
            for span in cut(text, spans, self.chunk_chars):
                yield Atom(*span, section, opens=heading is not None, prose=heading is None)


@dataclass(frozen=True, slots=True)
class LinesChunker:
    """Cuts source code and other text where lines matter: before unindented lines that follow a blank one.

    Args:
        chunk_chars: most characters of a piece.
    """

    chunk_chars: int

    def __call__(self, document: Document, /) -> Chunked:
        """Pieces of whole lines; a line is cut only when it alone is too long."""
        return Chunked(pack(document.text, self._atoms(document.text), limit=self.chunk_chars, minimum=0))

    def _atoms(self, text: str) -> Iterator[Atom]:
        for start, end in _stanzas(text):
            spans = [(start, end)] if end - start <= self.chunk_chars else by_lines(text, start, end)
            for span in cut(text, spans, self.chunk_chars):
                yield Atom(*span)


@dataclass(frozen=True, slots=True)
class CsvChunker:
    """Cuts comma-separated values at lines and repeats the first line, which names the columns.

    Args:
        chunk_chars: most characters of a piece.
    """

    chunk_chars: int

    def __call__(self, document: Document, /) -> Chunked:
        """Pieces of whole lines, each with the names of the columns."""
        text = document.text
        head = (text.find("\n") + 1) or len(text)
        atoms = table_atoms(text, 0, head, len(text), "", self.chunk_chars)
        return Chunked(pack(text, atoms, limit=self.chunk_chars, minimum=0))


def _deepened(path: list[tuple[str, str]], *, style: str, name: str) -> list[tuple[str, str]]:
    styles = [known for known, _ in path]
    kept = path[: styles.index(style)] if style in styles else path
    return [*kept, (style, name)]


def _title(text: str) -> str:
    lines = text.lstrip().split("\n", 2)
    first = lines[0].strip()
    alone = len(lines) > 1 and (not lines[1].strip() or _UNDERLINED.match("\n".join(lines[:2])) is not None)
    return first if alone and len(first) <= _TITLE_CHARS else ""


def _stanzas(text: str) -> Iterator[tuple[int, int]]:
    start, blank = 0, False
    for at, end in by_lines(text, 0, len(text)):
        if blank and at > start and not text[at].isspace():
            yield start, at
            start = at
        blank = not text[at:end].strip()
    if start < len(text):
        yield start, len(text)
