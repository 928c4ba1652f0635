"""Lines of DynamoDB's export to S3: plain functions between records and DynamoDB JSON.

A full export has a line ``{"Item": …}`` for each item; an incremental one tells each changed item once, with ``Keys``,
``NewImage`` where it is still there, and ``OldImage`` (DynamoDB: table export output format).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from storycore.errors import Corrupt, SchemaMismatch
from storycore.ports.backup_formats import Exported
from storycore.ports.conditions import Version
from storycore.ports.entities import Record
from storycore_dynamodb._answers import body_of
from storycore_dynamodb._provision import LAYOUT_KEY, layout_mark
from storycore_dynamodb._table import LAYOUT
from storycore_dynamodb._told import GONE
from storycore_dynamodb._wire import RESERVED_PK, Item, is_record, item_of, key_of, number_of, record_of
from storycore_dynamodb.config import DynamodbConfig

__all__ = ["line_of", "mark_line", "read_line"]

_LINE_ENDS: Final = tuple(
    (end.encode(), f"\\u{ord(end):04x}".encode()) for end in ("\x85", "\N{LINE SEPARATOR}", "\N{PARAGRAPH SEPARATOR}")
)
"""What some readers take for the end of a line, as JSON writes it otherwise."""


def line_of(record: Record, *, write_id: str, written_at: int) -> bytes:
    """The line of a record, whose version becomes the moment of its write.

    Args:
        write_id: of the write that seems to have stored it.
        written_at: microseconds since 1970.
    """
    item = item_of(replace(record, version=Version(written_at)), write_id=write_id, written_at=written_at)
    return _line(item)


def mark_line() -> bytes:
    """The line that makes an imported table one of storycore's: the mark of its layout."""
    return _line(layout_mark(DynamodbConfig.holds))


def read_line(line: bytes, *, of: str) -> Exported | None:
    """What a line tells: a record, the key of one that is gone, or ``None`` where it is the table's own.

    Args:
        of: which export, for errors.

    Raises:
        SchemaMismatch: the table is not one of storycore's entities.
        Corrupt: the line is no item.
    """
    told = _loaded(line, of)
    if "Item" in told:
        item = _item(told["Item"], of)
        return None if _is_own(item, of) or GONE in item else record_of(item)
    if "NewImage" in told:
        item = _item(told["NewImage"], of)
        if _is_own(item, of):
            return None
        return key_of(item) if GONE in item else record_of(item)
    keys = _item(told.get("Keys"), of)
    if "OldImage" in told and _is_own(_item(told["OldImage"], of), of):
        return None
    return None if keys["pk"]["S"] == RESERVED_PK else key_of(keys)


def _line(item: Mapping[str, object]) -> bytes:
    line = body_of({"Item": item})
    if not line.isascii():
        for end, escaped in _LINE_ENDS:
            line = line.replace(end, escaped)
    return line + b"\n"


def _loaded(line: bytes, of: str) -> dict[str, Any]:  # JSON
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise Corrupt(f"A line of {of} is no JSON ({exc}).") from exc
    if not isinstance(told, dict):
        raise Corrupt(f"A line of {of} is no JSON object.")
    return told


def _item(value: Any, of: str) -> Item:  # JSON
    """An item with bytes where it is binary, which only a body is."""
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise Corrupt(f"A line of {of} holds no item.")
    keys = value.get("pk", {}).get("S"), value.get("sk", {}).get("S")
    if not all(isinstance(key, str) for key in keys):
        raise _foreign(value, of)
    body = value.get("d", {}).get("B")
    if body is None:
        return value
    try:
        return {**value, "d": {"B": b64decode(body, validate=True)}}
    except (TypeError, ValueError, binascii.Error) as exc:
        raise Corrupt(f"The body of ({keys[0]!r}, {keys[1]!r}) in {of} is not in Base64.") from exc


def _is_own(item: Item, of: str) -> bool:
    """Whether an item is the adapter's own; what is neither that nor a record is of another program."""
    if item["pk"]["S"] == RESERVED_PK:
        if key_of(item) == LAYOUT_KEY:
            _require_layout(item, of)
        return True
    if not is_record(item):
        raise _foreign(item, of)
    return False


def _require_layout(mark: Item, of: str) -> None:
    holds = mark.get("holds", {}).get("S", DynamodbConfig.holds)
    if holds != DynamodbConfig.holds:
        raise SchemaMismatch(f"{of} is of a table that holds {holds}, not {DynamodbConfig.holds}; name another export.")
    if "layout" not in mark or number_of(mark["layout"]) != LAYOUT:
        raise SchemaMismatch(
            f"{of} is of a table with another layout than {LAYOUT}; install the version of storycore-dynamodb that "
            "made it."
        )


def _foreign(item: Item, of: str) -> SchemaMismatch:
    names = ", ".join(sorted(item)[:5])
    return SchemaMismatch(
        f"{of} is of a table that storycore did not write: it holds an item with the attributes {names}. Only exports "
        "of storycore's own tables can be imported."
    )
