"""Records as rows and back: times as microseconds, fields as tagged JSON, index keys as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import orjson

from storycore.errors import Corrupt
from storycore.ports.drafts import quick_record
from storycore.ports.entities import Action, Change, FeedPosition, FieldValue, Key, Record
from storycore.ports.instants import moment
from storycore_sqlite._sql import SLOTS

__all__ = [
    "Row",
    "change_of",
    "index_columns",
    "index_values",
    "pack_fields",
    "pack_index_keys",
    "record_of",
    "unpack_fields",
]

Row: TypeAlias = Sequence[Any]  # a row's columns have SQLite's types

_LARGEST_PLAIN = 2**63
_NO_INDEX = (None,) * (2 * len(SLOTS))


def pack_fields(fields: Mapping[str, FieldValue]) -> str | None:
    """Fields as JSON text with sorted names; what JSON has no type for is tagged. ``None`` when there are none."""
    if not fields:
        return None
    return orjson.dumps({name: _packed(fields[name]) for name in sorted(fields)}).decode()


def unpack_fields(text: str) -> dict[str, FieldValue]:
    """The fields that ``pack_fields`` packed.

    Raises:
        Corrupt: the text is not what ``pack_fields`` writes.
    """
    try:
        return {name: _unpacked(value) if type(value) is dict else value for name, value in orjson.loads(text).items()}
    except (ValueError, TypeError, AttributeError, ArithmeticError) as exc:
        raise Corrupt("The fields of a stored record cannot be read; restore it from a backup.") from exc


def pack_index_keys(index_keys: Mapping[int, Key]) -> str | None:
    """Index keys as JSON text, sorted by slot; ``None`` when there are none."""
    if not index_keys:
        return None
    return orjson.dumps({str(slot): [key.pk, key.sk] for slot, key in sorted(index_keys.items())}).decode()


def unpack_index_keys(text: str) -> dict[int, Key]:
    """The index keys that ``pack_index_keys`` packed.

    Raises:
        Corrupt: the text is not what ``pack_index_keys`` writes.
    """
    try:
        return {int(slot): Key(pk, sk) for slot, (pk, sk) in orjson.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as exc:
        raise Corrupt("The index keys of a stored record cannot be read; restore it from a backup.") from exc


def index_columns(index_keys: Mapping[int, Key]) -> tuple[str | None, ...]:
    """Index keys as the values of the index columns."""
    if not index_keys:
        return _NO_INDEX
    keys = [index_keys.get(slot) for slot in SLOTS]
    return tuple(part for key in keys for part in ((None, None) if key is None else (key.pk, key.sk)))


def index_values(index_keys: Mapping[int, Key]) -> list[str]:
    """Index keys as the values of the columns of their own slots, ascending."""
    return [part for slot in sorted(index_keys) for part in (index_keys[slot].pk, index_keys[slot].sk)]


def record_of(key: Key, row: Row) -> Record:
    """The record under ``key`` from a row of the record columns."""
    kind, version, expires_at, index_keys, fields, body = row
    return quick_record(
        key,
        kind,
        version,
        None if expires_at is None else moment(expires_at),
        {} if index_keys is None else unpack_index_keys(index_keys),
        {} if fields is None else unpack_fields(fields),
        body,
    )


def change_of(row: Row, *, position: FeedPosition) -> Change:
    """The change from a row of the change columns; ``position`` is the place behind it.

    Raises:
        Corrupt: a put has no body, or something of it cannot be read.
    """
    seq, at, action, pk, sk, kind, version = row[:7]
    key = Key(pk, sk)
    is_put = action == Action.PUT
    if is_put and row[-1] is None:
        raise Corrupt(f"The content that change {seq} stored under {key} is lost; restore the database from a backup.")
    return Change(
        position=position,
        at=moment(at),
        action=Action(action),
        key=key,
        kind=kind,
        version=seq if is_put else version,
        record=record_of(key, (kind, seq, *row[7:])) if is_put else None,
    )


def _packed(value: FieldValue) -> object:
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, frozenset):
        return {"set": sorted(value)}
    if isinstance(value, int) and not -_LARGEST_PLAIN <= value < _LARGEST_PLAIN:
        return {"int": str(value)}
    return value


def _unpacked(tagged: Mapping[str, Any]) -> FieldValue:
    ((tag, value),) = tagged.items()
    if tag == "decimal":
        return Decimal(value)
    return frozenset(value) if tag == "set" else int(value)
