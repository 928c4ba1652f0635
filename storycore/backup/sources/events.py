"""Events in backups: a log is read to its end, and an increment goes on where the parent stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from storycore.backup.entries import Entry
from storycore.backup.items import event_item, read_event
from storycore.backup.sources.contract import Contents, Reached, Sink, Step
from storycore.errors import FeedGap
from storycore.ports.environment import Environment
from storycore.ports.events import EventSink, Offset, StoredEvent
from storycore.ports.lifecycle import PortName

__all__ = ["EventSource"]

_PAGE = 1000


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
        return await self._read_behind(None, None, sink, is_base=True)

    async def read_changes(self, sink: Sink, position: str) -> Reached:
        """The events behind an offset.

        Raises:
            FeedGap: the event at that offset is not there any more, or the log is another one.
        """
        offset, _, id_ = position.partition(" ")
        await self._require(Offset(int(offset)), id_)
        return await self._read_behind(Offset(int(offset)), position, sink, is_base=False)

    async def _require(self, offset: Offset, id_: str) -> None:
        page = await self._sink.read(Offset(offset - 1), limit=1)
        if [(stored.offset, stored.event.id) for stored in page.events] != [(offset, id_)]:
            raise FeedGap(
                f"The event {id_!r}, with which the last backup ended, is not in its place any more: it was trimmed, "
                "or the log was made anew."
            )

    def check(self, facts: Mapping[str, str | int]) -> None:
        """Any log takes any event."""

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

    async def _read_behind(self, after: Offset | None, position: str | None, sink: Sink, *, is_base: bool) -> Reached:
        """Read to the end as it is now: what is emitted meanwhile is left to the next increment.

        Args:
            position: of ``after``: the last event's offset and id, for offsets of all logs look alike.
        """
        while True:
            looked = self._env.clock.now()
            page = await self._sink.read(after, limit=_PAGE)
            steps = [Step.of(_entry(stored)) for stored in page.events]
            await (sink.base(steps) if is_base else sink.change(steps))
            if page.events:
                position = f"{page.events[-1].offset} {page.events[-1].event.id}"
            after = page.next
            if len(page.events) < _PAGE:
                return Reached(looked, "point", position=position)


def _entry(stored: StoredEvent) -> Entry:
    return Entry(stored.event.id.encode(), event_item(stored.event))
