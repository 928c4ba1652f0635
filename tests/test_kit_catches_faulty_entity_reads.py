"""The EntityStore suite catches the reference with one thing wrong in its reads, expiry, feed or atomicity."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from storycore.errors import FeedGap, InvalidArgument, StorycoreError
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.capabilities import Capabilities, Durability, Guarantees, Support
from storycore.ports.conditions import Version
from storycore.ports.entities import (
    Action,
    ChangePage,
    Delete,
    FeedPosition,
    Key,
    Patch,
    Position,
    QueryPlan,
    Record,
    RecordPage,
    Segment,
    Write,
    Written,
)
from storycore.ports.lifecycle import PortName
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.trials import demand_caught


class Faulty(MemoryEntityStore):
    """A store with one fault, and the test that must catch it."""

    caught_by: ClassVar[str]


class DropsRepeatedKeys(Faulty):
    """Answers a repeated key once."""

    caught_by = "test_get_answers_in_the_order_of_the_keys"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        return await super().get(list(dict.fromkeys(keys)))


class DropsUnprocessedKeys(Faulty):
    """Reads the first hundred keys and leaves the rest as missing."""

    caught_by = "test_any_number_of_keys_is_read"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        found = await super().get(keys[:100])
        return found + [None] * (len(keys) - len(found))


class ReadsWhatWas(Faulty):
    """Reads a replica that is one write behind."""

    caught_by = "test_reads_see_every_write_that_returned"

    def _store(self, record: Record) -> Record:
        self._behind = dict(self._records)
        return super()._store(record)

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        return [self._behind.get(key) for key in keys]


class IncludesHigh(Faulty):
    """Takes the upper bound as inclusive."""

    caught_by = "test_a_range_has_a_first_and_an_end"

    async def query(self, plan: QueryPlan) -> RecordPage:
        return await super().query(replace(plan, high=None if plan.high is None else plan.high + "\0"))


class ExcludesLow(Faulty):
    """Takes the lower bound as exclusive."""

    caught_by = "test_a_range_has_a_first_and_an_end"

    async def query(self, plan: QueryPlan) -> RecordPage:
        return await super().query(replace(plan, low=None if plan.low is None else plan.low + "\0"))


class OrdersByUtf16(Faulty):
    """Sorts like a language whose text is UTF-16."""

    caught_by = "test_a_query_is_in_the_order_of_bytes"

    async def query(self, plan: QueryPlan) -> RecordPage:
        page = await super().query(plan)
        by_utf16 = sorted(page.records, key=lambda r: r.key.sk.encode("utf-16-be"), reverse=plan.reverse)
        return replace(page, records=by_utf16)


class EndsOneTooEarly(Faulty):
    """Says that nothing is left when a page is just full."""

    caught_by = "test_pages_add_up_to_the_partition"

    async def query(self, plan: QueryPlan) -> RecordPage:
        page = await super().query(plan)
        more = page.next is not None and len((await super().query(replace(plan, after=page.next))).records) > 1
        return page if more else replace(page, next=None)


class LimitsBeforeItFilters(Faulty):
    """Counts expired records against the limit, and takes a short page for the last."""

    caught_by = "test_an_expired_record_is_absent_for_reads"

    async def query(self, plan: QueryPlan) -> RecordPage:
        hidden = sum(1 for key in self._records if self._live(key) is None)
        page = await super().query(plan)
        return RecordPage(page.records[: max(0, plan.limit - hidden)], None if hidden else page.next)


class ForgetsThePlaceInReverse(Faulty):
    """Finds the place to go on by looking the record up."""

    caught_by = "test_a_position_needs_no_record"

    async def query(self, plan: QueryPlan) -> RecordPage:
        known = plan.after is not None and plan.after.key in self._records
        return await super().query(plan if known else replace(plan, after=None))


class LoadsBodiesAnyway(Faulty):
    """Returns bodies that nobody asked for."""

    caught_by = "test_a_query_may_leave_the_bodies_out"

    async def query(self, plan: QueryPlan) -> RecordPage:
        return await super().query(replace(plan, bodies=True))


class LeavesOldIndexKeys(Faulty):
    """A patch of the index keys adds to the old ones."""

    caught_by = "test_an_index_follows_every_write"

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        if isinstance(write, Patch) and current is not None and isinstance(write.index_keys, dict):
            write = replace(write, index_keys={**current.index_keys, **write.index_keys})
        return super()._apply(write)


class BreaksTiesByArrival(Faulty):
    """Leaves the order of equal index keys to chance."""

    caught_by = "test_index_order_is_total"

    async def query(self, plan: QueryPlan) -> RecordPage:
        page = await super().query(plan)
        slot = plan.slot
        if slot is None:
            return page
        arrived = sorted(page.records, key=lambda r: r.version)
        return replace(page, records=sorted(arrived, key=lambda r: r.index_keys[slot].sk, reverse=plan.reverse))


class ExplainsInObjects(Faulty):
    """Gives an account that only Python can read."""

    caught_by = "test_explaining_is_claimed_or_refused"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(features={**super().capabilities.features, "entities.explain": Support.NATIVE})

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        return {"plan": plan}


class OverlapsSegments(Faulty):
    """The last segment also holds what belongs to the first."""

    caught_by = "test_segments_partition_the_store"

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        wider = Segment() if segment.of > 1 and segment.index == segment.of - 1 else segment
        return await super().scan(wider, after=after, limit=limit)


class ScansByCounting(Faulty):
    """Goes on by how many records lie before, so that a delete makes it skip one."""

    caught_by = "test_a_record_that_stays_is_scanned_once"

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        start = 0 if after is None else int(after.key.pk)
        records = sorted(self._records.values(), key=lambda record: record.key)
        page = tuple(records[start : start + limit])
        more = start + limit < len(records)
        return RecordPage(page, Position(Key(str(start + limit), "x")) if more else None)


class ShowsTheExpired(Faulty):
    """Reads by key do not look at the expiry."""

    caught_by = "test_an_expired_record_is_absent_for_reads"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        return [self._records.get(key) for key in keys]


class ExpiresLate(Faulty):
    """A record lives on at the instant of its expiry."""

    caught_by = "test_a_record_is_there_until_the_instant_it_expires"

    def _live(self, key: Key) -> Record | None:
        record = self._records.get(key)
        return record if record is not None and record.expires_at == self._env.clock.now() else super()._live(key)


class ExpiresBySeconds(Faulty):
    """Keeps the expiry in whole seconds, rounded up."""

    caught_by = "test_a_record_comes_back_as_it_was_put"

    def _store(self, record: Record) -> Record:
        at = record.expires_at
        rounded = None if at is None else at.replace(microsecond=0) + timedelta(seconds=1)
        return super()._store(replace(record, expires_at=rounded))


class TripsOverTheExpired(Faulty):
    """Conditions see expired records."""

    caught_by = "test_an_expired_record_may_be_created_anew"

    def _refusal(self, write: Write) -> StorycoreError | None:
        old = self._records.get(write.key)
        if old is None or self._live(write.key) is not None:
            return super()._refusal(write)
        self._records[write.key] = replace(old, expires_at=None)
        error = super()._refusal(write)
        self._records[write.key] = old
        return error


class SweepsWithoutBudget(Faulty):
    """Removes everything that has expired, however much it is."""

    caught_by = "test_expire_keeps_to_its_budget"

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        return await super().expire(now, budget=budget if dry_run else 1_000_000, dry_run=dry_run)


class SweepsForTrial(Faulty):
    """Removes what it was only to count."""

    caught_by = "test_a_dry_run_of_expire_only_counts"

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        return await super().expire(now, budget=budget)


class SweepsTheLiving(Faulty):
    """Believes a ``now`` that is ahead of the clock."""

    caught_by = "test_expire_never_removes_the_living"

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        if dry_run:
            return await super().expire(now, budget=budget, dry_run=True)
        gone = [k for k, r in self._records.items() if r.expires_at is not None and r.expires_at <= now][:budget]
        for key in gone:
            del self._records[key]
        return len(gone)


class TellsNoPatches(Faulty):
    """The feed leaves patches out."""

    caught_by = "test_every_write_is_told_in_order"

    def _apply(self, write: Write) -> Written:
        told = self._told, list(self._changes)
        written = super()._apply(write)
        if isinstance(write, Patch):
            self._told, self._changes = told
        return written


class TellsNoSweeps(Faulty):
    """The feed does not tell what a sweep removed."""

    caught_by = "test_an_expiry_is_told_once"

    def _tell(self, action: Action, record: Record) -> None:
        if action is not Action.EXPIRE:
            super()._tell(action, record)


class TellsDeletesOfNothing(Faulty):
    """The feed tells a delete that found nothing."""

    caught_by = "test_what_writes_nothing_is_not_told"

    def _apply(self, write: Write) -> Written:
        if isinstance(write, Delete) and self._live(write.key) is None:
            self._tell(Action.DELETE, Record(key=write.key, kind="", version=Version(1)))
        return super()._apply(write)


class RepeatsTheLastChange(Faulty):
    """Goes on at a position instead of behind it."""

    caught_by = "test_the_feed_goes_on_from_any_position"

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        page = await super().changes(after, limit=limit)
        if after is None or not page.changes:
            return page
        number = self._number(after)
        return replace(
            page, changes=[self._changes[number - self._trimmed - 1], *page.changes] if number else page.changes
        )


class EndsBeforeTheLastChange(Faulty):
    """Takes the place of the last change for the end, not the place behind it."""

    caught_by = "test_only_what_is_written_later_is_behind_the_end"

    async def changes_end(self) -> FeedPosition:
        end = self._number(await super().changes_end())
        return self._position(max(end - 1, self._trimmed))


class EndsBehindAFullPage(Faulty):
    """Takes the end of a page for the end of the feed."""

    caught_by = "test_only_what_is_written_later_is_behind_the_end"

    async def changes_end(self) -> FeedPosition:
        return (await super().changes(limit=10)).next


class SkipsGapsSilently(Faulty):
    """Goes on at the oldest change that is kept, as if nothing had been trimmed."""

    caught_by = "test_a_gap_is_an_error"

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        try:
            return await super().changes(after, limit=limit)
        except FeedGap:
            return await super().changes(None, limit=limit)


class TakesAnyPosition(Faulty):
    """Begins anew at a position that it does not know."""

    caught_by = "test_a_foreign_position_is_refused"

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        try:
            return await super().changes(after, limit=limit)
        except InvalidArgument:
            return await super().changes(None, limit=limit)


class Races(Faulty):
    """Lets others run between judging a write and doing it."""

    caught_by = "test_of_many_creators_one_wins"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        for write in writes:
            if (error := self._refusal(write)) is not None:
                raise error
        await asyncio.sleep(0)
        return [self._apply(write) for write in writes]


class RacesOnVersions(Races):
    """The same, seen by clients that put, delete and read under versions."""

    caught_by = "test_concurrent_calls_have_an_order"


class ForgetsWhenClosed(Faulty):
    """Claims to be durable and is not."""

    caught_by = "test_everything_is_there_after_opening_again"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities({"entities.changes": Support.NATIVE}, guarantees=Guarantees(Durability.DISK))


class IgnoresClosing(Faulty):
    """Serves after it was closed."""

    caught_by = "test_a_closed_store_is_unavailable"

    def _require_open(self) -> None:
        return None


FAULTY = [*Faulty.__subclasses__(), *Races.__subclasses__()]


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
async def test_the_fault_is_caught(kind: type[Faulty], tmp_path: Path, record_property: Any) -> None:
    """The named test passes over the reference and fails over the faulty store."""
    await demand_caught(EntityStoreSuite, PortName.ENTITIES, kind.caught_by, kind, MemoryEntityStore, tmp_path)
    record_property("faulty stores caught", 1)


def test_the_sample_is_large_enough() -> None:
    """No class escapes the list."""
    assert len(FAULTY) >= 25
