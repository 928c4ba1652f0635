"""SQLite's tongue: the layout of the file, its connections, and its errors in the words of storycore."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from storycore.errors import AccessDenied, Corrupt, Effect, StorageFull, StorycoreError, Unavailable

__all__ = [
    "APPLICATION",
    "LAYOUT",
    "SCHEMA",
    "SECOND",
    "WORDS",
    "choosing",
    "connect",
    "reading",
    "translating",
    "writing",
]

APPLICATION = 0x53746356
"""SQLite's application_id of these files."""

LAYOUT = 2
"""The version of the tables, kept as SQLite's user_version."""

WORDS = "CREATE VIRTUAL TABLE words USING fts5(text, tokenize = 'ascii')"
"""By slot, the words of the items that have words."""

SECOND = (
    "CREATE TABLE field(namespace TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, "
    "PRIMARY KEY(namespace, name)) WITHOUT ROWID",
    WORDS,
)
"""What layout 2 has beyond layout 1: the types of fields, and words."""

SCHEMA = (
    "CREATE TABLE spec(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE state(only INTEGER PRIMARY KEY CHECK (only = 1), lsn INTEGER NOT NULL, floor INTEGER NOT NULL, "
    "last_slot INTEGER NOT NULL)",
    "INSERT INTO state VALUES (1, 0, 0, 0)",
    "CREATE TABLE item(slot INTEGER PRIMARY KEY, namespace TEXT NOT NULL, id TEXT NOT NULL, vector BLOB NOT NULL, "
    "metadata BLOB NOT NULL, UNIQUE(namespace, id))",
    "CREATE TABLE gone(lsn INTEGER NOT NULL, slot INTEGER NOT NULL, namespace TEXT NOT NULL, "
    "PRIMARY KEY(lsn, slot)) WITHOUT ROWID",
    *SECOND,
)
"""``item`` holds what is live; a slot is never used twice, and an update takes a new one. ``gone`` names the slots that
ended, by the write that ended them, so that another process can follow from any ``lsn`` not below ``floor``."""

_PROVISIONING_SECONDS = 5.0


class _Choice(threading.local):
    slots: Container[int] = ()


_choice = _Choice()

_ERRORS: dict[int, tuple[type[StorycoreError], str]] = {
    sqlite3.SQLITE_BUSY: (Unavailable, "is locked by another process; try again, or end what holds it"),
    sqlite3.SQLITE_LOCKED: (Unavailable, "is locked by another connection; try again"),
    sqlite3.SQLITE_PROTOCOL: (Unavailable, "is locked by another process; try again"),
    sqlite3.SQLITE_IOERR: (Unavailable, "cannot be read or written; check the disk"),
    sqlite3.SQLITE_CANTOPEN: (AccessDenied, "cannot be opened; check the rights on the file and its folder"),
    sqlite3.SQLITE_READONLY: (AccessDenied, "is read-only; check the rights on the file and its folder"),
    sqlite3.SQLITE_PERM: (AccessDenied, "may not be used; check the rights on the file and its folder"),
    sqlite3.SQLITE_FULL: (StorageFull, "cannot grow: the disk is full; make room and write again"),
    sqlite3.SQLITE_CORRUPT_VTAB: (Corrupt, "has a damaged index of words; have it made anew with optimize()"),
    sqlite3.SQLITE_CORRUPT: (Corrupt, "is damaged; restore it from a backup, or delete it and ingest again"),
    sqlite3.SQLITE_NOTADB: (Corrupt, "is not an SQLite file; point the path elsewhere, or delete it"),
}
_OS_ERRORS: dict[int | None, tuple[type[StorycoreError], str]] = {
    errno.EACCES: (AccessDenied, "may not be made; check the rights on the folder"),
    errno.EPERM: (AccessDenied, "may not be made; check the rights on the folder"),
    errno.EROFS: (AccessDenied, "is on a read-only file system"),
    errno.ENOSPC: (StorageFull, "cannot be made: the disk is full"),
}


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Raise SQLite's and the system's errors as storycore's."""
    try:
        yield
    except sqlite3.Error as exc:
        whole = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        code = whole & 0xFF
        kind, what = _ERRORS.get(whole) or _ERRORS.get(
            code, (Corrupt, "does not have the tables of this adapter; restore it from a backup")
        )
        effect = Effect.UNKNOWN if code == sqlite3.SQLITE_IOERR else None
        raise kind(f"The vector index {path} {what} (SQLite: {exc}).", effect=effect) from exc
    except OSError as exc:
        kind, what = _OS_ERRORS.get(exc.errno, (Unavailable, "cannot be made; check the path"))
        raise kind(f"The vector index {path} {what} ({exc.strerror}).") from exc


def connect(
    path: Path, *, create: bool, durability: str, wait_seconds: float = _PROVISIONING_SECONDS
) -> sqlite3.Connection:
    """A connection in autocommit, which any one thread at a time may use, and which waits so long for a lock."""
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=wait_seconds, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.create_function("chosen", 1, _is_chosen)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def choosing(slots: Container[int]) -> Iterator[None]:
    """Let ``chosen(slot)`` in this thread's statements say whether a slot is among these.

    The function is registered once, for SQLite forgets all prepared statements when one is replaced.
    """
    _choice.slots = slots
    try:
        yield
    finally:
        _choice.slots = ()


def _is_chosen(slot: int) -> bool:
    return slot in _choice.slots


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """One unchanging view of the file."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # SQLite ends it by itself after some errors
            connection.execute("ROLLBACK")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and alone: other writers wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
