"""Events in backups: a log is read to its end, and an increment goes on where the parent stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from storycore.backup.entries import Entry
from storycore.backup.items import event_item, read_event
from storycore.backup.manifest import PortContent
from storycore.backup.sources.contract import Contents, Reached, Sink, Step
from storycore.ports.environment import Environment
from storycore.ports.events import EventSink, Offset, StoredEvent
from storycore.ports.instants import micros
from storycore.ports.lifecycle import PortName

__all__ = ["EventSource"]

_PAGE = 1000
_EARLIEST, _EARLIEST_AT = "earliest", "earliest_at"
"""Facts of a backup: see ``_Ends``."""


class EventSource:
    """The events of a log, each under its id.

    A log keeps what it has: a restore adds what is missing, and takes nothing away in any mode.

    Args:
        sink: the open port.
        env: time.
    """

    name = str(PortName.EVENTS)
    forgets = False

    def __init__(self, sink: EventSink, env: Environment) -> None:
        self._sink = sink
        self._env = env
        self._known: dict[bytes, bytes] | None = None

    async def read(self, sink: Sink) -> Reached:
        """All events, to the end of the log."""
        return await self._read_behind(None, _Ends(), sink.base)

    async def tells(self, parent: PortContent) -> bool:
        """Where nothing was trimmed since, and the log is the same one.

        A trim takes the earliest event before any other; so it is enough that this one is in its place, and the last.
        """
        ends = _Ends.of(parent)
        return all([bool(place) and await self._has(place) for place in (ends.last, ends.earliest)])

    async def read_changes(self, sink: Sink, parent: PortContent) -> Reached:
        """The events behind the last one that the backup holds."""
        ends = _Ends.of(parent)
        return await self._read_behind(_offset(ends.last), ends, sink.change)

    async def _has(self, place: str) -> bool:
        page = await self._sink.read(Offset(_offset(place) - 1), limit=1)
        return [_place(stored) for stored in page.events] == [place]

    def check(self, facts: Mapping[str, str | int]) -> None:
        """Any log takes any event."""

    def is_live(self, entry: Entry) -> bool:
        """No event ends by itself."""
        return True

    def kind(self, entry: Entry) -> str:
        """The event's type; ``""`` where it is gone."""
        return "" if entry.item is None else read_event(entry.item).type

    async def scan(self) -> AsyncIterator[list[Entry]]:
        """All events, in their order."""
        after: Offset | None = None
        while (page := await self._sink.read(after, limit=_PAGE)).events:
            yield [_entry(stored) for stored in page.events]
            after = page.next

    async def held(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The events with these ids; the log is read once and remembered."""
        if self._known is None:
            self._known = {entry.key: entry.item or b"" async for entries in self.scan() for entry in entries}
        return [self._known.get(key) for key in keys]

    async def apply(self, entries: Sequence[Entry], contents: Contents, *, overwrite: bool) -> list[bool]:
        """Emit what is missing; an id that is there already keeps its event."""
        self._known = None
        events = [read_event(entry.item) for entry in entries if entry.item is not None]
        emitted = {each.id: not each.duplicate for each in await self._sink.emit(events)} if events else {}
        return [entry.item is None or overwrite or emitted[entry.key.decode()] for entry in entries]

    async def _read_behind(
        self, after: Offset | None, ends: _Ends, give: Callable[[Sequence[Step]], Awaitable[None]]
    ) -> Reached:
        """Read to the end as it is now: what is emitted meanwhile is left to the next increment.

        Args:
            ends: of what is held already.
        """
        while True:
            looked = self._env.clock.now()
            page = await self._sink.read(after, limit=_PAGE)
            await give([Step.of(_entry(stored)) for stored in page.events])
            ends, after = ends.over(page.events), page.next
            if len(page.events) < _PAGE:
                return Reached(looked, "point", position=ends.last or None, facts=ends.facts)


@dataclass(frozen=True, slots=True)
class _Ends:
    """The events with which a log begins and ends: their offsets and ids, for offsets of all logs look alike.

    Args:
        last: of the highest offset; ``""``: there is no event.
        earliest: that happened before all others; ``""``: none, or a backup of earlier that does not tell.
        earliest_at: when that was, in microseconds since 1970.
    """

    last: str = ""
    earliest: str = ""
    earliest_at: int = 0

    @classmethod
    def of(cls, held: PortContent) -> _Ends:
        """Those of a backup."""
        at = held.facts.get(_EARLIEST_AT, 0)
        return cls(held.position or "", str(held.facts.get(_EARLIEST, "")), int(at))

    @property
    def facts(self) -> Mapping[str, str | int]:
        """What a backup says of the earliest."""
        return {_EARLIEST: self.earliest, _EARLIEST_AT: self.earliest_at} if self.earliest else {}

    def over(self, events: Sequence[StoredEvent]) -> _Ends:
        """The same with more events behind."""
        if not events:
            return self
        first = min(events, key=lambda stored: stored.event.at)
        at, last = micros(first.event.at), _place(events[-1])
        if self.earliest and self.earliest_at <= at:
            return replace(self, last=last)
        return _Ends(last, _place(first), at)


def _place(stored: StoredEvent) -> str:
    return f"{stored.offset} {stored.event.id}"


def _offset(place: str) -> Offset:
    return Offset(int(place.partition(" ")[0]))


def _entry(stored: StoredEvent) -> Entry:
    return Entry(stored.event.id.encode(), event_item(stored.event))
