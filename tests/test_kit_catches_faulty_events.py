"""The EventSink suite catches sinks that break one promise each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storycore.memory.config import MemoryConfig
from storycore.memory.events import MemoryEventSink
from storycore.plugins import Adapter
from storycore.ports.environment import Environment
from storycore.ports.events import Emitted, Event, EventPage, Offset, StoredEvent
from storycore.ports.lifecycle import PortName
from storycore.testing.event_machine import machine_for
from storycore.testing.events import EventSinkSuite
from storycore.testing.harness import Harness
from storycore.testing.machines import run_machine
from storycore.testing.verdicts import verdict


class Faulty(MemoryEventSink):
    """The reference as an opener of its own; each class below breaks one promise."""

    def __init__(self, config: MemoryConfig, env: Environment) -> None:
        super().__init__()


class LastWriteWins(Faulty):
    def _append(self, event: Event) -> Emitted:
        emitted = super()._append(event)
        self._log = [replace(one, event=event) if one.event.id == event.id else one for one in self._log]
        return emitted


class DuplicatesAreAppended(Faulty):
    def _append(self, event: Event) -> Emitted:
        self._offsets.pop(event.id, None)
        return super()._append(event)


class DuplicatesAreNotTold(Faulty):
    def _append(self, event: Event) -> Emitted:
        return replace(super()._append(event), duplicate=False)


class DuplicatesHaveTheLastOffset(Faulty):
    def _append(self, event: Event) -> Emitted:
        emitted = super()._append(event)
        return replace(emitted, offset=self._last) if emitted.duplicate else emitted


class OneCallIsNotCompared(Faulty):
    """Compares with what is stored, not with the rest of the call."""

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        known = set(self._offsets)
        emitted = await super().emit(events)
        return [replace(one, duplicate=one.id in known) for one in emitted]


class CallsAreReversed(Faulty):
    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        return list(reversed(await super().emit(list(reversed(events)))))


class CallsAreCut(Faulty):
    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        return await super().emit(events[:1000])


class RaceBetweenLookAndAppend(Faulty):
    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        new = [event for event in events if event.id not in self._offsets]
        await asyncio.sleep(0)
        for event in new:
            self._offsets.pop(event.id, None)
        return await super().emit(events)


class OffsetsBeforeTheEvents(Faulty):
    """Numbers are drawn first and events appended later, as sequences of databases do."""

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        drawn = Offset(self._last + 1)
        self._last = Offset(self._last + len(events))
        for _ in range(3 if drawn % 2 else 0):
            await asyncio.sleep(0)
        told: list[Emitted] = []
        for place, event in enumerate(events, drawn):
            self._offsets.setdefault(event.id, Offset(place))
            self._log.append(StoredEvent(Offset(place), event))
            told.append(Emitted(event.id, Offset(place)))
        self._log.sort(key=lambda one: one.offset)
        return told


class DataIsShared(Faulty):
    async def read(self, after: Offset | None = None, **where: Any) -> EventPage:
        page = await super().read(after, **where)
        own = {one.offset: one for one in self._log}
        return replace(page, events=[own[one.offset] for one in page.events])


class Kept(Faulty):
    """Keeps what ``keep`` makes of an event."""

    def _append(self, event: Event) -> Emitted:
        return super()._append(self.keep(event))

    def keep(self, event: Event) -> Event:
        return event


class SecondsAreWhole(Kept):
    def keep(self, event: Event) -> Event:
        return replace(event, at=event.at.replace(microsecond=0))


class InstantsAreDoubles(Kept):
    def keep(self, event: Event) -> Event:
        seconds = (event.at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
        return replace(event, at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(seconds, 3)))


class NumbersAreDoubles(Kept):
    def keep(self, event: Event) -> Event:
        return replace(event, data=json.loads(json.dumps(event.data), parse_int=float))


class TruthIsANumber(Kept):
    def keep(self, event: Event) -> Event:
        return replace(event, data={k: int(v) if isinstance(v, bool) else v for k, v in event.data.items()})


class NothingIsLeftOut(Kept):
    def keep(self, event: Event) -> Event:
        return replace(event, data={k: v for k, v in event.data.items() if v is not None})


class NamesAreStripped(Kept):
    def keep(self, event: Event) -> Event:
        return replace(event, type=event.type.strip() or "?")


class Read(Faulty):
    """Reads with what ``where`` makes of the arguments."""

    async def read(self, after: Offset | None = None, **where: Any) -> EventPage:
        return await super().read(after, **self.where(where))

    def where(self, where: dict[str, Any]) -> dict[str, Any]:
        return where


class UntilIsInclusive(Read):
    def where(self, where: dict[str, Any]) -> dict[str, Any]:
        return {**where, "until": where["until"] and where["until"] + timedelta(microseconds=1)}


class SinceIsExclusive(Read):
    def where(self, where: dict[str, Any]) -> dict[str, Any]:
        return {**where, "since": where["since"] and where["since"] + timedelta(microseconds=1)}


class OneTypeOnly(Read):
    def where(self, where: dict[str, Any]) -> dict[str, Any]:
        return {**where, "types": where["types"][:1]}


class NobodyIsEverybody(Read):
    def where(self, where: dict[str, Any]) -> dict[str, Any]:
        return {**where, "subject": where["subject"] or None}


class AfterIsInclusive(Faulty):
    async def read(self, after: Offset | None = None, **where: Any) -> EventPage:
        return await super().read(Offset(after - 1) if after else after, **where)


class LimitBeforeFilter(Faulty):
    """Looks at ``limit`` events and gives those of them that match."""

    async def read(self, after: Offset | None = None, *, limit: int = 1000, **where: Any) -> EventPage:
        looked = await super().read(after, limit=limit)
        last = looked.events[-1].offset if looked.events else Offset(0)
        found = await super().read(after, limit=limit, **where)
        return replace(found, events=[one for one in found.events if one.offset <= last], next=looked.next)


class NextIsTheLastMatch(Faulty):
    """A reader at the end is sent back to the beginning."""

    async def read(self, after: Offset | None = None, **where: Any) -> EventPage:
        page = await super().read(after, **where)
        return page if page.events else replace(page, next=Offset(0))


class NextIsTheEnd(Faulty):
    """A full page goes on at the end of the log instead of behind itself."""

    async def read(self, after: Offset | None = None, **where: Any) -> EventPage:
        return replace(await super().read(after, **where), next=max(after or Offset(0), self._last))


class ReadInTheOrderOfInstants(Faulty):
    async def read(self, after: Offset | None = None, **where: Any) -> EventPage:
        page = await super().read(after, **where)
        return replace(page, events=sorted(page.events, key=lambda one: one.event.at))


class TrimIsInclusive(Faulty):
    async def trim(self, before: datetime) -> int:
        return await super().trim(before + timedelta(microseconds=1))


class TrimTellsWhatIsLeft(Faulty):
    async def trim(self, before: datetime) -> int:
        await super().trim(before)
        return len(self._log)


class TrimmedIdsAreRemembered(Faulty):
    async def trim(self, before: datetime) -> int:
        known = dict(self._offsets)
        removed = await super().trim(before)
        self._offsets = known
        return removed


class OffsetsAreGivenAgain(Faulty):
    """The next offset is the largest one plus one, also when the largest was trimmed."""

    async def trim(self, before: datetime) -> int:
        removed = await super().trim(before)
        self._last = max(self._offsets.values(), default=Offset(0))
        return removed


class ServesWhenClosed(Faulty):
    def _require_open(self) -> None:
        return None


class ReopensEmpty(Faulty):
    async def open(self) -> None:
        self._log.clear()
        await super().open()


CAUGHT_BY: Mapping[type[Faulty], str] = {
    LastWriteWins: "test_an_id_is_kept_once",
    DuplicatesAreAppended: "test_an_id_is_kept_once",
    DuplicatesAreNotTold: "test_an_id_is_kept_once",
    DuplicatesHaveTheLastOffset: "test_an_id_that_repeats_within_a_call_is_a_duplicate",
    OneCallIsNotCompared: "test_an_id_that_repeats_within_a_call_is_a_duplicate",
    CallsAreReversed: "test_offsets_are_positive_and_follow_the_order_of_emits",
    CallsAreCut: "test_many_events_in_one_call_are_all_kept",
    RaceBetweenLookAndAppend: "test_concurrent_emits_keep_each_id_once",
    OffsetsBeforeTheEvents: "test_a_reader_that_follows_the_log_misses_nothing",
    DataIsShared: "test_a_stored_event_is_nobody_elses",
    SecondsAreWhole: "test_instants_are_kept_to_the_microsecond",
    InstantsAreDoubles: "test_instants_are_kept_to_the_microsecond",
    NumbersAreDoubles: "test_data_comes_back_as_it_was",
    TruthIsANumber: "test_data_comes_back_as_it_was",
    NothingIsLeftOut: "test_data_comes_back_as_it_was",
    NamesAreStripped: "test_names_come_back_as_they_were",
    UntilIsInclusive: "test_since_is_inclusive_and_until_exclusive",
    SinceIsExclusive: "test_since_is_inclusive_and_until_exclusive",
    OneTypeOnly: "test_filters_are_combined",
    NobodyIsEverybody: "test_filters_are_combined",
    AfterIsInclusive: "test_a_read_begins_behind_the_offset",
    LimitBeforeFilter: "test_a_filtered_page_is_full_while_more_match",
    NextIsTheLastMatch: "test_next_never_goes_back",
    NextIsTheEnd: "test_pages_add_up_to_the_log",
    ReadInTheOrderOfInstants: "test_offsets_are_positive_and_follow_the_order_of_emits",
    TrimIsInclusive: "test_trim_removes_what_is_older",
    TrimTellsWhatIsLeft: "test_trim_removes_what_is_older",
    TrimmedIdsAreRemembered: "test_trimmed_ids_may_be_used_again",
    OffsetsAreGivenAgain: "test_offsets_are_not_given_again_after_the_log_was_emptied",
    ServesWhenClosed: "test_a_closed_store_is_unavailable",
    ReopensEmpty: "test_a_second_open_changes_nothing",
}

CAUGHT_BY_AGREEMENT = [
    LastWriteWins,
    DuplicatesAreAppended,
    DuplicatesHaveTheLastOffset,
    CallsAreReversed,
    TruthIsANumber,
    NothingIsLeftOut,
    UntilIsInclusive,
    SinceIsExclusive,
    OneTypeOnly,
    NobodyIsEverybody,
    LimitBeforeFilter,
    NextIsTheEnd,
    ReadInTheOrderOfInstants,
    TrimIsInclusive,
    TrimmedIdsAreRemembered,
]


def adapter_of(fault: type[Faulty]) -> Adapter:
    opener = f"{__name__}:{fault.__name__}"
    return Adapter(name="memory", ports={PortName.EVENTS: opener}, config=MemoryConfig, summary=fault.__name__)


@pytest.mark.parametrize("fault", CAUGHT_BY, ids=lambda fault: fault.__name__)
async def test_the_suite_catches(fault: type[Faulty], tmp_path: Path) -> None:
    """The named test fails on the faulty sink."""
    found = await verdict(EventSinkSuite, CAUGHT_BY[fault], PortName.EVENTS, adapter_of(fault), tmp_path)
    assert found is not None, f"{fault.__name__} passes {CAUGHT_BY[fault]}"


@pytest.mark.parametrize("fault", CAUGHT_BY_AGREEMENT, ids=lambda fault: fault.__name__)
async def test_the_machine_catches(fault: type[Faulty], tmp_path: Path) -> None:
    """The comparison with the reference alone finds the fault."""
    machine = machine_for(Harness(PortName.EVENTS, adapter_of(fault), {}, tmp_path))
    with pytest.raises(Exception, match=r".*"):  # an assertion, or an error that the reference did not raise
        await run_machine(machine, examples=400, steps=20, shrink=False)


@pytest.mark.parametrize("test", sorted(set(CAUGHT_BY.values())))
async def test_a_faultless_sink_passes(test: str, tmp_path: Path) -> None:
    """What catches the faults does not fail on the harness that they are put into."""
    assert await verdict(EventSinkSuite, test, PortName.EVENTS, adapter_of(Faulty), tmp_path) is None
