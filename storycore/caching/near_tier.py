"""The memory tier behind fences: what was read before an invalidation in this process never enters after it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from storycore.caching.entries import Entry, Slot
from storycore.caching.envelope import moment
from storycore.caching.fences import Fences, Ticket
from storycore.caching.memory_tier import Held, MemoryTier
from storycore.caching.policies import Answer, Tier

__all__ = ["NearTier"]

T = TypeVar("T")


class NearTier:
    """Copies in this process; safe to use from several threads.

    Args:
        memory: where they are.
        longest: how long a copy may live at most, counted from the read that brought it; ``None``: as long as the
            value is fresh.
    """

    def __init__(self, memory: MemoryTier, *, longest: timedelta | None) -> None:
        self.memory = memory
        self._longest = longest
        self._fences = Fences()

    def look(self, slot: Slot[T]) -> Answer[T] | None:
        """The copy for one caller."""
        held = self.memory.get(slot.key)
        if held is None:
            return None
        value = None if held.absent else slot.policy.codec.give(held.kept)
        return Answer(value, Tier.MEMORY, held.stored_at, held.absent)

    def tickets(self, slots: Sequence[Slot[Any]]) -> AbstractContextManager[list[Ticket]]:
        """The permission to ``remember`` what is read inside the block."""
        return self._fences.tickets(slots)

    def remember(self, slot: Slot[T], ticket: Ticket, entry: Entry[T], since: datetime) -> None:
        """Keep a copy of what was read at ``since`` or later, unless an invalidation came between."""
        if not entry.is_kept:
            return
        until = moment(entry.fresh_until)
        if self._longest is not None:
            until = min(until, since + self._longest)
        size = len(slot.key) + len(entry.payload)
        held = Held(slot.key, entry.kept, entry.absent, entry.stored_at, until, slot.tags, size)
        self._fences.pass_through(ticket, lambda: self.memory.put(held))

    def forget(self, keys: Sequence[str]) -> None:
        """Remove copies, and keep out what is being read now."""
        self._fences.kill(keys)
        self.memory.remove(keys)

    def forget_tagged(self, tags: Sequence[str]) -> None:
        """As ``forget``, for everything that carries one of the tags."""
        self._fences.kill_tagged(tags)
        self.memory.remove_tagged(tags)

    def forget_all(self) -> None:
        """As ``forget``, for everything."""
        self._fences.kill_all()
        self.memory.clear()
