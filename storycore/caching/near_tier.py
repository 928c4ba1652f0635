"""The memory tier behind fences: what was read before an invalidation in this process never enters after it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from storycore.caching.entries import Entry, Slot
from storycore.caching.fences import Fences, Ticket
from storycore.caching.memory_tier import EMPTY, Held, MemoryTier
from storycore.caching.policies import Answer, Tier
from storycore.ports.instants import moment

__all__ = ["NearTier"]

T = TypeVar("T")


class NearTier:
    """Copies in this process; safe to use from several threads.

    Args:
        memory: where they are.
        longest: how long a copy may live at most, counted from the read that brought it; ``None``: as long as the
            value is fresh.
        bridged: how long at most while the shared tier is out of reach.

    With ``hears``, others' changes of what is read from now on are told, and its copies live as long as the value.
    """

    def __init__(self, memory: MemoryTier, *, longest: timedelta | None, bridged: timedelta = timedelta(0)) -> None:
        self.memory = memory
        self.longest = longest
        self.hears = False
        self._bridged = bridged
        self._fences = Fences()

    def look(self, slot: Slot[T]) -> Answer[T] | None:
        """The copy for one caller."""
        held = self.memory.get(slot.key)
        if held is None:
            return None
        kept = held.kept
        if kept is not EMPTY:
            return Answer(slot.policy.codec.give(kept), Tier.MEMORY, int(held.stored_at))
        return Answer(None, Tier.MEMORY, int(held.stored_at), True) if self.memory.holds(held) else None

    def tickets(self, slots: Sequence[Slot[Any]], *, from_shared: bool = True) -> AbstractContextManager[list[Ticket]]:
        """The permission to ``remember`` what is read inside the block.

        Args:
            from_shared: whether it is read from the shared tier or stored there.
        """
        return self._fences.tickets(slots, are_told=self.hears and from_shared)

    def remember(
        self, slot: Slot[T], ticket: Ticket, entry: Entry[T], since: datetime, *, is_refreshed: bool = False
    ) -> None:
        """Keep a copy of what was read at ``since`` or later, unless an invalidation came between.

        The copy ends when the value is due to be loaded again, so that the next reader sees to that; with
        ``is_refreshed`` somebody does already, and it ends with the value.
        """
        longest = None if ticket.is_told else self.longest
        if longest is not None and not longest:
            return
        until = moment(entry.fresh_until if is_refreshed else entry.refresh_from)
        self._keep(slot, ticket, entry, until if longest is None else min(until, since + longest))

    def bridge(self, slot: Slot[T], ticket: Ticket, entry: Entry[T], since: datetime) -> None:
        """Keep a copy for the short time for which that is safe while the shared tier is out of reach."""
        longest = self._bridged if self.longest is None else min(self._bridged, self.longest)
        if longest:
            self._keep(slot, ticket, entry, min(moment(entry.fresh_until), since + longest))

    def _keep(self, slot: Slot[T], ticket: Ticket, entry: Entry[T], until: datetime) -> None:
        if not entry.is_kept:
            return
        size = len(slot.key) + len(entry.payload)
        held = Held(
            until.timestamp(),
            key=slot.key,
            kept=EMPTY if entry.absent else entry.kept,
            stored_at=entry.stored_at,
            size_bytes=size,
            tags=slot.tags,
        )
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
