"""The EntityStore suite catches the reference with one thing wrong in batches, tokens, expiry, the feed, or races."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from storycore.errors import AlreadyExists, PartialFailure, StorycoreError
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.conditions import ABSENT, ANY, Matches, Version
from storycore.ports.entities import (
    Action,
    ChangePage,
    Check,
    Delete,
    FeedPosition,
    Key,
    Patch,
    Put,
    Record,
    Write,
    Written,
)
from storycore.ports.lifecycle import PortName
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.trials import demand_caught


class Faulty(MemoryEntityStore):
    """A store with one fault, and the test that must catch it."""

    caught_by: ClassVar[str]


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


class DeletesWhatHasExpired(Faulty):
    """A delete that demands nothing live removes what has expired, and tells it as a delete."""

    caught_by = "test_a_delete_leaves_what_has_expired_to_the_sweep"

    def _apply(self, write: Write) -> Written:
        stored = self._records.get(write.key)
        if isinstance(write, Delete) and write.when == ABSENT and stored is not None:
            del self._records[write.key]
            self._tell(Action.DELETE, stored)
        return super()._apply(write)


class ReusesVersionsAfterASweep(Faulty):
    """Counts from 1 where a sweep has been."""

    caught_by = "test_versions_go_on_across_expiry"

    async def expire(self, now: Any, *, budget: int = 1000, dry_run: bool = False) -> int:
        count = await super().expire(now, budget=budget, dry_run=dry_run)
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


class LosesAdditions(Faulty):
    """Adds by reading, waiting and putting."""

    caught_by = "test_no_addition_is_lost"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        read = dict(self._records)
        await asyncio.sleep(0)
        if all(isinstance(write, Patch) for write in writes):
            self._records |= {write.key: read[write.key] for write in writes if write.key in read}
        return await super().write(writes, atomic=atomic, token=token)


class LosesARaceSilently(Faulty):
    """Answers a delete that lost a race as done."""

    caught_by = "test_concurrent_calls_have_an_order"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        await asyncio.sleep(0)
        first = writes[0]
        if isinstance(first, Delete) and isinstance(first.when, Matches) and self._refusal(first) is not None:
            return [Written(key=first.key, version=first.when.version)]
        return await super().write(writes, atomic=atomic, token=token)


def _outline(write: Write) -> tuple[object, ...]:
    return type(write), write.key, *(repr(getattr(write, part, None)) for part in ("fields", "add", "set"))


FAULTY = [*Faulty.__subclasses__(), *SkewsWrites.__subclasses__()]


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
async def test_the_fault_is_caught(kind: type[Faulty], tmp_path: Path, record_property: Any) -> None:
    """The named test passes over the reference and fails over the faulty store."""
    await demand_caught(EntityStoreSuite, PortName.ENTITIES, kind.caught_by, kind, MemoryEntityStore, tmp_path)
    record_property("faulty stores caught", 1)


def test_the_sample_is_large_enough() -> None:
    """No class escapes the list."""
    assert len(FAULTY) >= 20
