"""The log of events keeps its promises whatever becomes of its writers: over the reference store, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_dynamodb import _log_records as records
from storycore_dynamodb._log import LogWriter
from storycore_dynamodb._log_reads import LogReader
from storycore_dynamodb._log_trims import trim

from storycore.errors import Corrupt, Unavailable
from storycore.layers.checks import checked
from storycore.layers.passing import PassingEntities
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.entities import EntityStore, Key, Put, Segment, Write, Written
from storycore.ports.environment import Environment
from storycore.ports.events import Emitted, Event
from storycore.ports.lifecycle import PortName

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Frail(PassingEntities):
    """A way to a store that breaks at one of its writes, and for good."""

    breaks_at: int = -1
    is_applied: bool = False
    """Whether the write at which it breaks is done all the same."""
    writes: int = 0

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """The writes, but for those after the way broke."""
        self.writes += 1
        if self.writes - 1 == self.breaks_at and self.is_applied:
            await self.inner.write(writes, atomic=atomic, token=token)
        if 0 <= self.breaks_at < self.writes:
            raise Unavailable("cut")
        return await self.inner.write(writes, atomic=atomic, token=token)


class Slow(PassingEntities):
    """A way to a store on which one write waits until it is let go."""

    def __init__(self, inner: EntityStore, waits_at: int) -> None:
        super().__init__(inner)
        self.waits_at = waits_at
        self.writes, self.waits, self.goes_on = 0, asyncio.Event(), asyncio.Event()

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """The writes; one of them late."""
        self.writes += 1
        if self.writes == self.waits_at:
            self.waits.set()
            await self.goes_on.wait()
        return await self.inner.write(writes, atomic=atomic, token=token)


def event(name: str, *, hours: int = 0, **data: Any) -> Event:
    """An event some hours after noon."""
    return Event(id=name, type="t", at=NOON + timedelta(hours=hours), data=data)


def events(stem: str, count: int, **data: Any) -> list[Event]:
    """Some of them."""
    return [event(f"{stem}{n}", **data) for n in range(count)]


async def empty_store() -> EntityStore:
    """The reference, open, behind its checks."""
    store: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), Environment()))
    await store.open()
    return store


def writer(store: EntityStore) -> LogWriter:
    """Of a process of its own."""
    return LogWriter(store, LogReader(store), Environment(), pause_seconds=0.0001)


async def names(store: EntityStore) -> list[str]:
    """What readers see."""
    page = await LogReader(store).page(None, 10_000, lambda _: True)
    return [stored.event.id for stored in page.events]


async def kinds(store: EntityStore) -> dict[str, int]:
    """How many records of each kind lie in the store."""
    found: dict[str, int] = {}
    after = None
    while True:
        page = await store.scan(Segment(), after=after)
        for record in page.records:
            found[record.kind] = found.get(record.kind, 0) + 1
        if (after := page.next) is None:
            return found


@settings(max_examples=60, deadline=None)
@given(count=st.sampled_from([1, 90, 91, 250, 600]), breaks_at=st.integers(0, 9), is_applied=st.booleans())
async def test_a_call_is_there_whole_or_not_at_all_wherever_its_writer_dies(
    count: int, breaks_at: int, is_applied: bool
) -> None:
    """The next writer removes what was left; emitting again keeps each id once; nothing else lies in the store."""
    store = await empty_store()
    await writer(store).emit(events("first", 3))
    frail = Frail(store)
    frail.breaks_at, frail.is_applied = breaks_at, is_applied
    told: list[Emitted] | None = None
    try:
        told = await writer(frail).emit(events("long", count))
    except Unavailable:
        assert frail.writes > breaks_at
    await writer(store).emit([event("next")])
    first, long, after = [f"first{n}" for n in range(3)], [f"long{n}" for n in range(count)], ["next"]
    seen = await names(store)
    assert seen == first + long + after or (told is None and seen == first + after)
    again = await writer(store).emit(events("long", count))
    assert {emitted.duplicate for emitted in again} == {"long0" in seen}
    assert sorted(await names(store)) == sorted(first + long + after)
    found = await kinds(store)
    assert (found["head"], found["id"]) == (1, 3 + count + 1)
    assert len(seen) == len(set(seen))


async def test_a_writer_that_wakes_up_too_late_begins_again() -> None:
    """Who was held up until he was given up finds the log moved on, and his events come behind the rest."""
    store = await empty_store()
    slow = Slow(store, 3)
    late = asyncio.create_task(writer(slow).emit(events("late", 300)))
    await asyncio.wait_for(slow.waits.wait(), 5)
    assert await names(store) == []
    await writer(store).emit([event("quick"), event("late7")])
    slow.goes_on.set()
    told = await late
    assert [emitted.id for emitted in told if emitted.duplicate] == ["late7"]
    assert await names(store) == ["quick", "late7", *(f"late{n}" for n in range(300) if n != 7)]
    assert (await kinds(store))["id"] == 301


async def test_a_writer_that_moves_on_is_waited_for() -> None:
    """Writers of long and of short calls beside each other keep every event once, and calls stay together."""
    store = await empty_store()
    calls = [events(f"w{n}-", size) for n, size in enumerate([200, 1, 95, 1, 300, 2])]
    await asyncio.gather(*(writer(store).emit(call) for call in calls))
    seen = await names(store)
    assert sorted(seen) == sorted(each.id for call in calls for each in call)
    for call in calls:
        start = seen.index(call[0].id)
        assert [each.id for each in call] == seen[start : start + len(call)]


async def test_calls_that_wait_share_a_transaction() -> None:
    """Forty tasks that emit at once through one log need few transactions."""
    frail = Frail(await empty_store())
    log = writer(frail)
    told = await asyncio.gather(*(log.emit([event(f"e{n}")]) for n in range(40)))
    assert sorted(emitted.offset for (emitted,) in told) == list(range(1, 41))
    assert frail.writes <= 3


async def test_a_cancelled_call_leaves_its_neighbours_alone() -> None:
    """Of two calls in one transaction one is cancelled; the other is told its offset."""
    slow = Slow(await empty_store(), 1)
    log = writer(slow)
    one, two = (asyncio.create_task(log.emit([event(name)])) for name in ("one", "two"))
    await asyncio.wait_for(slow.waits.wait(), 5)
    one.cancel()
    slow.goes_on.set()
    (emitted,) = await two
    assert (emitted.id, emitted.duplicate) == ("two", False)
    assert one.cancelled()


async def test_large_events_are_kept_in_one_call() -> None:
    """A hundred events of a quarter of a mebibyte each pass every limit of a transaction and are one call."""
    store = await empty_store()
    told = await writer(store).emit(events("large", 100, text="x" * (256 * 1024 - 20)))
    assert [emitted.offset for emitted in told] == list(range(1, 101))
    page = await LogReader(store).page(None, 1000, lambda _: True)
    assert {len(str(stored.event.data["text"])) for stored in page.events} == {256 * 1024 - 20}


async def test_a_log_goes_on_over_the_end_of_a_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and trimming cross partitions, and a trimmed beginning is not looked for."""
    for module in ("_log_records", "_log_reads", "_log_trims"):
        monkeypatch.setattr(f"storycore_dynamodb.{module}.PARTITION_EVENTS", 16)
    store = await empty_store()
    log, reader = writer(store), LogReader(store)
    for n in range(20):
        await log.emit([event(f"e{n}-{i}", hours=n) for i in range(5)])
    assert await names(store) == [f"e{n}-{i}" for n in range(20) for i in range(5)]
    assert await trim(store, reader, NOON + timedelta(hours=11)) == 55
    assert await names(store) == [f"e{n}-{i}" for n in range(11, 20) for i in range(5)]
    assert (await reader.head()).first == 56
    assert await trim(store, reader, NOON + timedelta(hours=99)) == 45
    (emitted,) = await log.emit([event("e0-0")])
    assert (emitted.offset, emitted.duplicate) == (101, False)
    assert await kinds(store) == {"head": 1, "chunk": 1, "id": 1}


async def test_two_trims_at_once_count_each_event_once() -> None:
    """What one has removed is not counted by the other, and nothing else goes."""
    store = await empty_store()
    log, reader = writer(store), LogReader(store)
    for n in range(60):
        await log.emit([event(f"e{n}-{i}", hours=i) for i in range(3)])
    counts = await asyncio.gather(*(trim(store, reader, NOON + timedelta(hours=2)) for _ in range(3)))
    assert sum(counts) == 120
    assert await names(store) == [f"e{n}-2" for n in range(60)]


async def test_a_chunk_that_cannot_be_read_is_named() -> None:
    """Foreign bytes in the place of events are told with their place."""
    store = await empty_store()
    await writer(store).emit([event("a")])
    place = Key(records.partition(1), records.first_sort_key(0))
    await store.write([Put(key=place, kind="chunk", body=b'[[1,"a"]]')])
    with pytest.raises(Corrupt, match=place.sk):
        await names(store)
