"""Many puts in one call: judged with few questions, and written with few statements.

A thousand new records in one call take two thirds of the CPU that they take one by one, and most of it is SQLite's own.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import count
from typing import Any, TypeAlias

from storycore.errors import StorycoreError
from storycore.ports.conditions import Version
from storycore.ports.drafts import quick_written
from storycore.ports.entities import Action, Put, Written
from storycore.ports.instants import micros
from storycore.ports.records import put_record, refusal
from storycore_sqlite._rows import index_columns, index_values, pack_fields, pack_index_keys
from storycore_sqlite._sql import REPLACE_CONTENT, REPLACE_ITEM, TELL_AT, adding

__all__ = ["LEAST_PUTS", "put_many"]

LEAST_PUTS = 8
"""For fewer puts it is not worth it."""

_KEYS_AT_ONCE = 400
"""Keys of one question: two variables each, of which SQLite takes 999 in old versions."""

_LAST_IN_FEED = "SELECT seq FROM sqlite_sequence WHERE name = 'storycore_changes'"

_Values: TypeAlias = tuple[Any, ...]  # values of columns, of SQLite's types


@dataclass(frozen=True, slots=True)
class _Head:
    """What is stored under a key.

    Args:
        row: the id of the row, live or expired.
        version: of the live record; ``None`` where it has expired.
        index_keys: the row's, packed.
    """

    row: int
    version: Version | None
    index_keys: str | None


def put_many(connection: sqlite3.Connection, puts: Sequence[Put], now: datetime) -> list[Written | StorycoreError]:
    """Apply puts of different keys that stand each for itself; a refused one leaves its error in its place."""
    heads = _heads(connection, puts, micros(now))
    versions = count(_next_version(connection))
    outcomes: list[Written | StorycoreError] = []
    accepted: list[tuple[Put, Version, _Head | None]] = []
    for put in puts:
        head = heads.get((put.key.pk, put.key.sk))
        live = None if head is None else head.version
        refused = refusal(put.key, live, put.when)
        if refused is not None:
            outcomes.append(refused)
            continue
        version = Version(next(versions))
        accepted.append((put, version, head))
        outcomes.append(quick_written(put.key, version, live is None, put_record(put, version)))
    _store(connection, accepted, micros(now))
    return outcomes


def _heads(connection: sqlite3.Connection, puts: Sequence[Put], now: int) -> Mapping[tuple[str, str], _Head]:
    """What is stored under the keys of the puts."""
    found: dict[tuple[str, str], _Head] = {}
    for start in range(0, len(puts), _KEYS_AT_ONCE):
        some = puts[start : start + _KEYS_AT_ONCE]
        wanted = [part for put in some for part in (put.key.pk, put.key.sk)]
        for pk, sk, row, version, expires_at, index_keys in connection.execute(_finding(len(some)), wanted):
            found[pk, sk] = _Head(row, version if expires_at is None or expires_at > now else None, index_keys)
    return found


@cache
def _finding(keys: int) -> str:
    """The question for so many keys; SQLite answers it by the index only where they come first."""
    marks = ", ".join(["(?, ?)"] * keys)
    return (
        f"WITH wanted (pk, sk) AS (VALUES {marks}) "  # noqa: S608 - question marks
        "SELECT pk, sk, id, version, expires_at, index_keys FROM wanted CROSS JOIN storycore_items USING (pk, sk)"
    )


def _next_version(connection: sqlite3.Connection) -> int:
    """The place in the feed that comes next, for no one else writes before this transaction ends."""
    last = connection.execute(_LAST_IN_FEED).fetchone()
    return 1 if last is None else int(last[0]) + 1


def _store(connection: sqlite3.Connection, accepted: Sequence[tuple[Put, Version, _Head | None]], now: int) -> None:
    """Tell the feed, in order, and store the records."""
    told: list[_Values] = []
    stored: defaultdict[str, list[_Values]] = defaultdict(list)
    for put, version, head in accepted:
        key, kind, content = put.key, put.kind, _content(put)
        replaced = None if head is None else head.row
        told.append((version, now, Action.PUT.value, key.pk, key.sk, kind, *content[:-1], replaced, replaced))
        if head is None:
            statement = adding(tuple(sorted(put.index_keys)))
            stored[statement].append((key.pk, key.sk, kind, version, *content, *index_values(put.index_keys)))
        elif head.index_keys == content[1]:
            stored[REPLACE_CONTENT].append((kind, version, *content, head.row))
        else:
            stored[REPLACE_ITEM].append((kind, version, *content, *index_columns(put.index_keys), head.row))
    connection.executemany(TELL_AT, told)
    for statement, rows in stored.items():
        connection.executemany(statement, rows)


def _content(put: Put) -> _Values:
    expires_at = None if put.expires_at is None else micros(put.expires_at)
    return expires_at, pack_index_keys(put.index_keys), pack_fields(put.fields), put.body
