"""The reference EventSink: a list in the order of arrival."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime

from storycore.memory.config import MemoryConfig
from storycore.ports.capabilities import Capabilities
from storycore.ports.environment import Environment
from storycore.ports.events import Emitted, Event, EventPage, Offset, StoredEvent
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle

__all__ = ["MemoryEventSink", "open_events"]


def open_events(config: MemoryConfig, env: Environment) -> MemoryEventSink:
    """The event log in memory, not yet open."""
    return MemoryEventSink()


class MemoryEventSink(Lifecycle):
    """Events in a list, kept until the object is dropped."""

    def __init__(self) -> None:
        self._log: list[StoredEvent] = []
        self._offsets: dict[str, Offset] = {}
        self._last = Offset(0)

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("memory")

    @property
    def capabilities(self) -> Capabilities:
        """No extra features; nothing outlives the process."""
        return Capabilities()

    async def health(self, *, deep: bool = False) -> Health:
        """Count what is held."""
        if not self._opened:
            return Health(ok=False, detail="The event log is not open; call open().")
        return Health(ok=True, detail="Events in memory.", facts={"events": len(self._log)})

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        """Append what is new."""
        self._require_open()
        return [self._append(event) for event in events]

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
        """Filter the whole list; a page that is not full goes on behind everything that was looked at."""
        self._require_open()
        start = after or Offset(0)
        found = [
            stored
            for stored in self._log
            if stored.offset > start
            and (not types or stored.event.type in types)
            and (subject is None or stored.event.subject == subject)
            and (since is None or since <= stored.event.at)
            and (until is None or stored.event.at < until)
        ]
        page = copy.deepcopy(found[:limit])
        return EventPage(events=page, next=page[-1].offset if len(page) == limit else max(start, self._last))

    async def trim(self, before: datetime) -> int:
        """Drop old events; offsets are never given twice."""
        self._require_open()
        kept = [stored for stored in self._log if stored.event.at >= before]
        removed = len(self._log) - len(kept)
        self._log = kept
        self._offsets = {stored.event.id: stored.offset for stored in kept}
        return removed

    def _append(self, event: Event) -> Emitted:
        if event.id in self._offsets:
            return Emitted(event.id, self._offsets[event.id], duplicate=True)
        self._last = Offset(self._last + 1)
        self._offsets[event.id] = self._last
        self._log.append(StoredEvent(self._last, copy.deepcopy(event)))
        return Emitted(event.id, self._last)
