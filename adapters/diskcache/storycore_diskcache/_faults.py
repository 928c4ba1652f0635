"""What SQLite and the file system say, in storycore's words."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diskcache import Timeout  # type: ignore[import-untyped]  # diskcache ships no types

from storycore.errors import AccessDenied, Corrupt, StorageFull, StorycoreError, Unavailable

__all__ = ["translated"]

_BY_SQLITE_NAME: tuple[tuple[str, type[StorycoreError]], ...] = (
    ("SQLITE_BUSY", Unavailable),
    ("SQLITE_LOCKED", Unavailable),
    ("SQLITE_FULL", StorageFull),
    ("SQLITE_READONLY", AccessDenied),
    ("SQLITE_PERM", AccessDenied),
    ("SQLITE_AUTH", AccessDenied),
    ("SQLITE_CANTOPEN", Unavailable),
    ("SQLITE_IOERR", Unavailable),
    ("SQLITE_CORRUPT", Corrupt),
    ("SQLITE_NOTADB", Corrupt),
    ("SQLITE_ERROR", Corrupt),
)
_BY_ERRNO: dict[int, type[StorycoreError]] = {
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
}
_CURES = {
    AccessDenied: "may not be written by this user; change its owner or permissions",
    StorageFull: "has no space left; free some, or lower size_limit_bytes",
    Corrupt: "is damaged",
    Unavailable: "cannot be used now, because another process holds it or the disk fails; try again",
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise a storycore error for whatever diskcache, SQLite or the file system raises inside."""
    try:
        yield
    except Timeout as exc:
        # diskcache raises Timeout for every failure to begin, and keeps what SQLite said as its context.
        raise _error(path, _of_sqlite(exc.__context__)) from exc
    except sqlite3.Error as exc:
        # SQLite ends a transaction by itself when the disk is full, and the ROLLBACK that follows then fails too.
        first = exc.__context__ if isinstance(exc.__context__, sqlite3.Error) else exc
        raise _error(path, _of_sqlite(first)) from exc
    except OSError as exc:
        raise _error(path, _BY_ERRNO.get(exc.errno or 0, Unavailable), str(exc.strerror or exc)) from exc


def _of_sqlite(exc: BaseException | None) -> type[StorycoreError]:
    name = getattr(exc, "sqlite_errorname", "")
    for start, kind in _BY_SQLITE_NAME:
        if name.startswith(start):
            return kind
    return Unavailable


def _error(path: Path, kind: type[StorycoreError], detail: str = "") -> StorycoreError:
    return kind(f"The cache directory {path} {_CURES[kind]}{f' ({detail})' if detail else ''}.")
