"""Atoms to pieces: what may not be cut goes together into pieces as large as allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from storycore.ingestion.documents import Piece

__all__ = ["Atom", "by_lines", "by_sentences", "cut", "pack", "split_text"]

_SENTENCE_END = re.compile(
    r"""(?<=[.!?…])["'”’)\]]*\s+(?=\S) | (?<=[。！？]) | \n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Atom:
    """A stretch of text that is not cut.

    Args:
        start: first character.
        end: behind the last character.
        section: the headings above it.
        opens: a heading: it belongs to what follows, and a new piece may begin with it.
        prefix: repeated before the text where a piece begins with this atom: the head of a cut table.
        prose: may be cut between sentences where it would not fit beneath its heading.
    """

    start: int
    end: int
    section: str = ""
    opens: bool = False
    prefix: str = ""
    prose: bool = False


def pack(text: str, atoms: Iterable[Atom], *, limit: int, minimum: int) -> list[Piece]:
    """Join neighbouring atoms into pieces of at most ``limit`` characters.

    A piece ends before a heading once it has ``minimum`` characters, and never with a heading when more follows.
    Blank space around pieces is left out, nothing else. No atom may be longer than ``limit``.
    """
    pieces: list[Piece] = []
    run: list[Atom] = []
    for atom in _below_headings(text, atoms, limit):
        if run and (_size(run, atom) > limit or _may_end(run, atom, minimum)):
            run = _ended(text, run, atom, limit, pieces)
        run.append(atom)
    pieces += _piece(text, run)
    return pieces


def _below_headings(text: str, atoms: Iterable[Atom], limit: int) -> Iterator[Atom]:
    above = 0
    for atom in atoms:
        length = atom.end - atom.start
        if above and atom.prose and above + length > limit:
            for start, end in cut(text, by_sentences(text, atom.start, atom.end), limit):
                yield replace(atom, start=start, end=end)
        else:
            yield atom
        above = above + length if atom.opens else 0


def _may_end(run: Sequence[Atom], atom: Atom, minimum: int) -> bool:
    return atom.opens and not run[-1].opens and run[-1].end - run[0].start >= minimum


def _ended(text: str, run: list[Atom], atom: Atom, limit: int, pieces: list[Piece]) -> list[Atom]:
    headings = len(run)
    while headings and run[headings - 1].opens:
        headings -= 1
    kept = run[headings:]
    pieces += _piece(text, run[:headings])
    if kept and _size(kept, atom) > limit:
        pieces += _piece(text, kept)
        return []
    return kept


def _size(run: Sequence[Atom], atom: Atom) -> int:
    return len(run[0].prefix) + atom.end - run[0].start


def _piece(text: str, run: Sequence[Atom]) -> list[Piece]:
    if not run:
        return []
    start, end = _trimmed(text, run[0].start, run[-1].end)
    if start == end:
        return []
    section = next((atom.section for atom in run if not atom.opens), run[-1].section)
    return [Piece(run[0].prefix + text[start:end], start, end, section)]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end].rstrip()
    blank = len(part) - len(part.lstrip())
    line = part.rfind("\n", 0, blank) + 1  # the first line keeps its indentation, which has a meaning in code
    return start + line, start + len(part)


def by_lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the lines between ``start`` and ``end``, line ends included."""
    at = start
    for line in text[start:end].splitlines(keepends=True):
        yield at, at + len(line)
        at += len(line)


def by_sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences and list items between ``start`` and ``end``, with the space behind them."""
    at = start
    for match in _SENTENCE_END.finditer(text, start, end):
        if match.end() > at:
            yield at, match.end()
            at = match.end()
    if at < end:
        yield at, end


def cut(text: str, spans: Iterable[tuple[int, int]], limit: int) -> Iterator[tuple[int, int]]:
    """The same spans, those longer than ``limit`` cut where there is space, or anywhere when there is none."""
    for start, end in spans:
        at = start
        while end - at > limit:
            stop = _last_space(text, at, at + limit)
            yield at, stop
            at = stop
        yield at, end


def _last_space(text: str, start: int, end: int) -> int:
    for stop in range(end, start + (end - start) // 2, -1):
        if text[stop - 1].isspace():
            return stop
    return end


def split_text(text: str, limit: int) -> list[str]:
    """A text that has no place in the source, such as a rendering, in parts of at most ``limit`` characters."""
    if len(text) <= limit:
        return [text]
    sentences = cut(text, by_sentences(text, 0, len(text)), limit)
    return [piece.text for piece in pack(text, (Atom(*span) for span in sentences), limit=limit, minimum=0)]
