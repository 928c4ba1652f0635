"""A copy of the whole database in one file, made while writers go on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from storycore.errors import AlreadyExists, Corrupt, InvalidArgument
from storycore_sqlite._errors import translated, translating

__all__ = ["copy_to"]

_OWNER_ALONE = 0o600


def copy_to(connection: sqlite3.Connection, source: Path, target: Path, mark: str) -> None:
    """Write one snapshot of the database to ``target``: whole and on the disk, or not at all.

    Args:
        connection: to ``source``, free to write, outside a transaction.
        target: must not exist; its folder must.
        mark: makes the name of the unfinished file unique.

    Raises:
        AlreadyExists: there is a file of that name.
        InvalidArgument: there is no such folder.
    """
    _require_room(target)
    unfinished = target.with_name(f".{target.name}.{mark}.unfinished")
    with translating(target):
        try:
            unfinished.touch(mode=_OWNER_ALONE, exist_ok=False)
            _copy(connection, source, unfinished)
            _finish(unfinished)
            _name(unfinished, target)
        except FileExistsError as exc:
            raise _exists(target) from exc
        finally:
            for path in (unfinished, *unfinished.parent.glob(f"{unfinished.name}-*")):
                path.unlink(missing_ok=True)
        _flush(target.parent)


def _require_room(target: Path) -> None:
    if not target.parent.is_dir():
        raise InvalidArgument(f"The folder {target.parent} does not exist; make it, or choose another.")
    if target.exists():
        raise _exists(target)


def _copy(connection: sqlite3.Connection, source: Path, unfinished: Path) -> None:
    try:
        connection.execute("VACUUM INTO ?", (str(unfinished),))
    except sqlite3.Error as exc:
        error = translated(exc, source)
        raise (error if isinstance(error, Corrupt) else translated(exc, unfinished)) from exc


def _exists(target: Path) -> AlreadyExists:
    return AlreadyExists(f"The file {target} exists already; a backup overwrites nothing, choose another name.")


def _finish(path: Path) -> None:
    """Give the copy the journal of a database in use, and flush it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = WAL").fetchone()
    _flush(path)


def _name(unfinished: Path, target: Path) -> None:
    try:
        os.link(unfinished, target)  # unlike a rename, never over another file
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise _exists(target) from None
        unfinished.rename(target)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
