"""The EntityStore suite catches the reference with one thing wrong at its edges: sets, order, sizes, tokens, races."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from storycore.errors import AlreadyExists, NotFound, PartialFailure, StorycoreError, TooLarge
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.conditions import ABSENT, ANY, Matches, Version
from storycore.ports.entities import (
    ChangePage,
    Check,
    Delete,
    FeedPosition,
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
from storycore.testing.trials import failure


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


# Batches.


class DropsTheTail(Faulty):
    """Leaves what a service did not process undone, and says nothing."""

    caught_by = "test_results_come_in_the_order_of_the_writes"

    def _write_each(self, writes: Sequence[Write]) -> list[Written]:
        done = super()._write_each(writes[:25])
        return done + [Written(key=w.key, version=Version(10**6), created=True) for w in writes[25:]]


class CountsOutcomesPerChunk(Faulty):
    """Puts the outcomes of each chunk of 25 in the order of success and failure."""

    caught_by = "test_every_failure_of_a_long_batch_has_its_place"

    def _write_each(self, writes: Sequence[Write]) -> list[Written]:
        try:
            return super()._write_each(writes)
        except PartialFailure as exc:
            if len(writes) <= 25:
                raise
            by_kind = sorted(exc.outcomes, key=lambda outcome: isinstance(outcome, StorycoreError))
            raise PartialFailure("mixed up", outcomes=by_kind) from exc


class ForgetsTheCurrentVersionInReasons(Faulty):
    """Says in the reasons of an atomic write that nothing was there."""

    caught_by = "test_every_reason_is_named_with_what_is_stored"

    def _write_all(self, writes: Sequence[Write]) -> list[Written]:
        try:
            return super()._write_all(writes)
        except StorycoreError as exc:
            for reason in getattr(exc, "reasons", {}).values():
                if hasattr(reason, "current"):
                    reason.current = None
            raise


class TellsBeforeItJudges(Faulty):
    """Tells the feed of the writes of an atomic call that is then refused."""

    caught_by = "test_what_writes_nothing_is_not_told"

    def _write_all(self, writes: Sequence[Write]) -> list[Written]:
        before = dict(self._records)
        results = []
        for write in writes:
            if self._refusal(write) is not None:
                self._records = before
                return super()._write_all(writes)
            results.append(self._apply(write))
        return results


# Tokens.


class TokensLookAtKeysAndFields(Faulty):
    """Takes calls for the same whose conditions, bodies, kinds or expiries differ."""

    caught_by = "test_a_token_belongs_to_every_part_of_its_writes"

    def _write_once(self, writes: list[Write], token: str) -> list[Written]:
        known = self._tokens.get(token)
        if known is not None and [_outline(w) for w in known.writes] == [_outline(w) for w in writes]:
            writes = known.writes
        return super()._write_once(writes, token)


class TokensLiveForEver(Faulty):
    """Never frees a token."""

    caught_by = "test_a_token_is_free_after_its_time"

    def _write_once(self, writes: list[Write], token: str) -> list[Written]:
        known = self._tokens.get(token)
        return super()._write_once(writes, token) if known is None else known.results


class TokensShareTheirWrites(Faulty):
    """Keeps the very writes that were handed in."""

    caught_by = "test_a_token_remembers_what_was_handed_in"

    def _write_once(self, writes: list[Write], token: str) -> list[Written]:
        is_new = token not in self._tokens
        results = super()._write_once(writes, token)
        if is_new:
            self._tokens[token] = replace(self._tokens[token], writes=writes)
        return results


class TokensRace(Faulty):
    """Lets others run between looking a token up and writing."""

    caught_by = "test_concurrent_calls_with_one_token_write_once"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        known = token is not None and token in self._tokens
        await asyncio.sleep(0)
        return await super().write(writes, atomic=atomic, token=token if known else None)


# Expiry.


class CountsOnWhatHasExpired(Faulty):
    """A patch brings an expired record back."""

    caught_by = "test_an_expired_record_is_absent_for_every_form_of_write"

    def _refusal(self, write: Write) -> StorycoreError | None:
        return None if self._is_expired_patch(write) else super()._refusal(write)

    def _apply(self, write: Write) -> Written:
        if self._is_expired_patch(write):
            self._records[write.key] = replace(self._records[write.key], expires_at=None)
        return super()._apply(write)

    def _is_expired_patch(self, write: Write) -> bool:
        return isinstance(write, Patch) and write.key in self._records and self._live(write.key) is None


class MatchesWhatHasExpired(Faulty):
    """The version of an expired record still matches."""

    caught_by = "test_an_expired_record_is_absent_for_every_form_of_write"

    def _refusal(self, write: Write) -> StorycoreError | None:
        stored = self._records.get(write.key)
        if isinstance(write, Put) and stored is not None and write.when == Matches(stored.version):
            write = replace(write, when=ANY)
        return super()._refusal(write)


class ChecksWhatHasExpired(Faulty):
    """Finds an expired record present for a check, in atomic writes only."""

    caught_by = "test_an_expired_record_is_absent_for_every_form_of_write"

    def _refusal(self, write: Write) -> StorycoreError | None:
        is_there = write.key in self._records
        return None if isinstance(write, Check) and is_there and write.when != ABSENT else super()._refusal(write)


class ReusesVersionsAfterASweep(Faulty):
    """Counts from 1 where a sweep has been."""

    caught_by = "test_versions_go_on_across_expiry"

    async def expire(self, now: Any, *, budget: int = 1000) -> int:
        count = await super().expire(now, budget=budget)
        self._last_version = 0 if count else self._last_version
        return count


# The feed and reads that may lag.


class DropsTheLastChange(Faulty):
    """Leaves out the last change of a full page."""

    caught_by = "test_the_feed_goes_on_from_any_position"

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        page = await super().changes(after, limit=limit)
        return replace(page, changes=page.changes[:-1]) if len(page.changes) == limit > 1 else page


class TearsEventualReads(Faulty):
    """Shows the new fields with the old body."""

    caught_by = "test_an_eventual_read_shows_a_state_that_was"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        found = await super().get(keys)
        told = [change.record for change in self._changes if change.record is not None]
        if consistent or len(told) < 2:
            return found
        return [None if record is None else replace(record, body=told[-2].body) for record in found]


# Races and repetitions.


class TearsAtomicWrites(Faulty):
    """Lets others see the first half of an atomic write."""

    caught_by = "test_concurrent_atomic_writes_have_an_order"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        if not atomic or token is not None or len(writes) < 2 or any(self._refusal(write) for write in writes):
            return await super().write(writes, atomic=atomic, token=token)
        done = [self._apply(writes[0])]
        await asyncio.sleep(0)
        return done + [self._apply(write) for write in writes[1:]]


class SkewsWrites(Faulty):
    """Lets others run between the checks of an atomic write and its writes."""

    caught_by = "test_of_two_that_check_each_other_one_is_done"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        if atomic and all(self._refusal(write) is None for write in writes):
            await asyncio.sleep(0)
            writes = [replace(w, when=ANY) if isinstance(w, Check) else w for w in writes]
        return await super().write(writes, atomic=atomic, token=token)


class SkewsWritesUnseen(SkewsWrites):
    """The same, seen by clients that read and write several records."""

    caught_by = "test_concurrent_atomic_writes_have_an_order"


class StopsHalfWay(Faulty):
    """Leaves half of an atomic write behind when its caller is cancelled."""

    caught_by = "test_a_cancelled_atomic_write_is_done_whole_or_not_at_all"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        if not atomic or token is not None or any(self._refusal(write) for write in writes):
            return await super().write(writes, atomic=atomic, token=token)
        done = []
        for write in writes:
            await asyncio.sleep(0)
            done.append(self._apply(write))
        return done


class WritesAgainWhenCancelled(Faulty):
    """Repeats an addition whose caller was cancelled."""

    caught_by = "test_a_cancelled_write_counts_once_at_most"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        written = await super().write(writes, atomic=atomic, token=token)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await super().write(writes, atomic=atomic)
            raise
        return written


class MixesUpAnswers(Faulty):
    """Hands the answer of a read that was given up to whoever reads next."""

    caught_by = "test_a_cancelled_read_harms_no_later_one"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        self._answers = [*getattr(self, "_answers", []), await super().get(keys)]
        await asyncio.sleep(0)
        return self._answers.pop(0)


class RepeatsWhatWasDone(Faulty):
    """Repeats now and then a patch whose answer was lost."""

    caught_by = "test_no_addition_is_lost"

    def _apply(self, write: Write) -> Written:
        if isinstance(write, Patch) and self._told % 5 == 4:
            super()._apply(write)
        return super()._apply(write)


class TakesItsOwnWriteForAnothers(Faulty):
    """Repeats a creation whose answer was lost, and reports what it finds as a conflict."""

    caught_by = "test_of_many_creators_one_wins"

    def _write_each(self, writes: Sequence[Write]) -> list[Written]:
        written = super()._write_each(writes)
        if len(writes) == 1 and writes[0].when == ABSENT:
            raise AlreadyExists("it was there")
        return written


class LosesARaceSilently(Faulty):
    """Answers a delete that lost a race as done."""

    caught_by = "test_concurrent_calls_have_an_order"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        await asyncio.sleep(0)
        first = writes[0]
        if isinstance(first, Delete) and isinstance(first.when, Matches) and self._refusal(first) is not None:
            return [Written(key=first.key, version=first.when.version)]
        return await super().write(writes, atomic=atomic, token=token)


def _members(patch: Patch) -> set[str]:
    return {*patch.include, *patch.exclude}


def _outline(write: Write) -> tuple[object, ...]:
    return type(write), write.key, *(repr(getattr(write, part, None)) for part in ("fields", "add", "set"))


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


FAULTY = [*Faulty.__subclasses__(), *SkewsWrites.__subclasses__()]


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
async def test_the_fault_is_caught(kind: type[Faulty], tmp_path: Path, record_property: Any) -> None:
    """The named test passes over the reference and fails over the faulty store."""
    for path in (tmp_path / "faulty", tmp_path / "sound"):
        path.mkdir()
    assert await failure(EntityStoreSuite, PortName.ENTITIES, kind.caught_by, kind, tmp_path / "faulty") is not None
    sound = await failure(EntityStoreSuite, PortName.ENTITIES, kind.caught_by, MemoryEntityStore, tmp_path / "sound")
    assert sound is None
    record_property("faulty stores caught", 1)


def test_the_sample_is_large_enough() -> None:
    """No class escapes the list."""
    assert len(FAULTY) >= 35
