"""Verifying: whether the file agrees with itself, row by row; words, which follow from the items, can be mended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from storycore.ports.field_types import FieldType, type_of
from storycore.ports.vectors import IndexSpec, Metadata
from storycore.ports.words import text_of
from storycore_faiss._sql import reading, writing
from storycore_faiss.layouts import MIXED, remake_words
from storycore_faiss.texts import Texts, tokens
from storycore_faiss.truth import Truth, metadata_of

__all__ = ["damage", "damage_of_words", "mended"]

_RESTORE = "restore the file, or delete it and ingest again."
_NO_MORE = (2**63, "")
_MEND = "have the words made anew with optimize()."


class _Held(NamedTuple):
    slot: int
    namespace: str
    id: str
    size: int
    metadata: bytes

    def __str__(self) -> str:
        return f"item {self.id!r} in namespace {self.namespace!r}"


def damage(connection: sqlite3.Connection, spec: IndexSpec) -> str:
    """What is wrong with pages and items, in one sentence; ``""`` when nothing is.

    Every page is read, and of every item the length of its vector, its metadata, and their types. The caller holds a
    transaction.

    Raises:
        Corrupt: an item's metadata cannot be read.
    """
    verdicts = [verdict for (verdict,) in connection.execute("PRAGMA integrity_check")]
    damaged = next((said for said in verdicts if said != "ok" and "FTS5" not in said), "")  # newer ones look there too
    return f"SQLite finds the file damaged ({damaged}); {_RESTORE}" if damaged else next(_wrong(connection, spec), "")


def damage_of_words(connection: sqlite3.Connection) -> str:
    """What is wrong with the words, in one sentence: whether they are those of the items, and whether they are found.

    The latter is FTS5's own check, which needs the right to write and writes nothing.
    """
    try:
        with reading(connection):
            if wrong := next(_wrong_words(connection), ""):
                return wrong
        with writing(connection):
            connection.execute("INSERT INTO words(words) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_CORRUPT_VTAB:
            raise
        return f"The index of the words is damaged; {_MEND}"
    return ""


def mended(connection: sqlite3.Connection) -> bool:
    """Make the words anew if anything is wrong with them, else merge what small writes have left; tells which."""
    is_damaged = bool(damage_of_words(connection))
    with writing(connection):
        if is_damaged:
            remake_words(connection, _text_fields(connection))
        else:
            Texts(connection).tidy()
    return is_damaged


def _wrong(connection: sqlite3.Connection, spec: IndexSpec) -> Iterator[str]:
    types = {(namespace, name): kind for namespace, name, kind in connection.execute("SELECT * FROM field")}
    mixed = connection.execute("SELECT 1 FROM spec WHERE name = ?", (MIXED,)).fetchone() is not None
    for held in _items(connection):
        if held.size != 4 * spec.dimension:
            yield f"The vector of {held} has not {spec.dimension} dimensions; {_RESTORE}"
        if field := _untyped(held.namespace, metadata_of(held.metadata), types, mixed=mixed):
            yield f"The field {field!r} of {held} has not the type that is written down; {_RESTORE}"


def _wrong_words(connection: sqlite3.Connection) -> Iterator[str]:
    """Walk over items and words side by side, both in the order of their slots."""
    fields = _text_fields(connection)
    rows = connection.execute("SELECT rowid, text FROM words ORDER BY rowid")
    slot, kept = next(rows, _NO_MORE)
    for held in _items(connection):
        if slot < held.slot:
            break
        text = tokens(text_of(metadata_of(held.metadata), fields))
        if text != (kept if slot == held.slot else ""):
            yield f"The words of {held} are not those of its text; {_MEND}"
        if slot == held.slot:
            slot, kept = next(rows, _NO_MORE)
    if slot < _NO_MORE[0]:
        yield f"There are words of items that are gone; {_MEND}"


def _text_fields(connection: sqlite3.Connection) -> Sequence[str]:
    """Those that the file names: another process may have changed them since this one opened it."""
    return Truth(connection, 0).text_fields()


def _untyped(namespace: str, metadata: Metadata, types: dict[tuple[str, str], FieldType], *, mixed: bool) -> str | None:
    """A field that has no type, or another one; the latter may be where layout 1 let fields have several."""
    kinds = ((name, type_of(value), types.get((namespace, name))) for name, value in metadata.items())
    return next((name for name, kind, kept in kinds if kept is None or (kind != kept and not mixed)), None)


def _items(connection: sqlite3.Connection) -> Iterator[_Held]:
    rows = connection.execute("SELECT slot, namespace, id, length(vector), metadata FROM item ORDER BY slot")
    return (_Held(*row) for row in rows)
