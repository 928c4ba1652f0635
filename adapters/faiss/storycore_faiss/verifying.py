"""Verifying: whether the file agrees with itself, row by row. Nothing is mended here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from storycore.ports.field_types import FieldType, type_of
from storycore.ports.vectors import IndexSpec, Metadata
from storycore.ports.words import text_of
from storycore_faiss._sql import writing
from storycore_faiss.layouts import MIXED
from storycore_faiss.texts import tokens
from storycore_faiss.truth import metadata_of

__all__ = ["damage", "damage_of_words"]

_CURE = "restore the file, or delete it and ingest again."


class _Held(NamedTuple):
    slot: int
    namespace: str
    id: str
    size: int
    metadata: bytes
    words: str | None

    def __str__(self) -> str:
        return f"item {self.id!r} in namespace {self.namespace!r}"


def damage(connection: sqlite3.Connection, spec: IndexSpec) -> str:
    """What is wrong with the file, in one sentence; ``""`` when nothing is.

    Every page is read, and of every item the length of its vector, its metadata, their types, and its words. The
    caller holds a transaction.

    Raises:
        Corrupt: an item's metadata cannot be read.
    """
    [verdict] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        return f"SQLite finds the file damaged ({verdict}); {_CURE}"
    return next(_wrong(connection, spec), "")


def damage_of_words(connection: sqlite3.Connection) -> str:
    """What is wrong with the index of the words; needs the right to write, and writes nothing."""
    try:
        with writing(connection):
            connection.execute("INSERT INTO words(words) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return f"The index of the words disagrees with the texts; {_CURE}"
    return ""


def _wrong(connection: sqlite3.Connection, spec: IndexSpec) -> Iterator[str]:
    types = {(namespace, name): kind for namespace, name, kind in connection.execute("SELECT * FROM field")}
    mixed = connection.execute("SELECT 1 FROM spec WHERE name = ?", (MIXED,)).fetchone() is not None
    texts = 0
    for held in _items(connection):
        metadata = metadata_of(held.metadata)
        if held.size != 4 * spec.dimension:
            yield f"The vector of {held} has not {spec.dimension} dimensions; {_CURE}"
        if field := _untyped(held.namespace, metadata, types, mixed=mixed):
            yield f"The field {field!r} of {held} has not the type that is written down; {_CURE}"
        if tokens(text_of(metadata, spec.text_fields)) != (held.words or ""):
            yield f"The words of {held} are not those of its text; {_CURE}"
        texts += held.words is not None
    if texts != connection.execute("SELECT count(*) FROM words").fetchone()[0]:
        yield f"There are words of items that are gone; {_CURE}"


def _untyped(namespace: str, metadata: Metadata, types: dict[tuple[str, str], FieldType], *, mixed: bool) -> str | None:
    """A field that has no type, or another one; the latter may be where layout 1 let fields have several."""
    kinds = ((name, type_of(value), types.get((namespace, name))) for name, value in metadata.items())
    return next((name for name, kind, kept in kinds if kept is None or (kind != kept and not mixed)), None)


def _items(connection: sqlite3.Connection) -> Iterator[_Held]:
    rows = connection.execute(
        "SELECT slot, namespace, id, length(vector), metadata, (SELECT text FROM words WHERE rowid = slot) FROM item"
    )
    return (_Held(*row) for row in rows)
