"""The index: a mark for each item of a port, on disk and not in memory, from which its digest comes.

It tells which items changed and which vanished, how many there are, and whether two states are equal, without keeping
an item. A mark is 16 bytes of SHA-256 over key and item, under the mark of the key.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from storycore.backup.entries import KEY_MARK_BYTES, Entry, unpacked
from storycore.backup.runs import KEY_BYTES, ROW_BYTES, TAIL_BYTES, Runs, merged
from storycore.errors import Corrupt
from storycore.ports.instants import micros

__all__ = ["GONE", "Index", "Mark", "item_mark", "read_rows", "tail_of"]

_MARK_BYTES = 16
_LENGTH = struct.Struct("<Q")
_TIME = struct.Struct("<q")
_NEVER = 2**63 - 1
_ENDLESS = _TIME.pack(_NEVER)
GONE = bytes(_MARK_BYTES) + _TIME.pack(-(2**63))
"""What is noted under the key of an item that is gone: a time that lies before every moment."""

_ENTRY = struct.Struct("<BII")
_PUT_ENDLESS = _ENTRY.pack(1, KEY_BYTES, _MARK_BYTES)
_PUT_ENDING = _ENTRY.pack(1, KEY_BYTES, TAIL_BYTES)
_DELETE = _ENTRY.pack(2, KEY_BYTES, 0)


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


def item_mark(key: bytes, head: bytes, body: bytes = b"") -> bytes:
    """16 bytes that stand for an item under its key; of an item in two parts the same as of both together."""
    hashed = sha256(_LENGTH.pack(len(key)) + key + head)
    hashed.update(body)
    return hashed.digest()[:_MARK_BYTES]


def tail_of(mark: bytes, expires_at: datetime | None) -> bytes:
    """What is noted of an item under its key: its mark, and when it ends by itself."""
    return mark + (_ENDLESS if expires_at is None else _TIME.pack(micros(expires_at)))


class Index:
    """Marks in sorted runs in temporary files. Every method blocks: call them from a thread.

    ``close`` waits for a call that still runs in a thread when whoever awaited it was cancelled.

    Args:
        path: no file has this name, nor one that begins with it; whoever made the folder removes them.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._held = Runs(path.with_name(path.name + ".held"))
        self._changed = Runs(path.with_name(path.name + ".changed"))
        self._seen = Runs(path.with_name(path.name + ".seen"))

    def note(self, marks: Iterable[Mark], *, changed: bool) -> None:
        """Take in marks, the later over the earlier.

        Args:
            changed: whether ``packed(changed_only=True)`` tells of them; those come behind all others.
        """
        self.note_tails({mark.key: _tail(mark) for mark in marks}, changed=changed)

    def note_tails(self, tails: Mapping[bytes, bytes], *, changed: bool) -> None:
        """The same of key marks, and of what ``tail_of`` or ``GONE`` says under each."""
        with self._lock:
            (self._changed if changed else self._held).put(tails)

    def differing(self, marks: Sequence[Mark]) -> list[bool]:
        """For each mark whether the index has another one for its key, or none."""
        with self._lock:
            return [self._mark(mark.key) != mark.mark for mark in marks]

    def saw(self, marks: Sequence[Mark]) -> None:
        """Remember that these items were met, for ``vanished``."""
        with self._lock:
            self._seen.put({mark.key: GONE for mark in marks})

    def vanished(self) -> Iterator[list[bytes]]:
        """The key marks of items that were not met, in lists; what is noted meanwhile changes nothing."""
        with self._lock:
            there = merged([*self._held.runs(), *self._changed.runs()])
            seen = merged(self._seen.runs())
        behind: list[bytes] = []
        for rows in self._each(there):
            last = rows[-1][:KEY_BYTES]
            while (not behind or behind[-1] < last) and (more := self._next(seen)):
                behind += [row[:KEY_BYTES] for row in more]
            met = set(behind)
            if lost := [key for row in rows if _is_there(row) and (key := row[:KEY_BYTES]) not in met]:
                yield lost
            behind = [key for key in behind if key > last]

    def has(self, key: bytes) -> bool:
        """Whether an item is there under this key mark."""
        with self._lock:
            return self._mark(key) is not None

    def state(self, as_of: datetime) -> tuple[int, str]:
        """How many items are live at a moment, and the digest of them all."""
        digest, count, now = sha256(), 0, micros(as_of)
        with self._lock:
            self._held.settle()
            for rows in merged([*self._held.runs(), *self._changed.runs()]):
                live = [row[:-8] for row in rows if row[-8:] == _ENDLESS or _end(row) > now]
                digest.update(b"".join(live))
                count += len(live)
        return count, digest.hexdigest()

    def packed(self, *, changed_only: bool) -> Iterator[list[bytes]]:
        """The index as entries in the form of ``pack``, by key mark, in lists; what is gone only of what changed."""
        with self._lock:
            if not changed_only:
                self._held.settle()
            runs = self._changed.runs() if changed_only else [*self._held.runs(), *self._changed.runs()]
        for rows in self._each(merged(runs)):
            yield [_packed(row) for row in rows if changed_only or _is_there(row)]

    def load(self, rows: Sequence[bytes]) -> None:
        """Take in what ``read_rows`` read of another index."""
        with self._lock:
            self._held.append(rows)

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            for each in (self._held, self._changed, self._seen):
                each.close()

    def _mark(self, key: bytes) -> bytes | None:
        tail = self._changed.find(key)
        if tail is None:
            tail = self._held.find(key)
        return None if tail is None or tail == GONE else tail[:_MARK_BYTES]

    def _each(self, lists: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        while rows := self._next(lists):
            yield rows

    def _next(self, lists: Iterator[list[bytes]]) -> list[bytes]:
        with self._lock:
            return next(lists, [])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_rows(pieces: Iterable[bytes]) -> list[bytes]:
    """The rows of a frame that holds what ``Index.packed`` gave, in pieces.

    Raises:
        Corrupt: these are no marks.
    """
    content = b"".join(pieces)
    for head, end in ((_PUT_ENDLESS, _ENDLESS), (_PUT_ENDING, b"")):
        size = len(head) + ROW_BYTES - len(end)
        if len(content) % size == 0 and _all_begin(content, head, size):
            return [content[at + len(head) : at + size] + end for at in range(0, len(content), size)]
    return [_row(entry) for entry in unpacked([content])]


def _all_begin(content: bytes, head: bytes, size: int) -> bool:
    """Whether each so many bytes begin in one way."""
    count = len(content) // size
    return all(content[place::size] == bytes([each]) * count for place, each in enumerate(head))


def _row(entry: Entry) -> bytes:
    if len(entry.key) != KEY_MARK_BYTES:
        raise Corrupt("An index of the backup has a key that is no mark.")
    if entry.item is None:
        return entry.key + GONE
    end = entry.item[_MARK_BYTES:]
    if len(entry.item) not in (_MARK_BYTES, TAIL_BYTES):
        raise Corrupt("An index of the backup has a mark of another length.")
    return entry.key + entry.item[:_MARK_BYTES] + (end or _ENDLESS)


def _tail(mark: Mark) -> bytes:
    return GONE if mark.mark is None else mark.mark + _TIME.pack(mark.expires_at)


def _packed(row: bytes) -> bytes:
    if row[-8:] == _ENDLESS:
        return _PUT_ENDLESS + row[:-8]
    return _PUT_ENDING + row if _is_there(row) else _DELETE + row[:KEY_BYTES]


def _is_there(row: bytes) -> bool:
    return row[KEY_BYTES:] != GONE


def _end(row: bytes) -> int:
    end: int = _TIME.unpack_from(row, ROW_BYTES - _TIME.size)[0]
    return end
