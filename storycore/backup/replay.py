"""Replay: what a chain of backups holds of a port at its end, each item once."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from storycore.backup.archive import Archive
from storycore.backup.entries import Entry
from storycore.backup.manifest import Manifest, ObjectInfo
from storycore.backup.recordings import Tail
from storycore.errors import StorageFull

__all__ = ["Replay"]

_AT_ONCE = 500
"""Keys of one question to SQLite, which takes at most 999 variables in old versions."""


class Replay:
    """The state of one port at the end of a chain.

    Changes are read first, to know of each key which of them is the last; so the base is read once, in order, and
    nothing is given that a later entry takes back.

    Args:
        archive: where the backups lie.
        chain: manifests from a full one on, as ``Archive.chain`` gives them.
        port: which port.
        folder: an empty temporary folder.
        tail: changes of this port behind the chain.
    """

    def __init__(
        self, archive: Archive, chain: Sequence[Manifest], port: str, folder: Path, tail: Tail | None = None
    ) -> None:
        self._archive = archive
        self._chain = [manifest for manifest in chain if port in manifest.ports]
        self._port = port
        self._tail = tail
        self.erased: list[bytes] = []
        self._overlay = _Overlay(folder / "overlay.db")

    async def items(self) -> AsyncIterator[list[Entry]]:
        """All items, in lists; none of them is gone.

        Raises:
            Corrupt: an object is missing or damaged.
        """
        async for first, entries in self._changes():
            await asyncio.to_thread(self._overlay.note, first, entries)
        async for entries in self._base():
            covered = await asyncio.to_thread(self._overlay.known, entries)
            left = [entry for entry in entries if entry.mark not in covered] if covered else entries
            self.erased += [entry.mark for entry in left if entry.is_erased]
            yield [entry for entry in left if entry.item is not None]
        async for first, entries in self._changes():
            last = await asyncio.to_thread(self._overlay.known, entries)
            left = [entry for number, entry in enumerate(entries, first) if last[entry.mark] == number]
            self.erased += [entry.mark for entry in left if entry.is_erased]
            yield [entry for entry in left if entry.item is not None]

    def close(self) -> None:
        """Let go of the temporary file."""
        self._overlay.close()

    async def _base(self) -> AsyncIterator[list[Entry]]:
        for manifest in self._chain:
            async for entries in self._frames(manifest, manifest.ports[self._port].base):
                yield entries

    async def _changes(self) -> AsyncIterator[tuple[int, list[Entry]]]:
        """Entries with the number of the first, counted over the whole chain."""
        number = 0
        for manifest in self._chain:
            async for entries in self._frames(manifest, manifest.ports[self._port].changes):
                yield number, entries
                number += len(entries)
        if self._tail is not None:
            async for entries in self._tail.entries():
                yield number, entries
                number += len(entries)

    async def _frames(self, manifest: Manifest, objects: Sequence[ObjectInfo]) -> AsyncIterator[list[Entry]]:
        if not objects:
            return
        reader = await self._archive.reader(manifest.id)
        for info in objects:
            async for entries in reader.frames(info):
                yield entries


class _Overlay:
    """Which entry is the last of its key, by number; in a temporary file."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()  # SQLite crashes where a connection is closed during a call
        self._path = path
        self._sql: sqlite3.Connection | None = None

    def note(self, first: int, entries: Sequence[Entry]) -> None:
        rows = [(entry.mark, number) for number, entry in enumerate(entries, first)]
        with self._lock, _in_room():
            sql = self._sql = self._sql or _opened(self._path)
            sql.execute("BEGIN")
            sql.executemany("INSERT OR REPLACE INTO last VALUES (?, ?)", rows)
            sql.execute("COMMIT")

    def known(self, entries: Sequence[Entry]) -> dict[bytes, int]:
        """The number of the last entry for each key that has one."""
        if self._sql is None:
            return {}
        found: dict[bytes, int] = {}
        for start in range(0, len(entries), _AT_ONCE):
            marks = [entry.mark for entry in entries[start : start + _AT_ONCE]]
            places = ",".join("?" * len(marks))
            with self._lock, _in_room():
                found.update(self._sql.execute(f"SELECT key, number FROM last WHERE key IN ({places})", marks))  # noqa: S608 - question marks
        return found

    def close(self) -> None:
        with self._lock:
            if self._sql is not None:
                self._sql.close()


def _opened(path: Path) -> sqlite3.Connection:
    sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        sql.execute("PRAGMA journal_mode=OFF")
        sql.execute("PRAGMA synchronous=OFF")
        sql.execute("CREATE TABLE last(key BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID")
    except BaseException:
        sql.close()
        raise
    return sql


@contextmanager
def _in_room() -> Iterator[None]:
    """What fails in here has no room, for nobody else touches the file."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StorageFull(
            f"The temporary folder has no room for the index of a restore ({exc}); set TMPDIR to a larger one."
        ) from exc
