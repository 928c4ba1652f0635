"""The conformance suite of the EventSink port.

Derive from ``EventSinkSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(EventSinkSuite):
        adapter = "mine"
        options = {"path": "{path}/events.db"}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from storycore.errors import InvalidArgument, TooLarge
from storycore.plugins import Adapter
from storycore.ports.events import Emitted, EventSink, Offset
from storycore.ports.lifecycle import PortName
from storycore.testing.event_durability import EventDurability
from storycore.testing.event_examples import BAD_EVENTS, BAD_READS, DATA, INSTANTS, NAMES, NOON, event, ids, walk
from storycore.testing.event_machine import machine_for
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.machines import run_machine

__all__ = ["EventSinkSuite"]


class EventSinkSuite(LifecycleSuite, EventDurability):
    """Every sentence of the EventSink port as a test.

    Args:
        machine_examples: how many traces drive the adapter and the reference; ``None``: 25, or 5 for an adapter that
            brings a server, each of whose steps is several requests.
    """

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}
    machine_examples: ClassVar[int | None] = None

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """An empty place for the adapter."""
        return Harness(PortName.EVENTS, self.adapter, self.options, tmp_path, served=served)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[EventSink]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: EventSink) -> object:
        """Read from the start."""
        return await store.read(limit=1)

    # What is emitted is read.

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", DATA)
    async def test_data_comes_back_as_it_was(self, store: EventSink, name: str) -> None:
        """Every JSON value survives, with its type: True stays apart from 1, 1 apart from 1.5."""
        await store.emit([event("a", data=DATA[name])])
        (stored,) = (await store.read()).events
        assert (repr(DATA[name]), DATA[name]) == (repr(dict(stored.event.data)), stored.event.data)

    @pytest.mark.asyncio
    async def test_names_come_back_as_they_were(self, store: EventSink) -> None:
        """Ids, types and subjects are kept character by character, and none is taken for another."""
        given = [event(name, type=name, subject=name) for name in NAMES] + [event("none", subject="")]
        assert [False] * len(given) == [emitted.duplicate for emitted in await store.emit(given)]
        assert given == [stored.event for stored in (await store.read()).events]
        for one in given:
            assert [one.id] == ids(await store.read(types=[one.type], subject=one.subject)), one.id

    @pytest.mark.asyncio
    async def test_instants_are_kept_to_the_microsecond(self, store: EventSink) -> None:
        """An instant comes back as the same one in UTC, from year 1 to year 9999."""
        await store.emit([event(str(i), at=at) for i, at in enumerate(INSTANTS)])
        found = [stored.event.at for stored in (await store.read()).events]
        assert found == INSTANTS
        assert {timedelta(0)} == {at.utcoffset() for at in found}

    @pytest.mark.asyncio
    async def test_a_tuple_is_read_as_a_list(self, store: EventSink) -> None:
        """What JSON has no word for comes back in the form that JSON has."""
        await store.emit([event("a", data={"x": (1, (2,))})])
        assert (await store.read()).events[0].event.data == {"x": [1, [2]]}

    @pytest.mark.asyncio
    async def test_a_stored_event_is_nobody_elses(self, store: EventSink) -> None:
        """Changing what was emitted or what was read changes nothing in the log."""
        data: dict[str, Any] = {"list": [1]}
        await store.emit([event("a", data=data)])
        data["list"].append(2)
        seen: Any = (await store.read()).events[0].event.data
        seen["list"].append(3)
        assert (await store.read()).events[0].event.data == {"list": [1]}

    @pytest.mark.asyncio
    async def test_a_second_open_changes_nothing(self, store: EventSink) -> None:
        """Opening a log that is open keeps its events."""
        await store.emit([event("a")])
        await store.open()
        assert ids(await store.read()) == ["a"]

    # Offsets and duplicates.

    @pytest.mark.asyncio
    async def test_offsets_are_positive_and_follow_the_order_of_emits(self, store: EventSink) -> None:
        """Within a call and from call to call offsets grow, whatever the events' own instants say."""
        emitted = await store.emit([event("a"), event("b", at=NOON - timedelta(days=1))])
        emitted += await store.emit([event("c", at=NOON - timedelta(days=9))])
        offsets = [one.offset for one in emitted]
        assert ([one.id for one in emitted], offsets[0] > 0) == (["a", "b", "c"], True)
        assert offsets == sorted(set(offsets))
        assert offsets == [stored.offset for stored in (await store.read()).events]

    @pytest.mark.asyncio
    async def test_an_id_is_kept_once(self, store: EventSink) -> None:
        """Emitting an id again gives its first offset and changes nothing, even with other content."""
        (first,) = await store.emit([event("a")])
        (again,) = await store.emit([event("a", type="other", subject="other", at=NOON + timedelta(1), data={"n": 2})])
        assert Emitted("a", first.offset, duplicate=True) == again
        assert [event("a")] == [stored.event for stored in (await store.read()).events]

    @pytest.mark.asyncio
    async def test_an_id_that_repeats_within_a_call_is_a_duplicate(self, store: EventSink) -> None:
        """The first of the call is kept; the later ones report its offset."""
        one, two, three, four = await store.emit([event("a"), event("b"), event("a", data={"n": 2}), event("b")])
        assert [one.duplicate, two.duplicate, three.duplicate, four.duplicate] == [False, False, True, True]
        assert (one.offset, two.offset) == (three.offset, four.offset)
        assert [event("a"), event("b")] == [stored.event for stored in (await store.read()).events]

    @pytest.mark.asyncio
    async def test_known_and_new_ids_mix_in_one_call(self, store: EventSink) -> None:
        """The new ones are appended in their order behind everything else."""
        await store.emit([event("b"), event("d")])
        emitted = await store.emit([event("a"), event("b"), event("c"), event("d")])
        assert [one.duplicate for one in emitted] == [False, True, False, True]
        assert ids(await store.read()) == ["b", "d", "a", "c"]

    @pytest.mark.asyncio
    async def test_emitting_nothing_gives_nothing(self, store: EventSink) -> None:
        """An empty call is allowed and leaves the log empty."""
        assert await store.emit([]) == []
        assert ids(await store.read()) == []

    @pytest.mark.asyncio
    async def test_many_events_in_one_call_are_all_kept(self, store: EventSink) -> None:
        """A call has no limit of its own on the number of events."""
        names = [f"e{i:05}" for i in range(3_000)]
        assert names == [one.id for one in await store.emit([event(name) for name in names])]
        assert names == await walk(store, limit=10_000)

    @pytest.mark.asyncio
    async def test_concurrent_emits_keep_each_id_once(self, store: EventSink) -> None:
        """Of many tasks that emit the same ids one is first for each id, and all learn the same offset."""
        names = [f"e{i}" for i in range(20)]
        calls = await asyncio.gather(*(store.emit([event(name) for name in names[i:]]) for i in range(10)))
        emitted = [one for call in calls for one in call]
        assert sorted(names) == sorted(one.id for one in emitted if not one.duplicate)
        assert len(names) == len({(one.id, one.offset) for one in emitted})
        assert sorted(names) == sorted(await walk(store))

    @pytest.mark.asyncio
    async def test_a_reader_that_follows_the_log_misses_nothing(self, store: EventSink) -> None:
        """Reading on behind ``next`` while others write gives every event exactly once."""
        writers = [asyncio.create_task(_write(store, f"w{i}", 15)) for i in range(4)]
        seen: list[str] = []
        after: Offset | None = None
        while True:
            done = all(writer.done() for writer in writers)
            page = await store.read(after, limit=7)
            seen, after = seen + ids(page), page.next
            if done and not page.events:
                break
            await asyncio.sleep(0)
        await asyncio.gather(*writers)
        assert sorted(f"w{i}-{n}" for i in range(4) for n in range(15)) == sorted(seen)

    # Reading.

    @pytest.mark.asyncio
    async def test_an_empty_log_reads_as_an_empty_page(self, store: EventSink) -> None:
        """``next`` of an empty log is where the first event will be found."""
        page = await store.read()
        assert page.events == []
        await store.emit([event("a")])
        assert ids(await store.read(page.next)) == ["a"]

    @pytest.mark.asyncio
    async def test_a_read_begins_behind_the_offset(self, store: EventSink) -> None:
        """``after`` is exclusive; ``None`` and 0 are the beginning; behind the end there is nothing."""
        one, two, three = await store.emit([event("a"), event("b"), event("c")])
        assert ["a", "b", "c"] == ids(await store.read(None)) == ids(await store.read(Offset(0)))
        assert ids(await store.read(one.offset)) == ["b", "c"]
        assert ids(await store.read(two.offset)) == ["c"]
        assert ids(await store.read(three.offset)) == []
        assert ids(await store.read(Offset(three.offset + 1_000))) == []

    @pytest.mark.asyncio
    async def test_next_never_goes_back(self, store: EventSink) -> None:
        """A reader that waits at or beyond the end is not sent back to events it has passed."""
        (one,) = await store.emit([event("a")])
        at_end = await store.read(one.offset)
        assert at_end.next >= one.offset
        beyond = Offset(one.offset + 1_000)
        assert (await store.read(beyond)).next >= beyond

    @pytest.mark.asyncio
    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 8])
    async def test_pages_add_up_to_the_log(self, store: EventSink, limit: int) -> None:
        """Pages of any size give every event once and in order; only the last is shorter than the limit."""
        names = [f"e{i}" for i in range(7)]
        await store.emit([event(name) for name in names])
        assert names == await walk(store, limit=limit)

    @pytest.mark.asyncio
    async def test_a_filtered_page_is_full_while_more_match(self, store: EventSink) -> None:
        """The limit counts what matches, not what was looked at; a short page has looked to the end."""
        await store.emit([event(f"e{i}", type="rare" if i % 10 == 9 else "common") for i in range(50)])
        first = await store.read(types=["rare"], limit=3)
        assert ids(first) == ["e9", "e19", "e29"]
        second = await store.read(first.next, types=["rare"], limit=3)
        assert ids(second) == ["e39", "e49"]
        assert ids(await store.read(second.next)) == []

    @pytest.mark.asyncio
    async def test_filters_are_combined(self, store: EventSink) -> None:
        """Types, subject and instants must all hold; several types are alternatives; none means all."""
        hour = timedelta(hours=1)
        await store.emit(
            [event(f"{t}{s}{h}", type=t, subject=s, at=NOON + h * hour) for t in "abc" for s in "xy" for h in range(3)]
        )
        assert len(await walk(store)) == 18
        assert await walk(store, types=["c", "a"], subject="x") == ["ax0", "ax1", "ax2", "cx0", "cx1", "cx2"]
        assert await walk(store, types=["b"], since=NOON + hour, until=NOON + 2 * hour) == ["bx1", "by1"]
        assert await walk(store, types=["b", "b"], subject="y", since=NOON + 2 * hour) == ["by2"]
        assert await walk(store, types=["A"]) == []
        assert await walk(store, subject="") == []
        assert await walk(store, since=NOON + hour, until=NOON + hour) == []

    @pytest.mark.asyncio
    async def test_since_is_inclusive_and_until_exclusive(self, store: EventSink) -> None:
        """``since <= at < until``, to the microsecond and in any time zone."""
        tick = timedelta(microseconds=1)
        await store.emit([event("before", at=NOON - tick), event("at", at=NOON), event("behind", at=NOON + tick)])
        east = NOON.astimezone(timezone(timedelta(hours=9)))
        assert ["at", "behind"] == await walk(store, since=NOON) == await walk(store, since=east)
        assert ["before"] == await walk(store, until=NOON) == await walk(store, until=east)
        assert await walk(store, since=NOON, until=NOON + tick) == ["at"]

    @pytest.mark.asyncio
    async def test_instants_are_compared_as_instants(self, store: EventSink) -> None:
        """Neither a missing fraction nor a far year upsets the comparison."""
        whole, far, early = NOON, datetime(9999, 1, 1, tzinfo=UTC), datetime(100, 1, 1, tzinfo=UTC)
        await store.emit([event("whole", at=whole), event("far", at=far), event("early", at=early)])
        half = whole + timedelta(microseconds=500_000)
        assert await walk(store, until=half) == ["whole", "early"]
        assert await walk(store, since=half) == ["far"]
        assert await walk(store, until=datetime(1000, 1, 1, tzinfo=UTC)) == ["early"]

    # Trimming.

    @pytest.mark.asyncio
    async def test_trim_removes_what_is_older(self, store: EventSink) -> None:
        """Events with ``at < before`` go, the others keep their offsets, and the count is right."""
        tick = timedelta(microseconds=1)
        kept = await store.emit([event("at", at=NOON), event("old", at=NOON - tick), event("new", at=NOON + tick)])
        assert await store.trim(NOON) == 1
        page = await store.read()
        assert [("at", kept[0].offset), ("new", kept[2].offset)] == [(s.event.id, s.offset) for s in page.events]
        assert await store.trim(NOON) == 0

    @pytest.mark.asyncio
    async def test_trimmed_ids_may_be_used_again(self, store: EventSink) -> None:
        """A trimmed id is new, at an offset that was never given before; a kept one is still known."""
        old, kept = await store.emit([event("old"), event("kept", at=NOON + timedelta(1))])
        await store.trim(NOON + timedelta(hours=1))
        again, still = await store.emit([event("old", data={"n": 2}), event("kept")])
        assert (False, True, kept.offset) == (again.duplicate, still.duplicate, still.offset)
        assert again.offset > max(old.offset, kept.offset)
        assert ids(await store.read()) == ["kept", "old"]

    @pytest.mark.asyncio
    async def test_offsets_are_not_given_again_after_the_log_was_emptied(self, store: EventSink) -> None:
        """A reader that waits behind the last event of a log that was then emptied sees the next event."""
        await store.emit([event("a"), event("b")])
        waiting = (await store.read()).next
        assert await store.trim(NOON + timedelta(1)) == 2
        await store.emit([event("c")])
        assert ids(await store.read(waiting)) == ["c"]

    # Limits.

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_EVENTS)
    async def test_a_bad_event_is_refused_and_its_call_with_it(self, store: EventSink, name: str) -> None:
        """One event that breaks a rule is refused with its class of error; none of the call is kept."""
        bad, error = BAD_EVENTS[name]
        with pytest.raises(error):
            await store.emit([event("good"), bad])
        assert ids(await store.read()) == []

    @pytest.mark.asyncio
    async def test_one_event_is_no_sequence_of_events(self, store: EventSink) -> None:
        """A forgotten list is told from an empty one."""
        for wrong in (event("a"), "events", None):
            with pytest.raises(InvalidArgument):
                await store.emit(wrong)  # type: ignore[arg-type]  # what is refused

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BAD_READS)
    async def test_a_bad_read_is_refused(self, store: EventSink, name: str) -> None:
        """Arguments out of range or of the wrong type raise ``InvalidArgument`` (or a class below it)."""
        with pytest.raises(InvalidArgument):
            await store.read(**BAD_READS[name])

    @pytest.mark.asyncio
    async def test_a_bad_trim_is_refused(self, store: EventSink) -> None:
        """``trim`` needs an aware datetime; nothing is removed without one."""
        await store.emit([event("a", at=datetime(2000, 1, 1, tzinfo=UTC))])
        for wrong in (datetime(2026, 1, 1), "2026-01-01", None):  # noqa: DTZ001 - what is refused
            with pytest.raises(InvalidArgument):
                await store.trim(wrong)  # type: ignore[arg-type]  # what is refused
        assert ids(await store.read()) == ["a"]

    @pytest.mark.asyncio
    async def test_the_largest_event_is_kept_and_a_larger_one_explained(self, store: EventSink) -> None:
        """Data of exactly 256 KiB as JSON fits; one byte more is ``TooLarge`` with the field that is to blame."""
        room = 256 * 1024 - len('{"big":"","n":1}')
        await store.emit([event("a", data={"big": "x" * room, "n": 1})])
        assert room == len(str((await store.read()).events[0].event.data["big"]))
        with pytest.raises(TooLarge) as caught:
            await store.emit([event("b", data={"big": "x" * (room + 1), "n": 1})])
        assert (caught.value.limit, caught.value.actual) == (256 * 1024, 256 * 1024 + 1)
        assert next(iter(caught.value.breakdown)) == "big"

    @pytest.mark.asyncio
    async def test_the_largest_page_is_read(self, store: EventSink) -> None:
        """A limit of 10 000 is allowed."""
        await store.emit([event("a")])
        assert ids(await store.read(limit=10_000)) == ["a"]

    # Agreement.

    @pytest.mark.asyncio
    async def test_it_agrees_with_the_reference(self, harness: Harness) -> None:
        """Any sequence of emits, reads and trims has the same results as on the memory adapter."""
        await run_machine(machine_for(harness), examples=harness.fitting(self.machine_examples, 25), steps=15)


async def _write(store: EventSink, writer: str, count: int) -> None:
    for n in range(count):
        await store.emit([event(f"{writer}-{n}")])
