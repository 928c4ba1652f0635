"""JSON: each record a piece with a rendering that people and models can read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from storycore.ingestion.documents import Chunked, Document, Piece
from storycore.ingestion.packing import by_lines, split_text

__all__ = ["JsonChunker", "JsonLinesChunker"]

_SPACE = re.compile(r"[ \t\r\n]*")
_NAMES = ("title", "name", "label", "event", "question", "id", "key")
_DECODER = json.JSONDecoder()
_HEAD = ("title", "source_type")


@dataclass(frozen=True, slots=True)
class _Value:
    value: object
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class JsonChunker:
    """Cuts a JSON text at its records: the objects of the outermost lists, or the whole when it has none.

    Args:
        chunk_chars: most characters of a piece; a longer record becomes several pieces that share its span.
    """

    chunk_chars: int

    def __call__(self, document: Document, /) -> Chunked:
        """A piece per record, with the span of the record in the source.

        Raises:
            ValueError: the text is not JSON.
        """
        text = document.text
        start = _behind_space(text, 0)
        value, end = _decode(text, start)
        if text[end:].strip():
            raise ValueError(f"not JSON: more text behind the value at character {end}")
        pieces = list(_pieces(text, _Value(value, start, end), "", self.chunk_chars))
        facts = value if isinstance(value, dict) else {}
        return Chunked(pieces, _text_of(facts, "title"), _text_of(facts, "source_type"))


@dataclass(frozen=True, slots=True)
class JsonLinesChunker:
    """Cuts JSON lines: one record a line.

    Args:
        chunk_chars: most characters of a piece.
    """

    chunk_chars: int

    def __call__(self, document: Document, /) -> Chunked:
        """A piece per line that is not blank.

        Raises:
            ValueError: a line is not JSON.
        """
        text = document.text
        pieces: list[Piece] = []
        for start, end in by_lines(text, 0, len(text)):
            if text[start:end].strip():
                record = _Value(json.loads(text[start:end]), start, start + len(text[start:end].rstrip()))
                pieces += _record(record, "", self.chunk_chars)
        return Chunked(pieces)


def _pieces(text: str, outer: _Value, path: str, limit: int) -> Iterator[Piece]:
    if isinstance(outer.value, list):
        yield from _listed(text, outer, path, limit)
    elif isinstance(outer.value, dict) and _holds_records(outer.value):
        yield from _parted(text, outer, path, limit)
    else:
        yield from _record(outer, path, limit)


def _listed(text: str, outer: _Value, path: str, limit: int) -> Iterator[Piece]:
    plain: list[_Value] = []
    for element in _elements(text, outer):
        if isinstance(element.value, dict):
            yield from _record(element, path, limit)
        elif isinstance(element.value, list):
            yield from _listed(text, element, path, limit)
        else:
            plain.append(element)
    if plain:
        together = _Value([element.value for element in plain], plain[0].start, plain[-1].end)
        yield from _record(together, path, limit)


def _parted(text: str, outer: _Value, path: str, limit: int) -> Iterator[Piece]:
    members = list(_members(text, outer))
    table = all(isinstance(member.value, dict) for _, member in members)
    own = {key: member.value for key, member in members if not (table or _holds_records(member.value))}
    said = {key: value for key, value in own.items() if path or key not in _HEAD}
    yield from _record(_Value(said, outer.start, outer.end), path, limit)
    for key, member in members:
        if key not in own:
            yield from _pieces(text, member, _joined(path, _readable(key)), limit)


def _holds_records(value: object) -> bool:
    if isinstance(value, list):
        return any(isinstance(element, dict) for element in value)
    if not isinstance(value, dict):
        return False
    table = len(value) > 1 and all(isinstance(member, dict) for member in value.values())
    return table or any(_holds_records(member) for member in value.values())


def _elements(text: str, outer: _Value) -> Iterator[_Value]:
    at = _behind_space(text, outer.start + 1)
    while text[at] != "]":
        value, end = _decode(text, at)
        yield _Value(value, at, end)
        at = _behind_comma(text, end)


def _members(text: str, outer: _Value) -> Iterator[tuple[str, _Value]]:
    at = _behind_space(text, outer.start + 1)
    while text[at] != "}":
        key, end = _decode(text, at)
        start = _behind_space(text, _behind_space(text, end) + 1)
        value, end = _decode(text, start)
        yield str(key), _Value(value, start, end)
        at = _behind_comma(text, end)


def _behind_comma(text: str, at: int) -> int:
    at = _behind_space(text, at)
    return _behind_space(text, at + 1) if text[at] == "," else at


def _behind_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _decode(text: str, at: int) -> tuple[object, int]:
    value, end = _DECODER.raw_decode(text, at)
    return value, end


def _record(record: _Value, path: str, limit: int) -> list[Piece]:
    text = _unicode("\n".join(_rendered(record.value, "")))
    section = _joined(path, next((name for key in _NAMES if (name := _text_of(record.value, key))), ""))
    return [Piece(part, record.start, record.end, section) for part in split_text(text, limit)] if text.strip() else []


def _rendered(value: object, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _rendered(member, _joined(name, _readable(key), by=" "))
    elif isinstance(value, list) and any(isinstance(element, (dict, list)) for element in value):
        for number, element in enumerate(value, start=1):
            yield from _rendered(element, _joined(name, str(number), by=" "))
    else:
        shown = ", ".join(map(_shown, value)) if isinstance(value, list) else _shown(value)
        if shown:
            yield _joined(name, shown, by=": ")


def _unicode(text: str) -> str:
    return text.encode(errors="replace").decode()  # an escape may have written half a character


def _shown(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_of(record: object, key: str) -> str:
    value = record.get(key) if isinstance(record, Mapping) else None
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _joined(first: str, second: str, by: str = " > ") -> str:
    return by.join(part for part in (first, second) if part)


def _readable(key: str) -> str:
    return key.replace("_", " ").strip()
