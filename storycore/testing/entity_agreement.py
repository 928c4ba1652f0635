"""Several entity stores in step: each does what the others do, and all must answer alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from storycore.errors import PartialFailure, StorycoreError, TransactionConflict, VersionConflict
from storycore.ports.capabilities import Durability
from storycore.ports.conditions import Matches, Version
from storycore.ports.entities import (
    Action,
    Change,
    EntityStore,
    FeedPosition,
    Key,
    Patch,
    Put,
    QueryPlan,
    Record,
    Segment,
    Write,
    Written,
)
from storycore.testing.entity_examples import content, walk, walk_changes, walk_segment
from storycore.testing.entity_steps import (
    INDEX_PARTITIONS,
    KEYS,
    PARTITIONS,
    SEEDS,
    SLOTS,
    Advance,
    Follow,
    Get,
    Intent,
    Query,
    Reopen,
    Repeat,
    Scan,
    Step,
    Sweep,
    WriteAll,
)
from storycore.testing.harness import Harness

__all__ = ["Agreement"]

CHANGES: Final = "entities.changes"
UNKNOWN: Final = Version(2**62)
_PAUSE_SECONDS: Final = 0.02


@dataclass
class _Side:
    """One of the stores, and how far its feed has been read."""

    harness: Harness
    store: EntityStore
    abandoned: EntityStore | None = None
    after: FeedPosition | None = None
    seen: set[tuple[object, ...]] = field(default_factory=set)
    told: dict[Key, list[tuple[Version, object]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.harness.spec.name


class Agreement:
    """Stores that are driven with one trace under one clock; the first is the reference.

    Versions may be any growing numbers, so the stores' versions of one write are taken together.

    ``outcomes`` counts what calls of ``write`` gave: the class of the error, or ``done``.

    Args:
        sides: the open stores.
        index_lag_seconds: how long an index may lag behind a write.
        feed_lag_seconds: how long the feed may.
    """

    def __init__(self, sides: Sequence[_Side], *, index_lag_seconds: float = 0.0, feed_lag_seconds: float = 0.0):
        self._sides = sides
        self._clock = sides[0].harness.clock
        self._index_lag = index_lag_seconds
        self._feed_lag = feed_lag_seconds
        self._versions: dict[Key, list[tuple[Version, ...]]] = {}
        self._tokens: dict[str, tuple[WriteAll, Sequence[Sequence[Write]]]] = {}
        self.outcomes: Counter[str] = Counter()

    @classmethod
    async def of(cls, harnesses: Sequence[Harness], **lags: float) -> Agreement:
        """Open a store in a fresh place of each harness, under the clock of the first, and write the seeds."""
        places = [harness.fresh() for harness in harnesses]
        for place in places[1:]:
            place.clock = places[0].clock
        agreement = cls([_Side(place, await place.started()) for place in places], **lags)
        for intent in SEEDS:
            await agreement.play(WriteAll((intent,)))
        return agreement

    async def play(self, step: Step) -> None:
        """Take a step with all stores.

        Raises:
            AssertionError: they do not answer alike; the message says what was expected of which store.
        """
        match step:
            case WriteAll():
                await self._write(step)
            case Repeat():
                await self._repeat(step.token)
            case Get():
                await self._get(step.keys)
            case Query():
                await self._query(step.plan)
            case Scan():
                await self._scan(step)
            case Follow():
                await self._follow(step.limit)
            case Advance():
                self._clock.advance(timedelta(seconds=step.seconds))
                await self.compare()
            case Sweep():
                await self._sweep()
            case Reopen():
                await self._reopen(crash=step.crash)
        await self._get(KEYS)

    async def compare(self) -> None:
        """Compare all partitions, indexes and segments, and the feed from where it was last read."""
        for reverse in (False, True):
            for pk in PARTITIONS:
                await self._query(QueryPlan(pk=pk, reverse=reverse, limit=2, bodies=reverse))
            for slot in SLOTS:
                for pk in INDEX_PARTITIONS:
                    await self._query(QueryPlan(pk=pk, slot=slot, reverse=reverse, limit=2))
        await self._scan(Scan(of=2, limit=3))
        await self._follow(limit=4)

    async def close(self) -> None:
        """Close all stores."""
        for side in self._sides:
            for store in (side.abandoned, side.store):
                if store is not None:
                    await store.close()

    # Steps.

    async def _write(self, step: WriteAll) -> None:
        calls = [[self._resolved(intent, i) for intent in step.intents] for i in range(len(self._sides))]
        if step.token is not None:
            self._tokens.setdefault(step.token, (step, calls))
        await self._compare_calls(step, calls)

    async def _repeat(self, token: str) -> None:
        if token in self._tokens:
            await self._compare_calls(*self._tokens[token])

    async def _compare_calls(self, step: WriteAll, calls: Sequence[Sequence[Write]]) -> None:
        outcomes = [
            await _outcome(side.store.write(call, atomic=step.atomic, token=step.token))
            for side, call in zip(self._sides, calls, strict=True)
        ]
        self._same_outcomes(outcomes)
        self.outcomes["done" if isinstance(outcomes[0], list) else type(outcomes[0]).__name__] += 1
        for key, versions in self._versions.items():
            for column in zip(*versions, strict=True):
                assert list(column) == sorted(set(column)), f"the versions of {key} do not grow: {column}"

    async def _get(self, keys: Sequence[Key]) -> None:
        self._same_records([await side.store.get(keys) for side in self._sides])

    async def _query(self, plan: QueryPlan) -> None:
        async def look() -> None:
            self._same_records([await walk(side.store, plan) for side in self._sides])

        await self._settled(look, 0.0 if plan.slot is None else self._index_lag)

    async def _scan(self, step: Scan) -> None:
        found = []
        for side in self._sides:
            segments = [await walk_segment(side.store, Segment(i, step.of), limit=step.limit) for i in range(step.of)]
            found.append(sorted((r for segment in segments for r in segment), key=lambda record: record.key))
        self._same_records(found)

    async def _follow(self, limit: int) -> None:
        if all(side.store.capabilities.has(CHANGES) for side in self._sides):
            await self._settled(lambda: self._read_on(limit), self._feed_lag)

    async def _sweep(self) -> None:
        await self._follow(limit=1000)  # a sweep may trim the feed, and what was read before is not missed
        now = self._clock.now()
        counts = [await side.store.expire(now) for side in self._sides]
        for side, count in zip(self._sides, counts, strict=True):
            assert counts[0] == count, f"a sweep of {side.name} removed {count} records instead of {counts[0]}"
        await self.compare()

    async def _reopen(self, *, crash: bool) -> None:
        if crash:
            self._clock.advance(timedelta(seconds=1))  # no process starts within the microsecond of its predecessor
        for side in self._sides:
            guarantees = side.store.capabilities.guarantees
            if guarantees.durability is Durability.PROCESS:
                continue
            left = side.store
            if crash and guarantees.multi_process:
                side.abandoned, left = left, side.abandoned or left
            if left is not side.abandoned:
                await left.close()
            side.store = side.harness.make()
            await side.store.open()
        await self.compare()

    # What is the same.

    def _resolved(self, intent: Intent, side: int) -> Write:
        """The write with a version of that store's own, and the expiry counted from now."""
        write, known = intent.write, self._versions.get(intent.write.key, [])
        when = intent.wish.condition
        if when is None:
            when = Matches(known[-1 - intent.wish.pick % len(known)][side] if known else UNKNOWN)
        if isinstance(write, Put | Patch) and intent.seconds is not None:
            write = replace(write, expires_at=self._clock.now() + timedelta(seconds=intent.seconds))
        return replace(write, when=when)

    def _same_outcomes(self, outcomes: Sequence[Any]) -> None:
        """All outcomes of one call, of one of its writes, or of one reason why it was refused, are alike."""
        expected = outcomes[0]
        for side, actual in zip(self._sides, outcomes, strict=True):
            assert type(expected) is type(actual), f"expected {expected!r}, got {actual!r} from {side.name}"
        if isinstance(expected, list | tuple):
            assert [len(expected)] * len(outcomes) == [len(outcome) for outcome in outcomes]
            for parts in zip(*outcomes, strict=True):
                self._same_outcomes(parts)
        elif isinstance(expected, PartialFailure):
            self._same_outcomes([outcome.outcomes for outcome in outcomes])
        elif isinstance(expected, TransactionConflict):
            positions = sorted(expected.reasons)
            assert [positions] * len(outcomes) == [sorted(outcome.reasons) for outcome in outcomes]
            self._same_outcomes([[outcome.reasons[i] for i in positions] for outcome in outcomes])
        elif isinstance(expected, VersionConflict):
            assert len({outcome.current is None for outcome in outcomes}) == 1, f"current versions: {outcomes!r}"
        elif isinstance(expected, Written):
            self._same_written(outcomes)

    def _same_written(self, results: Sequence[Written]) -> None:
        expected = results[0]
        for side, actual in zip(self._sides, results, strict=True):
            assert (expected.key, expected.created) == (actual.key, actual.created), side.name
            assert content(expected.record) == content(actual.record), side.name
        versions = tuple(result.version for result in results if result.version is not None)
        assert len(versions) in (0, len(results)), f"versions of one write: {results!r}"
        known = self._versions.setdefault(expected.key, [])
        if versions and versions not in known:
            known.append(versions)

    def _same_records(self, answers: Sequence[Sequence[Record | None]]) -> None:
        expected = [content(record) for record in answers[0]]
        for side, answer in zip(self._sides, answers, strict=True):
            assert expected == [content(record) for record in answer], side.name
        for records in zip(*answers, strict=True):
            if records[0] is not None:
                versions = tuple(record.version for record in records if record is not None)
                assert versions in self._versions[records[0].key], "a read shows another version"

    async def _read_on(self, limit: int) -> None:
        """Read every feed to its end; what is alike in all of them is forgotten."""
        for side in self._sides:
            _note(side, await walk_changes(side.store, side.after, limit=limit))
        for key in {key for side in self._sides for key in side.told}:
            told = [side.told.get(key, []) for side in self._sides]
            for side, of_key in zip(self._sides, told, strict=True):
                expected, actual = ([what for _, what in each] for each in (told[0], of_key))
                assert expected == actual, f"of {key} {side.name} tells {actual} instead of {expected}"
            for versions in zip(*([version for version, _ in of_key] for of_key in told), strict=True):
                assert versions in self._versions[key], f"the feed tells another version of {key}"
        for side in self._sides:
            side.told.clear()

    async def _settled(self, look: Callable[[], Awaitable[None]], lag_seconds: float) -> None:
        """Look until all is alike, at most until the lag is over."""
        end = asyncio.get_running_loop().time() + lag_seconds
        while True:
            try:
                return await look()
            except AssertionError:
                if asyncio.get_running_loop().time() >= end:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)


async def _outcome(call: Awaitable[object]) -> object:
    """What a call gave: its result, or its error."""
    try:
        return await call
    except StorycoreError as error:
        return error


def _note(side: _Side, changes: Sequence[Change]) -> None:
    """Sort changes by their keys; a feed may tell a change twice, and dates a removal by its own clock."""
    for change in changes:
        side.after = change.position
        mark = (change.key, change.version, change.action)
        if mark not in side.seen:
            side.seen.add(mark)
            at = change.at if change.action is Action.PUT else None
            what = (change.action, change.kind, at, content(change.record))
            side.told.setdefault(change.key, []).append((change.version, what))
