"""A log of events on an entity store: one order for all writers, each id once, each call whole or not at all.

A short call, and all calls that wait beside it, are one transaction: the head moves on if it is still the one that was
read, chunks and markers come to be. A longer call takes the log for itself by a mark on the head, writes its parts
behind the last offset that readers see, each with the head, and becomes seen with its last part. Whoever finds the mark
of a writer that does not move on any more removes what it left; the writer, should it wake up, is refused by the head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from storycore.errors import StorycoreError, TransactionConflict, Unavailable
from storycore.ports.entities import EntityStore, Write
from storycore.ports.environment import Environment
from storycore.ports.events import Emitted, Event, Offset, StoredEvent
from storycore_dynamodb._log_reads import LogReader
from storycore_dynamodb._log_records import (
    MOST_CHUNKS,
    MOST_WRITES,
    Chunk,
    Head,
    chunks_of,
    marker,
    marker_key,
    marker_offset,
    without_marker,
)

__all__ = ["LogWriter"]

_GROUP_EVENTS: Final = 90
"""Calls are joined up to so many events, which are one transaction unless they are large."""
_MOST_RACES: Final = 60
_SHORTEST: Final = 16
"""The first pause is so many times shorter than the longest one."""
_LONG: Final = 5
"""After so many doublings a pause is the longest."""
_PATIENCE: Final = 24
"""Looks at a writer that does not move on, about five seconds, before what it left is removed."""


@dataclass(frozen=True, slots=True)
class _Call:
    events: Sequence[Event]
    done: asyncio.Future[list[Emitted]]


class LogWriter:
    """Appends to a log; calls of one moment share transactions.

    Args:
        store: where the log lies.
        reader: of the same log.
        env: chance, for the pauses.
        pause_seconds: the longest one before somebody else's writing is looked at again.
    """

    def __init__(self, store: EntityStore, reader: LogReader, env: Environment, *, pause_seconds: float = 0.25) -> None:
        self._store = store
        self._reader = reader
        self._env = env
        self._pause_seconds = pause_seconds
        self._waiting: deque[_Call] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._head: Head | None = None

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        """Append events, all or none; a call that is cancelled may yet be done."""
        call = _Call(events, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="storycore: events")
        return await call.done

    async def settled(self) -> None:
        """Return when everything that was asked for has come to its end."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait({self._writing})

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._next_group()
            try:
                told = await self._append([event for call in group for event in call.events])
            except Exception as exc:
                self._head = None
                for call in group:
                    if not call.done.done():
                        call.done.set_exception(exc)
                continue
            start = 0
            for call in group:
                if not call.done.done():
                    call.done.set_result(told[start : start + len(call.events)])
                start += len(call.events)

    def _next_group(self) -> list[_Call]:
        group = [self._waiting.popleft()]
        events = len(group[0].events)
        while self._waiting and (events := events + len(self._waiting[0].events)) <= _GROUP_EVENTS:
            group.append(self._waiting.popleft())
        return group

    async def _append(self, events: Sequence[Event]) -> list[Emitted]:
        distinct: dict[str, Event] = {}
        for event in events:
            distinct.setdefault(event.id, event)
        known: Mapping[str, Offset] = {}
        for races in range(_MOST_RACES):
            head = self._head or await self._free_head()
            new = [event for id_, event in distinct.items() if id_ not in known]
            stored = [StoredEvent(Offset(place), event) for place, event in enumerate(new, head.last + 1)]
            try:
                await self._keep(head, stored)
            except TransactionConflict:  # somebody else has written, or an id is known
                await self._pause(races)
                known = await self._known(list(distinct))
            else:
                return _told(events, known, stored)
        raise Unavailable("Too many others write to the log of events at once; emit the events again.")

    async def _known(self, ids: Sequence[str]) -> dict[str, Offset]:
        """The offsets of the ids that are kept; the head as it was before they were read is the one to go on from.

        A marker up to the last offset that was seen before is there for good; one behind it may yet be taken away.
        """
        while True:
            self._head = head = await self._free_head()
            found = await self._store.get([marker_key(id_) for id_ in ids], consistent=True)
            offsets = {id_: marker_offset(each) for id_, each in zip(ids, found, strict=True) if each is not None}
            if all(offset <= head.last for offset in offsets.values()):
                return offsets

    async def _keep(self, head: Head, stored: Sequence[StoredEvent]) -> None:
        """Write new events behind the head.

        Raises:
            TransactionConflict: the head is another, or an id is known; nothing was written.
        """
        parts = _parts(list(chunks_of(stored)))
        if not parts:
            return
        last = stored[-1].offset
        if len(parts) > 1:
            head = await self._moved(head, replace(head, writing=last))
        try:
            for part in parts[:-1]:
                head = await self._moved(head, head, part)
            self._head = await self._moved(head, replace(head, last=last, writing=0), parts[-1])
        except BaseException:
            if len(parts) > 1:
                with suppress(StorycoreError):  # then whoever writes next does it
                    await asyncio.shield(self._removed(head))
            raise

    async def _moved(self, head: Head, to: Head, part: Sequence[Write] = ()) -> Head:
        """Write something with the head, if it is still this one; the head that is stored then."""
        written, *_ = await self._store.write([to.put(head), *part], atomic=True)
        return replace(to, version=written.version)

    async def _free_head(self) -> Head:
        """The head, once nobody writes a long call."""
        head, looks = await self._reader.head(), 0
        while head.writing:
            if looks == _PATIENCE:
                head, looks = await self._removed(head), 0
                continue
            await self._pause(_LONG)
            now = await self._reader.head()
            looks = looks + 1 if now.version == head.version else 0
            head = now
        return head

    async def _removed(self, head: Head) -> Head:
        """Remove what a long call has left, unless its writer moves on; the head that is stored then."""
        try:
            async for chunk in self._reader.chunks(head.last, head.writing):
                markers = [without_marker(stored) for stored in chunk.events]
                head = await self._moved(head, head, [chunk.delete(), *markers])
            return await self._moved(head, replace(head, writing=0))
        except TransactionConflict:
            return await self._reader.head()

    async def _pause(self, races: int) -> None:
        longest = self._pause_seconds * min(2 ** min(races, _LONG) / _SHORTEST, 1)
        await asyncio.sleep(longest * (0.5 + self._env.random.random() / 2))


def _parts(chunks: Sequence[Chunk]) -> list[list[Write]]:
    """Chunks and their markers in transactions, the head's write left out."""
    parts: list[list[Write]] = []
    room = 0
    for chunk in chunks:
        writes: list[Write] = [chunk.put(), *(marker(stored) for stored in chunk.events)]
        if not parts or len(parts[-1]) + len(writes) > MOST_WRITES or not room:
            parts.append([])
            room = MOST_CHUNKS
        parts[-1] += writes
        room -= 1
    return parts


def _told(events: Sequence[Event], known: Mapping[str, Offset], stored: Sequence[StoredEvent]) -> list[Emitted]:
    places = {**known, **{each.event.id: each.offset for each in stored}}
    seen, told = set(known), []
    for event in events:
        told.append(Emitted(event.id, places[event.id], duplicate=event.id in seen))
        seen.add(event.id)
    return told
