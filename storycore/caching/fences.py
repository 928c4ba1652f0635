"""Fences: what is being read or loaded now, so that an invalidation can keep it out of the memory tier."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from storycore.caching.entries import Slot

__all__ = ["Fences", "Ticket"]


class Ticket:
    """The permission to put what was read into the memory tier; an invalidation takes it away.

    Args:
        key: of the entry.
        tags: of the entry.
        is_told: whether others' changes of what is read under it are told.
    """

    __slots__ = ("alive", "is_told", "key", "tags")

    def __init__(self, key: str, tags: Sequence[str], *, is_told: bool) -> None:
        self.key = key
        self.tags = tags
        self.is_told = is_told
        self.alive = True


class Fences:
    """All tickets that are out; safe to use from several threads.

    A read takes its ticket before it looks, and fills the memory tier only while the ticket is alive. So whatever was
    read before an invalidation in this process cannot enter after it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: dict[str, set[Ticket]] = {}

    @contextmanager
    def tickets(self, slots: Sequence[Slot[Any]], *, are_told: bool) -> Iterator[list[Ticket]]:
        """A ticket for each entry while the block runs."""
        tickets = [Ticket(slot.key, slot.tags, is_told=are_told) for slot in slots]
        with self._lock:
            for ticket in tickets:
                self._tickets.setdefault(ticket.key, set()).add(ticket)
        try:
            yield tickets
        finally:
            self._give_back(tickets)

    def pass_through(self, ticket: Ticket, act: Callable[[], None]) -> None:
        """Run ``act`` if the ticket is alive; no invalidation can come between the look and the act."""
        with self._lock:
            if ticket.alive:
                act()

    def kill(self, keys: Iterable[str]) -> None:
        """Take away the tickets of these keys."""
        with self._lock:
            for key in keys:
                for ticket in self._tickets.get(key, ()):
                    ticket.alive = False

    def kill_tagged(self, tags: Iterable[str]) -> None:
        """Take away the tickets of everything that carries one of the tags."""
        wanted = frozenset(tags)
        with self._lock:
            for tickets in self._tickets.values():
                for ticket in tickets:
                    if not wanted.isdisjoint(ticket.tags):
                        ticket.alive = False

    def kill_all(self) -> None:
        """Take away every ticket."""
        with self._lock:
            for tickets in self._tickets.values():
                for ticket in tickets:
                    ticket.alive = False

    def _give_back(self, tickets: Sequence[Ticket]) -> None:
        with self._lock:
            for ticket in tickets:
                others = self._tickets[ticket.key]
                others.discard(ticket)
                if not others:
                    del self._tickets[ticket.key]
