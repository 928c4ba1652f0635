"""The EventSink port: an append-only log of events, durable and free of duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType, Protocol

from pydantic import JsonValue

from storycore.ports.lifecycle import Port

__all__ = ["Emitted", "Event", "EventPage", "EventSink", "Offset", "StoredEvent"]

Offset = NewType("Offset", int)
"""An event's place in the log: positive and growing; gaps are possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened (the attributes are those of CloudEvents 1.0 that storycore needs).

    Args:
        id: unique for ever; an event that is emitted twice with one id is kept once. 1 to 128 characters.
        type: what happened, for example ``"story.published"``; 1 to 128 characters.
        at: when it happened, aware UTC, kept to the microsecond.
        subject: who or what it is about, for example a user id; ``""`` when nobody. At most 512 characters.
        data: the details; at most 256 KiB as JSON (the limit of common event buses).
    """

    id: str
    type: str
    at: datetime
    subject: str = ""
    data: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and its place in the log."""

    offset: Offset
    event: Event


@dataclass(frozen=True, slots=True)
class Emitted:
    """What became of one event: its place, and whether it was there already."""

    id: str
    offset: Offset
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in the order of their offsets, and the offset to go on behind; a reader at the end can wait with it."""

    events: Sequence[StoredEvent]
    next: Offset


class EventSink(Port, Protocol):
    """An append-only log.

    Promised by every adapter: an emitted event is durable to the degree the capabilities state; offsets follow the
    order in which emits returned; an id is kept once, and emitting it again gives the first offset and changes nothing.
    """

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        """Append events, all or none, in their order; ids that repeat within the call count as duplicates."""
        ...

    async def read(
        self,
        after: Offset | None = None,
        *,
        types: Sequence[str] = (),
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
    ) -> EventPage:
        """Events behind ``after`` (``None``: from the first).

        Args:
            types: only these types, at most 100; empty: all.
            subject: only about this one; ``None``: all.
            since, until: only events with ``since <= at < until``.
            limit: 1 to 10 000.

        A page that is shorter than the limit is at the end of the log as it was when read.
        """
        ...

    async def trim(self, before: datetime) -> int:
        """Remove events with ``at < before``; returns how many. Their ids may from then on be used again."""
        ...
