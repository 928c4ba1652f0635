"""The index: a mark for each item of a port, on disk and not in memory, from which its digest comes.

It tells which items changed and which vanished, how many there are, and whether two states are equal, without keeping
an item. A mark is 16 bytes of SHA-256 over key and item, under the mark of the key.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from storycore.backup.entries import Entry
from storycore.errors import Corrupt, StorageFull
from storycore.ports.instants import micros

__all__ = ["Index", "Mark", "item_mark"]

_KEY_BYTES = 12
_MARK_BYTES = 16
_TIME_BYTES = 8
_NEVER = 2**63 - 1
_ROWS = 4096


class Mark(NamedTuple):
    """What the index keeps of an item.

    Args:
        key: ``key_mark`` of its key.
        mark: ``item_mark`` of it; ``None``: it is gone.
        expires_at: when it ends by itself, in microseconds since 1970.
    """

    key: bytes
    mark: bytes | None
    expires_at: int = _NEVER


def item_mark(key: bytes, item: bytes) -> bytes:
    """16 bytes that stand for an item under its key."""
    return sha256(len(key).to_bytes(8, "little") + key + item).digest()[:_MARK_BYTES]


class Index:
    """Marks in a temporary SQLite file. Every method blocks: call them from a thread.

    ``close`` waits for a call that still runs in a thread when whoever awaited it was cancelled.

    Args:
        path: a file that does not exist yet; whoever made the folder removes it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()  # SQLite crashes where a connection is closed during a call
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA journal_mode=OFF")
        self._sql.execute("PRAGMA synchronous=OFF")
        self._sql.execute("PRAGMA cache_size=-16000")
        self._sql.execute(
            "CREATE TABLE item(key BLOB PRIMARY KEY, mark BLOB NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID"
        )
        self._sql.execute("CREATE TABLE changed(key BLOB PRIMARY KEY) WITHOUT ROWID")
        self._sql.execute("CREATE TABLE seen(key BLOB PRIMARY KEY) WITHOUT ROWID")

    def note(self, marks: Sequence[Mark], *, changed: bool) -> None:
        """Take in marks, the later over the earlier.

        Args:
            changed: whether ``entries(changed_only=True)`` tells of them.
        """
        latest = {mark.key: mark for mark in marks}.values()
        there = [mark for mark in latest if mark.mark is not None]
        gone = [(mark.key,) for mark in latest if mark.mark is None]
        with self._writing():
            self._sql.executemany("DELETE FROM item WHERE key = ?", gone)
            self._sql.executemany("INSERT OR REPLACE INTO item VALUES (?, ?, ?)", there)
            if changed:
                self._sql.executemany("INSERT OR IGNORE INTO changed VALUES (?)", [(mark.key,) for mark in latest])

    def differing(self, marks: Sequence[Mark]) -> list[bool]:
        """For each mark whether the index has another one for its key, or none."""
        with self._lock:
            held = (self._sql.execute("SELECT mark FROM item WHERE key = ?", (mark.key,)).fetchone() for mark in marks)
            return [found is None or found[0] != mark.mark for found, mark in zip(held, marks, strict=True)]

    def saw(self, marks: Sequence[Mark]) -> None:
        """Remember that these items were met, for ``vanished``."""
        with self._writing():
            self._sql.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(mark.key,) for mark in marks])

    def vanished(self) -> list[bytes]:
        """A few key marks of items that were not met; note them as gone, and ask again until there are none."""
        with self._lock:
            rows = self._sql.execute("SELECT key FROM item WHERE key NOT IN (SELECT key FROM seen) LIMIT ?", (_ROWS,))
            return [key for (key,) in rows]

    def has(self, key: bytes) -> bool:
        """Whether an item is there under this key mark."""
        with self._lock:
            return self._sql.execute("SELECT 1 FROM item WHERE key = ?", (key,)).fetchone() is not None

    def state(self, as_of: datetime) -> tuple[int, str]:
        """How many items are live at a moment, and the digest of them all."""
        digest, count = sha256(), 0
        with self._lock:
            rows = self._sql.execute("SELECT key, mark FROM item WHERE expires > ? ORDER BY key", (micros(as_of),))
            while found := rows.fetchmany(_ROWS):
                count += len(found)
                digest.update(b"".join(key + mark for key, mark in found))
        return count, digest.hexdigest()

    def entries(self, *, changed_only: bool) -> Iterator[list[Entry]]:
        """The index as entries, by key mark, in lists; with ``changed_only`` also of what is gone."""
        source = "changed LEFT JOIN item USING (key)" if changed_only else "item"
        with self._lock:
            rows = self._sql.execute(f"SELECT key, mark, expires FROM {source} ORDER BY key")  # noqa: S608 - own constants
        while found := self._fetched(rows):
            yield [Entry(key, None if mark is None else mark + _packed(expires)) for key, mark, expires in found]

    def load(self, entries: Iterable[Entry]) -> None:
        """Take in what ``entries`` gave, from another index.

        Raises:
            Corrupt: these are no marks.
        """
        self.note([_read(entry) for entry in entries], changed=False)

    def _fetched(self, rows: sqlite3.Cursor) -> list[tuple[bytes, bytes | None, int]]:
        with self._lock:
            return rows.fetchmany(_ROWS)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._lock:
                self._sql.execute("BEGIN")
                yield
                self._sql.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            raise StorageFull(
                f"The temporary folder has no room for the index of a backup ({exc}); set TMPDIR to a larger one."
            ) from exc

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _packed(expires: int) -> bytes:
    return b"" if expires == _NEVER else expires.to_bytes(_TIME_BYTES, "little", signed=True)


def _read(entry: Entry) -> Mark:
    if len(entry.key) != _KEY_BYTES:
        raise Corrupt("An index of the backup has a key that is no mark.")
    if entry.item is None:
        return Mark(entry.key, None)
    mark, end = entry.item[:_MARK_BYTES], entry.item[_MARK_BYTES:]
    if len(mark) != _MARK_BYTES or len(end) not in (0, _TIME_BYTES):
        raise Corrupt("An index of the backup has a mark of another length.")
    return Mark(entry.key, mark, int.from_bytes(end, "little", signed=True) if end else _NEVER)
