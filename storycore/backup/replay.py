"""Replay: what a chain of backups holds of a port at its end, each item once."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from storycore.backup.archive import Archive
from storycore.backup.entries import Entry
from storycore.backup.manifest import Manifest, ObjectInfo
from storycore.backup.recordings import Tail

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
            left = [entry for entry in entries if entry.mark not in covered]
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
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA journal_mode=OFF")
        self._sql.execute("PRAGMA synchronous=OFF")
        self._sql.execute("CREATE TABLE last(key BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID")
        self._is_empty = True

    def note(self, first: int, entries: Sequence[Entry]) -> None:
        rows = [(entry.mark, number) for number, entry in enumerate(entries, first)]
        with self._lock:
            self._sql.execute("BEGIN")
            self._sql.executemany("INSERT OR REPLACE INTO last VALUES (?, ?)", rows)
            self._sql.execute("COMMIT")
        self._is_empty = False

    def known(self, entries: Sequence[Entry]) -> dict[bytes, int]:
        """The number of the last entry for each key that has one."""
        if self._is_empty:
            return {}
        found: dict[bytes, int] = {}
        for start in range(0, len(entries), _AT_ONCE):
            marks = [entry.mark for entry in entries[start : start + _AT_ONCE]]
            places = ",".join("?" * len(marks))
            with self._lock:
                found.update(self._sql.execute(f"SELECT key, number FROM last WHERE key IN ({places})", marks))  # noqa: S608 - question marks
        return found

    def close(self) -> None:
        with self._lock:
            self._sql.close()
