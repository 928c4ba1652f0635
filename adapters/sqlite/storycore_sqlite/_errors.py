"""The one table from SQLite's errors to storycore's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from storycore.errors import (
    AccessDenied,
    Corrupt,
    Effect,
    InvalidArgument,
    NotProvisioned,
    Retry,
    StorageFull,
    StorycoreError,
    Unavailable,
)

__all__ = ["is_waiting", "translated", "translating"]

_PRIMARY = 0xFF
"""An extended result code holds its primary code in the lowest byte (SQLite: Result and Error Codes)."""

_TABLE: Mapping[int, tuple[type[StorycoreError], str]] = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: (Unavailable, "is locked by another writer; try again, or raise busy_timeout_ms"),
        sqlite3.SQLITE_LOCKED: (Unavailable, "is locked by another writer; try again"),
        sqlite3.SQLITE_PROTOCOL: (Unavailable, "is locked by another process; try again"),
        sqlite3.SQLITE_READONLY: (AccessDenied, "cannot be written; check the permissions of the file and its folder"),
        sqlite3.SQLITE_PERM: (AccessDenied, "cannot be used; check the permissions of the file and its folder"),
        sqlite3.SQLITE_AUTH: (AccessDenied, "cannot be used; check its permissions"),
        sqlite3.SQLITE_CANTOPEN: (AccessDenied, "cannot be opened; check the permissions of the file and its folder"),
        sqlite3.SQLITE_FULL: (StorageFull, "has no space left; free some space on its disk"),
        sqlite3.SQLITE_CORRUPT: (Corrupt, "is damaged; restore it from a backup"),
        sqlite3.SQLITE_NOTADB: (Corrupt, "is not an SQLite database; choose another path, or restore it from a backup"),
        sqlite3.SQLITE_TOOBIG: (InvalidArgument, "refuses a value of this size; store less at once"),
    }
)


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Turn SQLite's and the operating system's errors in the block into storycore's."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise translated(exc, path) from exc


def is_waiting(exc: sqlite3.Error) -> bool:
    """Whether the call failed because it would have had to wait for another connection."""
    return _primary_code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(exc: Exception, path: Path) -> StorycoreError:
    """The storycore error for an error of SQLite or of the operating system."""
    if isinstance(exc, PermissionError):
        return AccessDenied(f"The file {path} cannot be used: {exc.strerror}; check the permissions.")
    if isinstance(exc, OSError):
        return Unavailable(f"The file {path} cannot be used: {exc.strerror or exc}.")
    primary = _primary_code(exc)
    if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY_SNAPSHOT:
        text = "was written by another since the open transaction began to read; roll it back and begin it again"
        return Unavailable(f"The database {path} {text}.", retry=Retry.NEVER)
    if primary in _TABLE:
        kind, text = _TABLE[primary]
        return kind(f"The database {path} {text}.")
    if primary == sqlite3.SQLITE_IOERR:
        return Unavailable(f"The database {path} had a disk error ({exc}); check the disk.", effect=Effect.UNKNOWN)
    if primary == sqlite3.SQLITE_ERROR and "no such table" in str(exc):
        return NotProvisioned(f"The database {path} has lost its tables ({exc}); run `storycore init` or ensure().")
    return Unavailable(f"The database {path} cannot serve: {exc}.")


def _primary_code(exc: Exception) -> int:
    return int(getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_OK)) & _PRIMARY
