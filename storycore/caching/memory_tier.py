"""The tier in this process: bounded in bytes and entries, evicting by S3-FIFO, with a time to live by the clock.

S3-FIFO keeps new entries in a small queue; what was read again there moves to the main queue, and what comes back soon
after its eviction (the ghost list remembers keys) goes to the main queue at once. On skewed traces it hits more often
than LRU, and a hit only counts up, so that reading takes no lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self

from storycore.caching.ghosts import Ghosts
from storycore.ports.environment import Clock, SystemClock

__all__ = ["EMPTY", "MOST_READS", "Held", "MemoryTier", "seconds_of"]


class _Empty:
    """The type of ``EMPTY``."""


EMPTY: Final = _Empty()
"""What is kept of a remembered "there is nothing", and of an entry that has left the tier."""

MOST_READS: Final = 3
"""Reads are counted up to here."""

_BLOCK_BYTES = 64
_BLOCKS = 2
_ENTRY_BYTES = 272
"""What an entry costs beside its key's and its payload's characters: in a full tier 187 bytes for this record and its
places in dict, queue and among the ghosts, as ``benchmarks/caching.py`` measures; the rest are two objects' heads."""
_SMALL_SHARE = 10


class Held(float):
    """An entry of the memory tier; as a number it is the instant from which on it is gone, in seconds since 1970.

    The number lies in the object itself, and ``marks`` holds two counts, so that an entry costs 40 bytes less than
    one with a slot for each: size in blocks of 64 bytes, and in the last two bits the reads, up to three. Entries are
    told apart by ``is``, since ``==`` compares the instants.

    Args:
        until: the instant.
        key: of the entry.
        kept: what the codec's ``keep`` made of the payload; ``EMPTY`` for a remembered "there is nothing".
        stored_at: when the value was loaded, microseconds since 1970; exact.
        size_bytes: of key and payload.
        tags: whose invalidation removes the entry.
    """

    __slots__ = ("kept", "key", "marks", "stored_at")

    tags: Sequence[str] = ()
    key: str
    kept: object
    stored_at: float
    marks: int

    def __new__(
        cls, until: float, *, key: str, kept: object, stored_at: float, size_bytes: int, tags: Sequence[str] = ()
    ) -> Self:
        """Make an entry; one with tags has a place for them."""
        held: Self = super().__new__(_Tagged if tags else cls, until)  # type: ignore[assignment]  # one of us, or of a subclass
        held.key, held.kept, held.stored_at = key, kept, float(stored_at)
        held.marks = -(-(size_bytes + _ENTRY_BYTES) // _BLOCK_BYTES) << _BLOCKS
        if tags:
            held.tags = tags
        return held

    @property
    def reads(self) -> int:
        """How often it was read lately, at most three times."""
        return self.marks & MOST_READS

    @reads.setter
    def reads(self, count: int) -> None:
        self.marks = self.marks & ~MOST_READS | count

    @property
    def size_bytes(self) -> int:
        """What it counts for against the bound."""
        return (self.marks >> _BLOCKS) * _BLOCK_BYTES


class _Tagged(Held):
    """An entry that carries tags."""

    __slots__ = ("tags",)


class MemoryTier:
    """Entries by key; safe to use from several threads.

    Args:
        clock: tells the time.
        max_bytes: bound on keys, payloads and bookkeeping; 0 keeps nothing.
        max_entries: bound on the number of entries.

    ``peek`` and ``now`` are what a reader in a hurry needs: the entry of a key, live or not, and the time by which
    he may judge; he counts his read in ``marks``.
    """

    def __init__(self, clock: Clock, *, max_bytes: int, max_entries: int) -> None:
        self.now = seconds_of(clock)
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._entries: dict[str, Held] = {}
        self.peek: Callable[[str], Held | None] = self._entries.get
        self._tagged: dict[str, set[str]] = {}
        self._small: deque[Held] = deque()
        self._main: deque[Held] = deque()
        self._ghosts = Ghosts()
        self._small_bytes = 0
        self.size_bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Held | None:
        """The live entry."""
        held = self._entries.get(key)
        if held is None:
            return None
        if held <= self.now():
            self._drop_exactly(held)
            return None
        marks = held.marks
        if marks & MOST_READS != MOST_READS:
            held.marks = marks + 1
        return held

    def holds(self, held: Held) -> bool:
        """Whether the entry is still here; who finds ``EMPTY`` in it has to ask."""
        with self._lock:
            return self._entries.get(held.key) is held

    def put(self, held: Held) -> None:
        """Add or replace an entry; one that alone exceeds the bound is not kept."""
        with self._lock:
            self._remove(held.key)
            if held.size_bytes > self._max_bytes or self._max_entries < 1:
                return
            while self.size_bytes + held.size_bytes > self._max_bytes or len(self._entries) >= self._max_entries:
                self._evict()
            self._add(held)
            self._compact()

    def remove(self, keys: Iterable[str]) -> None:
        """Drop entries."""
        with self._lock:
            for key in keys:
                self._remove(key)

    def remove_tagged(self, tags: Iterable[str]) -> None:
        """Drop all entries that carry one of the tags."""
        with self._lock:
            for tag in tags:
                for key in list(self._tagged.get(tag, ())):
                    self._remove(key)

    def clear(self, prefix: str = "") -> None:
        """Drop all entries whose key begins with ``prefix``."""
        with self._lock:
            for key in [key for key in self._entries if key.startswith(prefix)]:
                self._remove(key)

    def _drop_exactly(self, held: Held) -> None:
        with self._lock:
            if self._entries.get(held.key) is held:
                self._remove(held.key)

    def _add(self, held: Held) -> None:
        self._entries[held.key] = held
        self.size_bytes += held.size_bytes
        for tag in held.tags:
            self._tagged.setdefault(tag, set()).add(held.key)
        if self._ghosts.take(held.key):
            self._main.append(held)
        else:
            self._small.append(held)
            self._small_bytes += held.size_bytes

    def _evict(self) -> None:
        crowded = (
            self._small_bytes * _SMALL_SHARE >= self._max_bytes or len(self._small) * _SMALL_SHARE >= self._max_entries
        )
        if crowded or not self._main:
            self._evict_from_small()
        else:
            self._evict_from_main()

    def _evict_from_small(self) -> None:
        while self._small:
            held = self._small.popleft()
            self._small_bytes -= held.size_bytes
            if self._entries.get(held.key) is not held:
                continue
            if held.reads > 1:
                held.reads = 0
                self._main.append(held)
                return
            self._ghosts.make_room(len(self._entries))
            self._ghosts.add(held.key)
            self._forget(held)
            return

    def _evict_from_main(self) -> None:
        while self._main:
            held = self._main.popleft()
            if self._entries.get(held.key) is not held:
                continue
            if held.reads > 0:
                held.reads -= 1
                self._main.append(held)
                continue
            self._forget(held)
            return

    def _forget(self, held: Held) -> None:
        self._remove(held.key)
        self.evictions += 1

    def _remove(self, key: str) -> None:
        held = self._entries.pop(key, None)
        if held is None:
            return
        held.kept = EMPTY  # the queues may hold on to the entry for a while, and shall not to its value
        self.size_bytes -= held.size_bytes
        for tag in held.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]

    def _compact(self) -> None:
        """Drop removed entries from the queues once they outnumber the live ones."""
        if len(self._small) + len(self._main) <= 2 * len(self._entries) + 64:
            return
        self._small = deque(held for held in self._small if self._entries.get(held.key) is held)
        self._main = deque(held for held in self._main if self._entries.get(held.key) is held)
        self._small_bytes = sum(held.size_bytes for held in self._small)


def seconds_of(clock: Clock) -> Callable[[], float]:
    """The clock's time in seconds since 1970; the machine's own clock is asked directly, at a fifth of the price."""
    return time.time if type(clock) is SystemClock else lambda: clock.now().timestamp()
