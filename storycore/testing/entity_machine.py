"""The state machine that drives an entity store and the reference with one trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from storycore.errors import PartialFailure, StorycoreError, TransactionConflict, VersionConflict
from storycore.ports.capabilities import Durability
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition, Matches, Version
from storycore.ports.entities import (
    KEEP,
    Change,
    Check,
    Delete,
    EntityStore,
    Key,
    Patch,
    Position,
    Put,
    QueryPlan,
    Record,
    Segment,
    Write,
    Written,
)
from storycore.ports.lifecycle import PortName
from storycore.testing.entity_examples import content, walk, walk_changes, walk_segment
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine

__all__ = ["machine_for"]

_PARTITIONS = st.sampled_from(["p", "q"])
_NAMES = ["a", "b", "é", "\ue000", "👩‍🚀"]
_SORTS = st.sampled_from(_NAMES)
_KEYS = st.builds(Key, _PARTITIONS, _SORTS)
_INDEX_KEYS = st.dictionaries(st.sampled_from([1, 2]), st.builds(Key, st.sampled_from(["x", "y"]), _SORTS), max_size=2)
_VALUES = st.sampled_from([0, 7, 2**63 - 1, 0.1, Decimal("0.5"), True, "", "t", frozenset({"m", "n"})])
_FIELDS = st.dictionaries(st.sampled_from(["f", "g"]), _VALUES, max_size=2)
_BODIES = st.sampled_from([b"", b"body"])
_SECONDS = st.none() | st.sampled_from([0, 5, 60])
_AMOUNTS = st.sampled_from([1, -3, Decimal("0.25")])


@dataclass(frozen=True)
class _Wish:
    """What a write demands, before each store's own versions are put in.

    Args:
        condition: one that names no version; ``None``: a version.
        pick: which of the versions that the key has had; the newest is 0.
    """

    condition: Condition | None
    pick: int = 0


_WISHES = st.sampled_from([ANY, ANY, ABSENT, PRESENT]).map(_Wish) | st.integers(0, 2).map(lambda n: _Wish(None, n))
_PATCH_WISHES = st.sampled_from([ANY, PRESENT]).map(_Wish) | st.integers(0, 2).map(lambda n: _Wish(None, n))

_PUTS = st.builds(
    Put, key=_KEYS, kind=st.sampled_from(["k1", "k2"]), index_keys=_INDEX_KEYS, fields=_FIELDS, body=_BODIES
)
_PATCHES = st.builds(
    Patch,
    key=_KEYS,
    add=st.dictionaries(st.just("f"), _AMOUNTS, max_size=1),
    set=st.dictionaries(st.just("g"), _VALUES, max_size=1),
    unset=st.sampled_from([frozenset(), frozenset({"h"})]),
    body=st.just(KEEP) | _BODIES,
    index_keys=st.just(KEEP) | _INDEX_KEYS,
)
_CHANGES = (
    st.tuples(_PUTS, _WISHES, _SECONDS)
    | st.tuples(_PATCHES, _PATCH_WISHES, _SECONDS)
    | st.tuples(st.builds(Delete, key=_KEYS), _WISHES, st.none())
)
_CHECKS = st.tuples(st.builds(Check, key=_KEYS), _WISHES, st.none())
_Intent = tuple[Write, _Wish, int | None]


def _of_write(intent: _Intent) -> Key:
    return intent[0].key


def machine_for(harness: Harness) -> type[EntityMachine]:
    """The machine for one adapter; each run has a fresh place."""
    return type("EntityMachineRun", (EntityMachine,), {"origin": harness})


class EntityMachine(StoreMachine):
    """Versions may be any growing numbers, so the two stores' versions of one write are taken as a pair."""

    origin: ClassVar[Harness]

    @initialize()
    def begin(self) -> None:
        """Open both stores in empty places, under one clock."""
        self.harness = self.origin.fresh()
        self.subject: EntityStore = self.run(self.harness.started())
        reference = Harness(PortName.ENTITIES, "memory", {}, self.harness.path, self.harness.clock)
        self.model: EntityStore = self.run(reference.started())
        self.versions: dict[Key, list[tuple[Version, Version]]] = {}
        self.tokens: dict[str, tuple[Sequence[Write], Sequence[Write]]] = {}
        for i, name in enumerate(reversed(_NAMES)):
            seed = Put(key=Key("p", name), kind="k1", index_keys={1: Key("x", "a")}, fields={"f": i}, body=b"seed")
            self._write([(seed, _Wish(ABSENT), 60 if i % 2 else None)])

    @rule(intent=_CHANGES)
    def write_one(self, intent: _Intent) -> None:
        """One write."""
        self._write([intent])

    @rule(intents=st.lists(_CHANGES, min_size=2, max_size=4, unique_by=_of_write))
    def write_several(self, intents: list[_Intent]) -> None:
        """Writes that stand each for itself."""
        self._write(intents)

    @rule(intents=st.lists(_CHANGES | _CHECKS, min_size=1, max_size=4, unique_by=_of_write))
    def write_atomic(self, intents: list[_Intent]) -> None:
        """All or nothing."""
        self._write(intents, atomic=True)

    @rule(intents=st.lists(_CHANGES, min_size=1, max_size=2, unique_by=_of_write), token=st.sampled_from(["t", "u"]))
    def write_with_token(self, intents: list[_Intent], token: str) -> None:
        """All or nothing, once."""
        self._write(intents, atomic=True, token=token)

    @precondition(lambda self: self.tokens)
    @rule(token=st.sampled_from(["t", "u"]))
    def write_again_with_token(self, token: str) -> None:
        """The same call once more."""
        if token in self.tokens:
            model, subject = self.tokens[token]
            self._compare_writes(model, subject, atomic=True, token=token)

    @rule(keys=st.lists(_KEYS, max_size=5))
    def get(self, keys: list[Key]) -> None:
        """The same records, or none."""
        self._same_records(self.run(self.model.get(keys)), self.run(self.subject.get(keys)))

    @rule(
        pk=_PARTITIONS,
        bounds=st.tuples(st.none() | _SORTS, st.none() | _SORTS),
        after=st.none() | _SORTS,
        reverse=st.booleans(),
        limit=st.sampled_from([1, 2, 1000]),
        bodies=st.booleans(),
    )
    def query_table(self, pk: str, after: str | None, **plan: Any) -> None:
        """The same walk, also from a place where nothing is."""
        position = None if after is None else Position(Key(pk, after))
        self._query(
            QueryPlan(pk=pk, after=position, reverse=plan["reverse"], limit=plan["limit"], bodies=plan["bodies"]),
            plan["bounds"],
        )

    @rule(
        pk=st.sampled_from(["x", "y"]),
        slot=st.sampled_from([1, 2]),
        bounds=st.tuples(st.none() | _SORTS, st.none() | _SORTS),
        after=st.none() | st.tuples(_KEYS, _SORTS),
        reverse=st.booleans(),
        limit=st.sampled_from([1, 2, 1000]),
    )
    def query_index(self, pk: str, slot: int, after: tuple[Key, str] | None, **plan: Any) -> None:
        """The same walk of an index."""
        position = None if after is None else Position(after[0], Key(pk, after[1]))
        self._query(
            QueryPlan(pk=pk, slot=slot, after=position, reverse=plan["reverse"], limit=plan["limit"]), plan["bounds"]
        )

    @rule(of=st.integers(1, 3), limit=st.sampled_from([1, 3, 1000]))
    def scan(self, of: int, limit: int) -> None:
        """The same records, each in one segment."""
        self._scan(of, limit)

    @rule(seconds=st.sampled_from([1, 5, 60, 3600, 100_000]))
    def advance(self, seconds: int) -> None:
        """Time passes for both."""
        self.harness.clock.advance(timedelta(seconds=seconds))
        self._look_at_everything()

    @rule()
    def expire(self) -> None:
        """The same number of records goes."""
        now = self.harness.clock.now()
        assert self.run(self.model.expire(now)) == self.run(self.subject.expire(now))
        self._look_at_everything()

    @rule()
    def reopen(self) -> None:
        """Closing and opening again changes nothing where durability is claimed."""
        if self.subject.capabilities.guarantees.durability is Durability.PROCESS:
            return
        self.run(self.subject.close())
        self.subject = self.run(self.harness.started())
        self._look_at_everything()

    @rule(limit=st.sampled_from([1, 3, 1000]))
    def follow(self, limit: int) -> None:
        """The feed tells the same of each key, where there is a feed."""
        self._follow(limit)

    @invariant()
    def every_record_is_the_same(self) -> None:
        """After each step all keys hold the same in both stores."""
        if hasattr(self, "versions"):
            keys = [Key("p", name) for name in _NAMES]
            self._same_records(self.run(self.model.get(keys)), self.run(self.subject.get(keys)))

    @invariant()
    def versions_grow(self) -> None:
        """Each key's versions grow in both stores."""
        for pairs in getattr(self, "versions", {}).values():
            for column in zip(*pairs, strict=True):
                assert list(column) == sorted(set(column))

    def teardown(self) -> None:
        """Compare everything once more, then close both stores."""
        try:
            if hasattr(self, "versions"):
                self._look_at_everything()
        finally:
            if hasattr(self, "subject"):
                self.run(self.subject.close())
                self.run(self.model.close())
            super().teardown()

    def _look_at_everything(self) -> None:
        """All partitions, indexes, segments and the feed."""
        for reverse in (False, True):
            for pk in ("p", "q"):
                self._query(QueryPlan(pk=pk, reverse=reverse, limit=2, bodies=reverse), (None, None))
            for pk, slot in (("x", 1), ("y", 1), ("x", 2), ("y", 2)):
                self._query(QueryPlan(pk=pk, slot=slot, reverse=reverse, limit=2), (None, None))
        self._scan(of=2, limit=3)
        self._follow(limit=4)

    def _write(self, intents: Sequence[_Intent], *, atomic: bool = False, token: str | None = None) -> None:
        model, subject = ([self._resolved(intent, side) for intent in intents] for side in (0, 1))
        self._compare_writes(model, subject, atomic=atomic, token=token)
        if token is not None:
            self.tokens.setdefault(token, (model, subject))

    def _resolved(self, intent: _Intent, side: int) -> Write:
        """The write with a version of that store's own, and the expiry counted from now."""
        write, wish, seconds = intent
        pairs = self.versions.get(write.key, [])
        when = wish.condition
        if when is None:
            when = Matches(pairs[-1 - wish.pick % len(pairs)][side] if pairs else Version(2**62))
        if isinstance(write, Put | Patch) and seconds is not None:
            write = replace(write, expires_at=self.harness.clock.now() + timedelta(seconds=seconds))
        return replace(write, when=when)

    def _compare_writes(self, model: Sequence[Write], subject: Sequence[Write], **how: Any) -> None:
        expected = self.outcome_of(self.model, model, **how)
        actual = self.outcome_of(self.subject, subject, **how)
        self._same_outcome(expected, actual)

    def outcome_of(self, store: EntityStore, writes: Sequence[Write], **how: Any) -> object:
        """What a call gave: its results, or its error."""
        try:
            return self.run(store.write(writes, **how))
        except StorycoreError as error:
            return error

    def _same_outcome(self, expected: object, actual: object) -> None:
        assert type(expected) is type(actual), f"expected {expected!r}, got {actual!r}"
        if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
            assert len(expected) == len(actual)
            for one, other in zip(expected, actual, strict=True):
                self._same_outcome(one, other)
        elif isinstance(expected, PartialFailure) and isinstance(actual, PartialFailure):
            self._same_outcome(expected.outcomes, actual.outcomes)
        elif isinstance(expected, TransactionConflict) and isinstance(actual, TransactionConflict):
            self._same_outcome(sorted(expected.reasons), sorted(actual.reasons))
            self._same_outcome([*expected.reasons.values()], [actual.reasons[i] for i in expected.reasons])
        elif isinstance(expected, VersionConflict) and isinstance(actual, VersionConflict):
            assert (expected.current is None) == (actual.current is None)
        elif isinstance(expected, Written) and isinstance(actual, Written):
            self._same_written(expected, actual)
        elif isinstance(expected, int):
            assert expected == actual

    def _same_written(self, expected: Written, actual: Written) -> None:
        assert (expected.key, expected.created) == (actual.key, actual.created)
        assert content(expected.record) == content(actual.record)
        assert (expected.version is None) == (actual.version is None)
        if expected.version is not None and actual.version is not None:
            self._correspond(expected.key, expected.version, actual.version)

    def _correspond(self, key: Key, model: Version, subject: Version) -> None:
        """Both stores mean the same write by their versions, for ever."""
        pairs = self.versions.setdefault(key, [])
        if (model, subject) not in pairs:
            pairs.append((model, subject))

    def _same_records(self, expected: Sequence[Record | None], actual: Sequence[Record | None]) -> None:
        assert [content(record) for record in expected] == [content(record) for record in actual]
        for one, other in zip(expected, actual, strict=True):
            if one is not None and other is not None:
                assert (one.version, other.version) in self.versions[one.key], "a read shows another version"

    def _scan(self, of: int, limit: int) -> None:
        model, subject = (
            sorted(
                (r for i in range(of) for r in self.run(walk_segment(store, Segment(i, of), limit=limit))),
                key=lambda record: record.key,
            )
            for store in (self.model, self.subject)
        )
        self._same_records(model, subject)

    def _follow(self, limit: int) -> None:
        if self.subject.capabilities.has("entities.changes"):
            model = self.run(walk_changes(self.model, limit=limit))
            subject = self.run(walk_changes(self.subject, limit=limit))
            assert _by_key(model) == _by_key(subject)

    def _query(self, plan: QueryPlan, bounds: tuple[str | None, str | None]) -> None:
        low, high = sorted(bounds) if None not in bounds else bounds  # type: ignore[type-var]  # both are text
        plan = replace(plan, low=low, high=high)
        self._same_records(self.run(walk(self.model, plan)), self.run(walk(self.subject, plan)))


def _by_key(changes: Sequence[Change]) -> dict[Key, list[object]]:
    """What was told of each key in its order; a feed may tell a change twice."""
    told: dict[Key, list[object]] = {}
    seen: set[tuple[object, ...]] = set()
    for change in changes:
        mark = (change.key, change.version, change.action)
        if mark not in seen:
            seen.add(mark)
            told.setdefault(change.key, []).append((change.action, change.kind, change.at, content(change.record)))
    return told
