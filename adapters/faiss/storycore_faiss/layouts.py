"""Layouts: how a file that was made earlier, or for the words of other fields, becomes what is asked for now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import orjson

from storycore.ports.field_types import FieldType, type_of
from storycore.ports.vectors import Metadata
from storycore.ports.words import text_of
from storycore_faiss._sql import LAYOUT, SECOND
from storycore_faiss.texts import Texts
from storycore_faiss.truth import Truth, metadata_of

__all__ = ["MIXED", "bring_up", "changes", "keep_text_fields", "remake_words"]

MIXED = "mixed"
"""What the specification holds when layout 1 left fields with values of several types."""


def changes(connection: sqlite3.Connection, text_fields: Sequence[str]) -> list[str]:
    """What ``bring_up()`` would do to a file of this adapter, one sentence each; of later layouts nothing."""
    [layout] = connection.execute("PRAGMA user_version").fetchone()
    shown = ", ".join(text_fields) or "no fields"
    if layout == 1:
        return [f"move from layout 1 to {LAYOUT}: keep the types of fields, and the words of {shown}"]
    if layout == LAYOUT and Truth(connection, 0).text_fields() != tuple(text_fields):
        return [f"keep the words of {shown} in place of those of other fields"]
    return []


def bring_up(connection: sqlite3.Connection, text_fields: Sequence[str]) -> None:
    """Do it, in the caller's transaction; a file that needs nothing is left as it is."""
    if not changes(connection, text_fields):
        return
    [layout] = connection.execute("PRAGMA user_version").fetchone()
    if layout == 1:
        for statement in SECOND:
            connection.execute(statement)
        _keep_types(connection)
        connection.execute(f"PRAGMA user_version={LAYOUT:d}")
    keep_text_fields(connection, text_fields)
    remake_words(connection, text_fields)


def remake_words(connection: sqlite3.Connection, text_fields: Sequence[str]) -> None:
    """Put the words of all items in place of those that are kept."""
    texts = Texts(connection)
    texts.clear()
    texts.add((slot, text_of(metadata, text_fields)) for slot, _, metadata in _items(connection))


def keep_text_fields(connection: sqlite3.Connection, text_fields: Sequence[str]) -> None:
    """Write down whose words are kept."""
    value = orjson.dumps(list(text_fields)).decode()
    connection.execute("INSERT OR REPLACE INTO spec VALUES ('text_fields', ?)", (value,))


def _keep_types(connection: sqlite3.Connection) -> None:
    """Of a field that was written with several types the first one counts; what is there stays readable."""
    types: dict[tuple[str, str], FieldType] = {}
    mixed = False
    for _, namespace, metadata in _items(connection):
        for name, value in metadata.items():
            mixed |= types.setdefault((namespace, name), type_of(value)) != type_of(value)
    rows = [(*place, kind) for place, kind in types.items()]
    connection.executemany("INSERT INTO field VALUES (?, ?, ?)", rows)
    if mixed:
        connection.execute("INSERT INTO spec VALUES (?, 'layout 1')", (MIXED,))


def _items(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Metadata]]:
    for slot, namespace, blob in connection.execute("SELECT slot, namespace, metadata FROM item ORDER BY slot"):
        yield slot, namespace, metadata_of(blob)
