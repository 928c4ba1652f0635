"""The EntityStore suite catches the reference with one thing wrong at its edges: sets, order, sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from storycore.errors import NotFound, StorycoreError, TooLarge
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.conditions import Version
from storycore.ports.entities import (
    Key,
    Patch,
    Position,
    Put,
    QueryPlan,
    Record,
    RecordPage,
    Segment,
    Write,
    Written,
)
from storycore.ports.item_size import item_size
from storycore.ports.lifecycle import PortName
from storycore.ports.records import patched
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.trials import demand_caught


class Faulty(MemoryEntityStore):
    """A store with one fault, and the test that must catch it."""

    caught_by: ClassVar[str]


# Sets.


class IncludingReplaces(Faulty):
    """Sets the members instead of adding them."""

    caught_by = "test_a_set_gains_members"

    def _apply(self, write: Write) -> Written:
        if isinstance(write, Patch):
            write = replace(write, include={}, set={**write.set, **write.include})
        return super()._apply(write)


class IncludesOnlyWhereASetIs(Faulty):
    """Forgets members of a set that is not there yet."""

    caught_by = "test_a_set_gains_members"

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        if isinstance(write, Patch) and current is not None:
            write = replace(write, include={k: v for k, v in write.include.items() if k in current.fields})
        return super()._apply(write)


class ExcludingLeavesAnEmptySet(Faulty):
    """Keeps a field whose set has lost its last member."""

    caught_by = "test_a_set_loses_members"

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        written = super()._apply(write)
        if isinstance(write, Patch) and current is not None and written.record is not None:
            emptied: dict[str, Any] = {k: frozenset() for k in write.exclude if k not in written.record.fields}
            self._records[write.key] = replace(written.record, fields={**written.record.fields, **emptied})
        return written


class ExcludingWantsTheMember(Faulty):
    """Refuses to take away what is not there."""

    caught_by = "test_a_set_loses_members"

    def _refusal(self, write: Write) -> StorycoreError | None:
        current = self._live(write.key)
        if isinstance(write, Patch) and current is not None:
            for name, members in write.exclude.items():
                held = current.fields.get(name, frozenset())
                if isinstance(held, frozenset) and not members <= held:
                    return NotFound("no such member")
        return super()._refusal(write)


class TakesTextForASet(Faulty):
    """Replaces a field that is no set by one."""

    caught_by = "test_what_is_no_set_has_no_members"

    def _refusal(self, write: Write) -> StorycoreError | None:
        return super()._refusal(replace(write, include={}, exclude={}) if isinstance(write, Patch) else write)

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        if isinstance(write, Patch) and current is not None:
            kept = {k: v for k, v in current.fields.items() if isinstance(v, frozenset) or k not in _members(write)}
            self._records[write.key] = replace(current, fields=kept)
        return super()._apply(write)


class LosesMembers(Faulty):
    """Changes a set by reading, waiting and putting."""

    caught_by = "test_no_member_is_lost"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        read = dict(self._records)
        await asyncio.sleep(0)
        if all(isinstance(write, Patch) and _members(write) for write in writes):
            self._records |= {write.key: read[write.key] for write in writes if write.key in read}
        return await super().write(writes, atomic=atomic, token=token)


class ForgetsToExclude(Faulty):
    """Does not exclude where it also includes."""

    caught_by = "test_sets_change_beside_everything_else"

    def _apply(self, write: Write) -> Written:
        if isinstance(write, Patch) and write.include:
            write = replace(write, exclude={})
        return super()._apply(write)


# What is the store's own.


class ScansItsTokens(Faulty):
    """Shows the records in which it keeps its tokens."""

    caught_by = "test_only_what_was_written_is_there"

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        page = await super().scan(segment, after=after, limit=limit)
        own = [Record(key=Key("\0storycore", name), kind="t", version=Version(1)) for name in self._tokens]
        return page if page.next else replace(page, records=[*page.records, *own])


class ListsWhatWasDeleted(Faulty):
    """Leaves a deleted record in its indexes."""

    caught_by = "test_only_what_was_written_is_there"

    async def query(self, plan: QueryPlan) -> RecordPage:
        page = await super().query(plan)
        told = [c.record for c in self._changes if c.record is not None and plan.slot in c.record.index_keys]
        gone = [record for record in told if record.key not in self._records]
        return page if page.next else replace(page, records=[*page.records, *gone])


# Order.


class JoinsThePlace(Faulty):
    """Orders an index by its keys joined with a character that they may hold."""

    caught_by = "test_index_order_holds_for_odd_keys"

    async def query(self, plan: QueryPlan) -> RecordPage:
        slot = plan.slot
        if slot is None:
            return await super().query(plan)
        page = await super().query(replace(plan, limit=1000, after=None))
        joined = [("\0".join((r.index_keys[slot].sk, r.key.pk, r.key.sk)), r) for r in page.records]
        return _paged([record for _, record in sorted(joined, key=lambda pair: pair[0], reverse=plan.reverse)], plan)


class BoundsTheJoinedPlace(Faulty):
    """Compares the bounds of an index with its keys joined."""

    caught_by = "test_index_bounds_hold_for_odd_keys"

    async def query(self, plan: QueryPlan) -> RecordPage:
        slot = plan.slot
        if slot is None:
            return await super().query(plan)
        page = await super().query(replace(plan, low=None, high=None, limit=1000))
        joined = [("\0".join((r.index_keys[slot].sk, r.key.pk, r.key.sk)), r) for r in page.records]
        inside = [
            r
            for text, r in joined
            if (plan.low is None or text >= plan.low) and (plan.high is None or text < plan.high)
        ]
        return RecordPage(inside)


class ComparesByUtf16(Faulty):
    """Takes ranges in the order of a language whose text is UTF-16."""

    caught_by = "test_a_prefix_is_a_range"

    async def query(self, plan: QueryPlan) -> RecordPage:
        page = await super().query(replace(plan, low=None, high=None, limit=1000))
        return RecordPage([r for r in page.records if _is_in_utf16(r.key.sk, plan.low, plan.high)])


class GoesOnBehindTheIndexKey(Faulty):
    """Skips the records that have the same index key as the position."""

    caught_by = "test_an_index_goes_on_behind_any_odd_place"

    async def query(self, plan: QueryPlan) -> RecordPage:
        if plan.slot is None or plan.after is None or plan.after.index_key is None or plan.reverse:
            return await super().query(plan)
        return await super().query(replace(plan, after=None, low=plan.after.index_key.sk + "\0"))


class MixesPartitions(Faulty):
    """Takes a partition for all that begin with its name."""

    caught_by = "test_partitions_with_odd_names_are_apart"

    async def query(self, plan: QueryPlan) -> RecordPage:
        if plan.slot is not None:
            return await super().query(plan)
        return _paged(sorted((r for r in self._all_live() if r.key.pk.startswith(plan.pk)), key=lambda r: r.key), plan)


class EndsAtADeletedPlace(Faulty):
    """Finds nothing behind a record that is gone."""

    caught_by = "test_a_position_needs_no_record"

    async def query(self, plan: QueryPlan) -> RecordPage:
        is_gone = plan.after is not None and plan.after.key not in self._records
        return RecordPage(()) if is_gone else await super().query(plan)


class IndexesAreSnapshots(Faulty):
    """An index shows a record as it was when its index keys were set."""

    caught_by = "test_an_index_shows_the_present_record"

    async def query(self, plan: QueryPlan) -> RecordPage:
        page = await super().query(plan)
        if plan.slot is None:
            return page
        first: dict[Key, Record] = {}
        for change in self._changes:
            if change.record is not None:
                first.setdefault(change.key, change.record)
        return replace(page, records=[first[record.key] for record in page.records])


# Sizes.


class CountsMoreThanThePort(Faulty):
    """Has a limit of its own, a little below the port's, for records with index keys."""

    caught_by = "test_the_largest_record_of_any_shape_is_kept"

    def _refusal(self, write: Write) -> StorycoreError | None:
        if isinstance(write, Put) and item_size(write) + 10 * len(write.index_keys) > 400 * 1024:
            return TooLarge("too large", limit=400 * 1024, actual=item_size(write))
        return super()._refusal(write)


class LetsPatchesGrow(Faulty):
    """Judges a patch by its own size, not by what it leaves behind."""

    caught_by = "test_a_patch_may_fill_a_record_to_the_brim"

    def _refusal(self, write: Write) -> StorycoreError | None:
        error = super()._refusal(write)
        return None if isinstance(error, TooLarge) else error

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        try:
            return super()._apply(write)
        except TooLarge:
            assert isinstance(write, Patch)
            assert current is not None
            grown = patched(replace(current, body=b""), replace(write, body=b""), self._next_version())
            record = self._store(replace(grown, body=current.body))
            return Written(key=write.key, version=record.version, record=record)


class StopsAtOneMebibyte(Faulty):
    """Answers what fits in one response, and takes the rest for missing."""

    caught_by = "test_more_than_any_service_answers_at_once_is_read"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        found = await super().get(keys, consistent=consistent)
        sizes = [0 if record is None else len(record.body) for record in found]
        return [record if sum(sizes[: i + 1]) <= 16_000_000 else None for i, record in enumerate(found)]


class CutsAtomicWrites(Faulty):
    """Does a large atomic write in two parts, each of which may be refused alone."""

    caught_by = "test_the_largest_atomic_write_is_done"

    def _write_all(self, writes: Sequence[Write]) -> list[Written]:
        if sum(item_size(write) for write in writes if isinstance(write, Put)) > 2 * 1024 * 1024:
            raise TooLarge("too large", limit=2 * 1024 * 1024, actual=0)
        return super()._write_all(writes)


def _members(patch: Patch) -> set[str]:
    return {*patch.include, *patch.exclude}


def _paged(records: Iterable[Record], plan: QueryPlan) -> RecordPage:
    """The page of a plan in whatever order the records are."""
    found = list(records)
    places = [record.key for record in found]
    start = places.index(plan.after.key) + 1 if plan.after is not None and plan.after.key in places else 0
    page = found[start : start + plan.limit]
    more = start + plan.limit < len(found)
    slot = plan.slot
    last = page[-1] if page else None
    if not more or last is None:
        return RecordPage(page)
    return RecordPage(page, Position(last.key, None if slot is None else last.index_keys[slot]))


def _is_in_utf16(text: str, low: str | None, high: str | None) -> bool:
    at, begin, end = (None if part is None else part.encode("utf-16-be") for part in (text, low, high))
    assert at is not None
    return (begin is None or at >= begin) and (end is None or at < end)


FAULTY = Faulty.__subclasses__()


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
async def test_the_fault_is_caught(kind: type[Faulty], tmp_path: Path, record_property: Any) -> None:
    """The named test passes over the reference and fails over the faulty store."""
    await demand_caught(EntityStoreSuite, PortName.ENTITIES, kind.caught_by, kind, MemoryEntityStore, tmp_path)
    record_property("faulty stores caught", 1)


def test_the_sample_is_large_enough() -> None:
    """No class escapes the list."""
    assert len(FAULTY) >= 18
