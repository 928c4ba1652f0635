"""What an entity store promises about expiry: an expired record is absent, for everything and at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import ClassVar

import pytest

from storycore.errors import NotFound, TransactionConflict, VersionConflict
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Matches, Version
from storycore.ports.entities import Action, Check, Delete, EntityStore, Key, Patch, QueryPlan, Segment, Write, Written
from storycore.testing.entity_examples import P, content, find, key, put, walk, walk_changes, walk_segment, write
from storycore.testing.harness import Harness

__all__ = ["EntityExpiry"]

TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.asyncio
class EntityExpiry:
    """The part of the EntityStore suite in which time passes.

    Args:
        feed_lag_seconds: how long the tested adapter's feed may lag behind a write.
    """

    feed_lag_seconds: ClassVar[float] = 0.0

    async def test_a_record_is_there_until_the_instant_it_expires(self, store: EntityStore, harness: Harness) -> None:
        """One microsecond before ``expires_at`` it is present, at that instant it is absent."""
        await write(store, put("a", expires_at=harness.clock.now() + MINUTE))
        harness.clock.advance(MINUTE - TICK)
        assert await find(store, "a") is not None
        harness.clock.advance(TICK)
        assert await find(store, "a") is None

    async def test_an_expired_record_is_absent_for_reads(self, store: EntityStore, harness: Harness) -> None:
        """Get, query, index and scan leave it out, and pages are not confused by it."""
        soon = harness.clock.now() + MINUTE
        index = {1: Key("x", "1")}
        await write(store, *(put(f"{i}", index_keys=index, expires_at=soon if i % 3 else None) for i in range(9)))
        harness.clock.advance(MINUTE)
        assert await find(store, "1") is None
        for found in (
            await walk(store, QueryPlan(pk=P, limit=2)),
            await walk(store, QueryPlan(pk=P, limit=2, reverse=True)),
            await walk(store, QueryPlan(pk="x", slot=1, limit=2)),
            await walk_segment(store, Segment(), limit=2),
        ):
            assert sorted(record.key.sk for record in found) == ["0", "3", "6"]

    async def test_an_expired_record_is_absent_for_conditions(self, store: EntityStore, harness: Harness) -> None:
        """``PRESENT`` and ``Matches`` fail on it, patches too; a delete finds nothing."""
        (old,) = await write(store, put("a", expires_at=harness.clock.now() + MINUTE))
        assert old.version is not None
        harness.clock.advance(MINUTE)
        with pytest.raises(NotFound):
            await write(store, put("a", when=PRESENT))
        with pytest.raises(VersionConflict) as caught:
            await write(store, put("a", when=Matches(old.version)))
        assert caught.value.current is None
        with pytest.raises(NotFound):
            await write(store, Patch(key=key("a"), set={"f": 1}))
        with pytest.raises(TransactionConflict):
            await write(store, put("b"), Check(key=key("a")), atomic=True)
        assert await write(store, Delete(key=key("a"))) == [Written(key=key("a"), version=None)]

    @pytest.mark.parametrize("atomic", [False, True])
    async def test_an_expired_record_is_absent_for_every_form_of_write(
        self, store: EntityStore, harness: Harness, atomic: bool
    ) -> None:
        """No put, patch, delete or check under ``PRESENT`` or ``Matches`` finds it, also a counter or a set."""
        (old,) = await write(store, put("a", fields={"n": 1, "s": frozenset("x")}, expires_at=harness.clock.now()))
        assert old.version is not None
        for when, error in ((PRESENT, NotFound), (Matches(old.version), VersionConflict)):
            forms: list[Write] = [
                put("a", when=when),
                Patch(key=key("a"), when=when),
                Patch(key=key("a"), when=when, add={"n": 1}),
                Patch(key=key("a"), when=when, include={"s": frozenset("y")}, expires_at=None),
                Delete(key=key("a"), when=when),
            ]
            for form in [*forms, Check(key=key("a"), when=when)] if atomic else forms:
                with pytest.raises(TransactionConflict if atomic else error) as caught:
                    await write(store, form, atomic=atomic)
                reason = caught.value.reasons[0] if isinstance(caught.value, TransactionConflict) else caught.value
                assert (error, None) == (type(reason), getattr(reason, "current", None)), form
        await write(store, Check(key=key("a"), when=ABSENT), put("b"), atomic=True)
        assert [record is not None for record in await store.get([key("a"), key("b")])] == [False, True]

    @pytest.mark.parametrize("atomic", [False, True])
    async def test_a_delete_leaves_what_has_expired_to_the_sweep(
        self, store: EntityStore, harness: Harness, atomic: bool
    ) -> None:
        """It removes nothing and tells nothing, whatever it demands; the sweep finds the record and counts it."""
        conditions = {"any": ANY, "absent": ABSENT}
        await store.write([put(name, expires_at=harness.clock.now()) for name in conditions])
        for name, when in conditions.items():
            assert await write(store, Delete(key=key(name), when=when), atomic=atomic) == [
                Written(key=key(name), version=None)
            ]
        if store.capabilities.has("entities.changes"):
            await asyncio.sleep(self.feed_lag_seconds)
            assert [change.action for change in await walk_changes(store)] == [Action.PUT, Action.PUT]
        assert await store.expire(harness.clock.now()) == 2

    async def test_versions_go_on_across_expiry(self, store: EntityStore, harness: Harness) -> None:
        """A record that expired, swept or not, is followed by higher versions only, so an old one never matches."""
        versions: list[Version] = []
        for is_swept in (False, True, False):
            (written,) = await write(store, put("a", expires_at=harness.clock.now() + MINUTE))
            assert written.version is not None
            versions.append(written.version)
            harness.clock.advance(MINUTE)
            if is_swept:
                await store.expire(harness.clock.now())
            with pytest.raises(VersionConflict):
                await write(store, put("a", when=Matches(written.version)))
        await write(store, put("a"))
        for old in versions:
            with pytest.raises(VersionConflict):
                await write(store, Delete(key=key("a"), when=Matches(old)))
        assert versions == sorted(set(versions))

    async def test_an_expired_record_may_be_created_anew(self, store: EntityStore, harness: Harness) -> None:
        """``Put(when=ABSENT)`` over it creates, with a higher version, and nothing of the old record is left."""
        soon = harness.clock.now() + MINUTE
        old = await write(
            store, put("a", fields={"f": 1}, index_keys={1: Key("x", "1")}, expires_at=soon), put("b", expires_at=soon)
        )
        harness.clock.advance(MINUTE)
        (plain,) = await write(store, put("a", when=ABSENT))
        (atomic,) = await write(store, put("b", when=ABSENT), atomic=True)
        assert (plain.created, atomic.created) == (True, True)
        assert content(put("a")) == content(await find(store, "a"))
        assert await walk(store, QueryPlan(pk="x", slot=1)) == []
        assert [(new.version or 0) > (then.version or 0) for new, then in zip((plain, atomic), old, strict=True)] == [
            True,
            True,
        ]

    async def test_a_record_may_be_put_with_an_expiry_in_the_past(self, store: EntityStore, harness: Harness) -> None:
        """It is absent from the start."""
        await write(store, put("a", expires_at=harness.clock.now() - MINUTE))
        assert await find(store, "a") is None
        assert await walk(store, QueryPlan(pk=P)) == []

    async def test_a_patch_prolongs_or_shortens_a_life(self, store: EntityStore, harness: Harness) -> None:
        """A new ``expires_at`` counts at once."""
        now = harness.clock.now()
        await write(store, put("a", expires_at=now + MINUTE), put("b"))
        await write(
            store, Patch(key=key("a"), expires_at=now + 3 * MINUTE), Patch(key=key("b"), expires_at=now + MINUTE)
        )
        harness.clock.advance(MINUTE)
        assert (await find(store, "a") is not None, await find(store, "b") is not None) == (True, False)
        await write(store, Patch(key=key("a"), expires_at=None))
        harness.clock.advance(100 * MINUTE)
        assert await find(store, "a") is not None

    async def test_expire_removes_what_has_expired(self, store: EntityStore, harness: Harness) -> None:
        """The count is right, the living stay, and the second time there is nothing to do."""
        now = harness.clock.now()
        await write(store, put("a", expires_at=now + MINUTE), put("b", expires_at=now + 2 * MINUTE), put("c"))
        assert await store.expire(now) == 0
        harness.clock.advance(MINUTE)
        assert await store.expire(harness.clock.now()) == 1
        assert await store.expire(harness.clock.now()) == 0
        assert [record is not None for record in await store.get([key(name) for name in "abc"])] == [False, True, True]

    async def test_a_dry_run_of_expire_only_counts(self, store: EntityStore, harness: Harness) -> None:
        """It tells what the next sweep removes, within its budget and as often as it is asked, and changes nothing."""
        now = harness.clock.now()
        await write(store, *(put(name, expires_at=now + MINUTE) for name in "abc"), put("d"))
        assert await store.expire(now + 100 * MINUTE, dry_run=True) == 0
        harness.clock.advance(MINUTE)
        soon = harness.clock.now()
        assert [await store.expire(soon, budget=budget, dry_run=True) for budget in (2, 3, 1000)] == [2, 3, 3]
        if store.capabilities.has("entities.changes"):
            await asyncio.sleep(self.feed_lag_seconds)
            assert {change.action for change in await walk_changes(store)} == {Action.PUT}
        assert (await store.expire(soon, budget=2), await store.expire(soon, dry_run=True)) == (2, 1)
        assert (await store.expire(soon), await store.expire(soon, dry_run=True)) == (1, 0)
        assert await find(store, "d") is not None

    async def test_expire_never_removes_the_living(self, store: EntityStore, harness: Harness) -> None:
        """A ``now`` ahead of the clock, or long before it, removes nothing that has not expired by both."""
        now = harness.clock.now()
        await write(store, put("a", expires_at=now + MINUTE), put("b", expires_at=now - MINUTE))
        assert await store.expire(now - 2 * MINUTE) == 0
        assert await store.expire(now + 100 * MINUTE) == 1
        assert await find(store, "a") is not None

    async def test_expire_keeps_to_its_budget(self, store: EntityStore, harness: Harness) -> None:
        """A walk of many small sweeps removes everything, a budget at a time."""
        soon = harness.clock.now() + MINUTE
        await store.write([put(f"{i}", expires_at=soon) for i in range(25)])
        harness.clock.advance(MINUTE)
        counts = [await store.expire(harness.clock.now(), budget=10) for _ in range(4)]
        assert counts == [10, 10, 5, 0]

    async def test_a_replaced_record_does_not_expire_as_the_old_one(self, store: EntityStore, harness: Harness) -> None:
        """A sweep looks at the present expiry, not at one that was written over."""
        soon = harness.clock.now() + MINUTE
        await write(store, put("a", expires_at=soon), put("b", expires_at=soon))
        await write(store, put("a"))
        harness.clock.advance(MINUTE)
        await write(store, put("b"))
        assert await store.expire(harness.clock.now()) == 0
        assert None not in await store.get([key("a"), key("b")])
