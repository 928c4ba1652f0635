"""HTML: the visible text in blocks, sections by headings, without scripts, styles and navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate

from storycore.ingestion.documents import Chunked, Document, Piece
from storycore.ingestion.packing import split_text

__all__ = ["HtmlChunker"]

_HIDDEN = frozenset(("head", "script", "style", "nav", "noscript", "template", "svg", "iframe", "select", "button"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_INLINE = frozenset(
    (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i"),
        *("img", "input", "ins", "kbd", "label", "mark", "q", "ruby", "rt", "rp", "s", "samp", "small", "span"),
        *("strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr"),
    )
)
_SPACES = re.compile(r"\s+")
_MARK = re.compile("<[a-zA-Z/!?]")
_CELL_GAP = " | "


@dataclass(frozen=True, slots=True)
class HtmlChunker:
    """Cuts HTML.

    Args:
        chunk_chars: most characters of a piece.
        min_chars: fewest characters of a piece before a heading.
    """

    chunk_chars: int
    min_chars: int

    def __call__(self, document: Document, /) -> Chunked:
        """Pieces of visible text; a piece's span holds its source with the tags in it.

        A block that is longer than a piece may be is cut, and its pieces share its span.
        """
        reader = _Reader(document.text)
        parts = _parts(reader.blocks, self.chunk_chars)
        return Chunked(list(self._pieces(parts)), " ".join(reader.title.split()), reader.source_type)

    def _pieces(self, parts: Iterator[_Block]) -> Iterator[Piece]:
        run: list[_Block] = []
        size = 0
        for part in parts:
            new_section = part.heading and size >= self.min_chars and not run[-1].heading
            if run and (new_section or size + 1 + len(part.text) > self.chunk_chars):
                kept = _trailing_headings(run)
                if len(kept) == len(run) or sum(len(b.text) + 1 for b in kept) + len(part.text) > self.chunk_chars:
                    kept = []
                yield _piece(run[: len(run) - len(kept)])
                run, size = kept, sum(len(block.text) + 1 for block in kept)
            run.append(part)
            size += len(part.text) + 1
        if run:
            yield _piece(run)


@dataclass(frozen=True, slots=True)
class _Block:
    text: str
    start: int
    end: int
    section: str
    heading: bool = False


def _parts(blocks: Sequence[_Block], limit: int) -> Iterator[_Block]:
    above = 0  # characters of the headings that the next block stands beneath
    for block in blocks:
        room = limit - above if above < limit // 2 else limit
        for text in split_text(block.text, limit if block.heading else room):
            yield _Block(text, block.start, block.end, block.section, block.heading and len(block.text) <= limit)
        above = above + len(block.text) + 1 if block.heading else 0


def _trailing_headings(run: Sequence[_Block]) -> list[_Block]:
    first = len(run)
    while first and run[first - 1].heading:
        first -= 1
    return list(run[first:])


def _piece(run: Sequence[_Block]) -> Piece:
    section = next((block.section for block in run if not block.heading), run[-1].section)
    return Piece("\n".join(block.text for block in run), run[0].start, run[-1].end, section)


@dataclass(slots=True)
class _Open:
    """The block that is being read."""

    start: int = -1
    texts: list[str] = field(default_factory=list)
    preformatted: bool = False


def _visible(block: _Open) -> str:
    text = "".join(block.texts)
    if block.preformatted:
        return text.strip("\r\n").rstrip()
    return _SPACES.sub(" ", text).strip().removesuffix(_CELL_GAP.rstrip()).rstrip()


def _ended(source: str) -> str:
    """The source up to a comment or tag that never ends.

    A browser shows nothing of it either, and the parser would search the rest again for every such mark.
    """
    comment = source.find("<!--", source.rfind("-->") + 1)
    end = comment if comment >= 0 else len(source)
    opening = _MARK.search(source, source.rfind(">", 0, end) + 1, end)
    return source[: opening.start() if opening else end]


class _Reader(HTMLParser):
    """Collects blocks while the parser walks through the source."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.source_type = ""
        self.blocks: list[_Block] = []
        self._lines = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]
        self._hidden: list[str] = []
        self._path: list[tuple[int, str]] = []
        self._block = _Open()
        self._in_title = False
        self.feed(_ended(source))
        self.close()
        self._finish(len(source))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or hide what follows."""
        if tag not in _INLINE:
            self._begin(tag, dict(attrs))
        if tag == "body":
            self._hidden.clear()
        if tag in _HIDDEN:
            self._hidden.append(tag)
        self._in_title = tag == "title" and not self.title and self._hidden[-1:] != ["svg"]

    def handle_endtag(self, tag: str) -> None:
        """End a block, or show again what follows."""
        self._in_title = False
        if tag in _HIDDEN and tag in self._hidden:
            while self._hidden.pop() != tag:
                pass
        elif tag in ("td", "th"):
            self._block.texts.append(_CELL_GAP)
        elif tag not in _INLINE:
            self._finish(self._at(), heading=tag if tag in _HEADINGS else "")

    def handle_data(self, data: str) -> None:
        """Add to the block."""
        if self._in_title:
            self.title += data
        elif not self._hidden:
            if data.strip():
                self._block.start = self._block.start if self._block.start >= 0 else self._at()
            self._block.texts.append(data)

    def parse_html_declaration(self, i: int) -> int:
        """Read ``<!…>``; the library raises on the kinds that it does not know, browsers take them as comments."""
        if self.rawdata.startswith("<![", i):
            return self.parse_bogus_comment(i)
        return super().parse_html_declaration(i)

    def _begin(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "meta" and (attributes.get("name") or "").lower() == "type":
            self.source_type = (attributes.get("content") or "").strip()
        elif tag == "br":
            self._block.texts.append("\n")
        elif tag not in ("td", "th"):
            self._finish(self._at())
            self._block.preformatted = tag == "pre"

    def _finish(self, end: int, heading: str = "") -> None:
        block, self._block = self._block, _Open()
        text = _visible(block)
        if block.start < 0 or not text:
            return
        if heading:
            level = int(heading[1])
            self._path = [step for step in self._path if step[0] < level] + [(level, text)]
        section = " > ".join(name for _, name in self._path)
        self.blocks.append(_Block(text, block.start, end, section, bool(heading)))

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
