"""The blocks of a Markdown text: headings, fenced code, tables, and everything else as prose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from storycore.ingestion.packing import by_lines

__all__ = ["Block", "blocks"]

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})([^\n]*)")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_LIST_OR_QUOTE = re.compile(r"[ \t]*(?:[-*+>]|\d+[.)])(?:[ \t]|$)")
_TABLE_RULE = re.compile(r"(?=[^\n]*\|)[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)*[ \t]*(?::?-+:?)?[ \t]*$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_NESTED_LINES = 100
"""A fence as deep as in a list counts only when it ends within so many lines: it may be a line of indented code."""
_HEADING_CHARS = 1000
_EMPHASIS = re.compile(r"(?<!\w)[*_`]+(?=\w)|(?<=\w)[*_`]+(?!\w)")

Kind: TypeAlias = Literal["heading", "prose", "fence", "table"]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines that belong together, with the blank lines behind them.

    Args:
        kind: what it is.
        start: first character.
        end: behind the last character.
        section: the headings above it and, for a heading, itself.
        head: of a table, behind the line that rules off its head.
    """

    kind: Kind
    start: int
    end: int
    section: str
    head: int = 0


class _Line(NamedTuple):
    start: int
    end: int
    text: str


class _Found(NamedTuple):
    kind: Kind
    stop: int
    level: int = 0
    name: str = ""


def blocks(text: str, start: int) -> Iterator[Block]:
    """The blocks from ``start`` on, without gaps."""
    lines = [_Line(at, end, text[at:end].rstrip("\r\n")) for at, end in by_lines(text, start, len(text))]
    path: list[tuple[int, str]] = []
    at = 0
    while at < len(lines):
        found = _found(lines, at)
        if found.kind == "heading":
            path = [step for step in path if step[0] < found.level] + [(found.level, found.name)]
        stop = _behind_blank(lines, found.stop)
        section = " > ".join(name for _, name in path if name)
        head = lines[at + 1].end if found.kind == "table" else 0
        yield Block(found.kind, lines[at].start, lines[stop - 1].end, section, head)
        at = stop


def _found(lines: Sequence[_Line], at: int) -> _Found:
    if stop := _fence_end(lines, at):
        return _Found("fence", stop)
    if heading := _heading(lines, at):
        return heading
    if stop := _table_end(lines, at):
        return _Found("table", stop)
    return _Found("prose", _prose_end(lines, at))


def _heading(lines: Sequence[_Line], at: int) -> _Found | None:
    line = lines[at].text
    if marked := _HEADING.match(line[:_HEADING_CHARS]):
        return _Found("heading", at + 1, len(marked[1]), _plain(marked[2] or ""))
    if at + 1 == len(lines) or not line.strip() or _LIST_OR_QUOTE.match(line):
        return None
    if underline := _UNDERLINE.match(lines[at + 1].text):
        return _Found("heading", at + 2, 1 if underline[1][0] == "=" else 2, _plain(line))
    return None


def _fence_end(lines: Sequence[_Line], at: int) -> int:
    opening = _FENCE.match(lines[at].text)
    if not opening or (opening[2][0] == "`" and "`" in opening[3]):
        return 0
    nested = len(opening[1]) > 3 or "\t" in opening[1]
    for stop in range(at + 1, min(len(lines), at + _NESTED_LINES) if nested else len(lines)):
        closing = _FENCE.match(lines[stop].text)
        if closing and closing[2].startswith(opening[2]) and not closing[3].strip():
            return stop + 1
    return 0 if nested else len(lines)


def _table_end(lines: Sequence[_Line], at: int) -> int:
    if at + 1 == len(lines) or "|" not in lines[at].text or not _TABLE_RULE.match(lines[at + 1].text):
        return 0
    stop = at + 2
    while stop < len(lines) and "|" in lines[stop].text:
        stop += 1
    return stop


def _prose_end(lines: Sequence[_Line], at: int) -> int:
    stop = at + 1
    if not lines[at].text.strip():
        return stop
    while stop < len(lines) and lines[stop].text.strip() and not _interrupts(lines, stop):
        stop += 1
    return stop


def _interrupts(lines: Sequence[_Line], at: int) -> bool:
    line = lines[at].text
    return bool(
        _HEADING.match(line[:_HEADING_CHARS]) or _fence_end(lines, at) or ("|" in line and _table_end(lines, at))
    )


def _behind_blank(lines: Sequence[_Line], at: int) -> int:
    while at < len(lines) and not lines[at].text.strip():
        at += 1
    return at


def _plain(name: str) -> str:
    return _EMPHASIS.sub("", _LINK.sub(r"\1", name)).strip()
