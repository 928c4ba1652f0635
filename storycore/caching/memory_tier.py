"""The tier in this process: bounded in bytes and entries, evicting by S3-FIFO, with a time to live by the clock.

S3-FIFO keeps new entries in a small queue; what was read again there moves to the main queue, and what comes back soon
after its eviction (the ghost list remembers keys) goes to the main queue at once. On skewed traces it hits more often
than LRU, and a hit only counts up, so that reading takes no lock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from storycore.ports.environment import Clock

__all__ = ["Held", "MemoryTier"]

_ENTRY_BYTES = 300
"""What an entry costs beside its key and value; measured for key objects, queue slots and this record."""
_SMALL_SHARE = 10
_MOST_READS = 3


@dataclass(slots=True, eq=False)
class Held:
    """An entry of the memory tier.

    Args:
        key: of the entry.
        kept: what the codec's ``keep`` made of the payload; ``None`` when ``absent``.
        absent: a remembered "there is nothing".
        stored_at: when the value was loaded, microseconds since 1970.
        until: from this instant on the entry is gone.
        tags: whose invalidation removes the entry.
        size_bytes: of key and payload.
    """

    key: str
    kept: object
    absent: bool
    stored_at: int
    until: datetime
    tags: Sequence[str]
    size_bytes: int
    reads: int = 0


class MemoryTier:
    """Entries by key; safe to use from several threads.

    Args:
        clock: tells the time.
        max_bytes: bound on keys, payloads and bookkeeping; 0 keeps nothing.
        max_entries: bound on the number of entries.
    """

    def __init__(self, clock: Clock, *, max_bytes: int, max_entries: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._entries: dict[str, Held] = {}
        self._tagged: dict[str, set[str]] = {}
        self._small: deque[Held] = deque()
        self._main: deque[Held] = deque()
        self._ghosts: OrderedDict[str, None] = OrderedDict()
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
        if held.until <= self._clock.now():
            self._drop_exactly(held)
            return None
        if held.reads < _MOST_READS:
            held.reads += 1
        return held

    def put(self, held: Held) -> None:
        """Add or replace an entry; one that alone exceeds the bound is not kept."""
        with self._lock:
            self._remove(held.key)
            if _cost(held) > self._max_bytes:
                return
            self._add(held)
            while self.size_bytes > self._max_bytes or len(self._entries) > self._max_entries:
                self._evict()
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

    def _add(self, held: Held) -> None:
        self._entries[held.key] = held
        self.size_bytes += _cost(held)
        for tag in held.tags:
            self._tagged.setdefault(tag, set()).add(held.key)
        if held.key in self._ghosts:
            del self._ghosts[held.key]
            self._main.append(held)
        else:
            self._small.append(held)
            self._small_bytes += _cost(held)

    def _evict(self) -> None:
        crowded = (
            self._small_bytes * _SMALL_SHARE > self._max_bytes or len(self._small) * _SMALL_SHARE > self._max_entries
        )
        if crowded or not self._main:
            self._evict_from_small()
        else:
            self._evict_from_main()

    def _evict_from_small(self) -> None:
        while self._small:
            held = self._small.popleft()
            self._small_bytes -= _cost(held)
            if self._entries.get(held.key) is not held:
                continue
            if held.reads > 1:
                held.reads = 0
                self._main.append(held)
                return
            self._forget(held)
            self._remember(held.key)
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

    def _remember(self, key: str) -> None:
        self._ghosts[key] = None
        while len(self._ghosts) > len(self._entries):
            self._ghosts.popitem(last=False)

    def _drop_exactly(self, held: Held) -> None:
        with self._lock:
            if self._entries.get(held.key) is held:
                self._remove(held.key)

    def _remove(self, key: str) -> None:
        held = self._entries.pop(key, None)
        if held is None:
            return
        self.size_bytes -= _cost(held)
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
        self._small_bytes = sum(_cost(held) for held in self._small)


def _cost(held: Held) -> int:
    return held.size_bytes + _ENTRY_BYTES
