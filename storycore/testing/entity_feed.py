"""What an entity store promises about its change feed, and that a store without one says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from storycore.errors import FeedGap, InvalidArgument, TransactionConflict, Unsupported
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import (
    Action,
    Change,
    Check,
    Delete,
    EntityStore,
    FeedPosition,
    Patch,
    Record,
    Write,
)
from storycore.testing.entity_examples import content, key, put, walk_changes, write
from storycore.testing.entity_limits import refused
from storycore.testing.harness import Harness

__all__ = ["EntityFeed"]

CHANGES = "entities.changes"
MINUTE = timedelta(minutes=1)


@pytest.mark.asyncio
class EntityFeed:
    """The part of the EntityStore suite that follows the feed.

    Args:
        feed_retention: after how long the tested adapter trims its feed in ``expire``, if it does so itself; ``None``:
            the test of gaps is left out.
        feed_lag_seconds: how long a write may take to show in the tested adapter's feed.
    """

    feed_retention: ClassVar[timedelta | None] = timedelta(hours=24)
    feed_lag_seconds: ClassVar[float] = 0.0

    async def told(self, store: EntityStore, after: FeedPosition | None = None, *, limit: int = 100) -> list[Change]:
        """All changes behind ``after`` once the feed's lag is over."""
        await asyncio.sleep(self.feed_lag_seconds)
        return await walk_changes(store, after, limit=limit)

    async def end(self, store: EntityStore) -> FeedPosition:
        """The place behind all changes once the feed's lag is over."""
        await asyncio.sleep(self.feed_lag_seconds)
        after = (await store.changes()).next
        while (page := await store.changes(after)).changes:
            after = page.next
        return page.next

    async def test_a_store_without_a_feed_says_so(self, store: EntityStore) -> None:
        """Its two verbs work where it is claimed, and raise ``Unsupported`` where it is not."""
        if store.capabilities.has(CHANGES):
            assert list((await store.changes(await store.changes_end())).changes) == []
        else:
            for call in (store.changes, store.changes_end):
                with pytest.raises(Unsupported):
                    await call()

    async def test_every_write_is_told_in_order(self, store: EntityStore, harness: Harness) -> None:
        """Put, patch and delete of a key are told in their order, with version, kind, time and new state."""
        harness.require(store, CHANGES)
        (one,) = await write(store, put("a", kind="k1", fields={"n": 1}, index_keys={1: key("x")}, body=b"b"))
        harness.clock.advance(MINUTE)
        (two,) = await write(store, Patch(key=key("a"), add={"n": 1}))
        await write(store, Delete(key=key("a")))
        told = await self.told(store)
        assert [change.action for change in told] == [Action.PUT, Action.PUT, Action.DELETE]
        assert [one.version, two.version, two.version] == [change.version for change in told]
        assert [content(one.record), content(two.record), None] == [content(change.record) for change in told]
        assert [one.record, two.record, None] == [change.record for change in told]
        assert {(key("a"), "k1")} == {(change.key, change.kind) for change in told}
        assert [timedelta(0), MINUTE] == [change.at - told[0].at for change in told[:2]]
        assert told[2].at.utcoffset() == timedelta(0)

    async def test_the_end_of_the_feed_is_claimed_only_there(self, store: EntityStore, harness: Harness) -> None:
        """Nothing is behind a page that says it is the last, and a page that leaves something out does not say so."""
        harness.require(store, CHANGES)
        for name in "abcde":
            await write(store, put(name))
        await asyncio.sleep(self.feed_lag_seconds)
        told, page = 0, await store.changes(limit=2)
        while page.changes:
            told += len(page.changes)
            assert not page.is_end or told == 5
            page = await store.changes(page.next, limit=2)
        assert told == 5

    async def test_only_what_is_written_later_is_behind_the_end(self, store: EntityStore, harness: Harness) -> None:
        """Behind the end come all later writes and nothing else, in an empty feed, a long one and a trimmed one."""
        harness.require(store, CHANGES)
        ends = [await store.changes_end()]
        for turn in range(3):
            await store.write([put(f"{turn}{i}", fields={"n": turn}) for i in range(8)])
            await asyncio.sleep(self.feed_lag_seconds)
            ends.append(await store.changes_end())
        for turn, end in enumerate(ends):
            later = [each for each in range(turn, 3) for _ in range(8)]
            assert later == sorted(n for n in numbers(await self.told(store, end)) if isinstance(n, int))
        harness.clock.advance((self.feed_retention or MINUTE) + MINUTE)
        await store.expire(harness.clock.now())
        end = await store.changes_end()
        await write(store, put("a", fields={"n": 3}))
        assert numbers(await self.told(store, end)) == [3]

    async def test_a_change_keeps_what_it_stored(self, store: EntityStore, harness: Harness) -> None:
        """Whatever became of a record: put over, patched, deleted and made again, swept, or put over when expired."""
        harness.require(store, CHANGES)
        soon, stored = harness.clock.now() + MINUTE, list[Record]()

        async def turn(number: int, *writes: Write, atomic: bool = False) -> None:
            many = [put(f"many{i}", body=b"%d.%d" % (i, number), fields={"n": number}) for i in range(12)]
            for call, at_once in ((many, False), (writes, atomic)):
                done = await store.write(call, atomic=at_once)
                stored.extend(each.record for each in done if each.record is not None)

        passing = (put(name, body=name.encode(), expires_at=soon) for name in ("swept", "expired"))
        await turn(1, *(put(name, body=name.encode()) for name in ("over", "patched", "again", "kept")), *passing)
        harness.clock.advance(2 * MINUTE)
        await turn(2, put("over", body=b"2"), Patch(key=key("patched"), body=b"2"), Delete(key=key("again")))
        await turn(3, put("expired", body=b"3", index_keys={1: key("x")}), put("over", body=b"3"), atomic=True)
        await store.expire(harness.clock.now())
        await turn(4, put("again", body=b"4"), Patch(key=key("over"), add={"n": 1}), put("swept", body=b"4"))
        for limit in (3, 100):
            told = [each.record for each in await self.told(store, limit=limit) if each.record is not None]
            assert sorted(stored, key=place_of) == sorted(told, key=place_of)

    async def test_an_atomic_write_is_told_whole(self, store: EntityStore, harness: Harness) -> None:
        """Each of its puts, patches and deletes is told once; checks are not."""
        harness.require(store, CHANGES)
        await write(store, put("b"), put("c"), put("d"))
        start = await self.end(store)
        await write(store, put("a"), Patch(key=key("b")), Delete(key=key("c")), Check(key=key("d")), atomic=True)
        told = sorted((change.key.sk, change.action) for change in await self.told(store, start))
        assert told == [("a", Action.PUT), ("b", Action.PUT), ("c", Action.DELETE)]

    async def test_what_writes_nothing_is_not_told(self, store: EntityStore, harness: Harness) -> None:
        """A refused write, a delete of nothing and a repeated token leave no trace in the feed."""
        harness.require(store, CHANGES)
        await write(store, put("a"))
        await store.write([put("t")], atomic=True, token="t")
        start = await self.end(store)
        with pytest.raises(TransactionConflict):
            await write(store, put("b"), put("a", when=ABSENT), atomic=True)
        await write(store, Delete(key=key("none")))
        await store.write([put("t")], atomic=True, token="t")
        assert await self.told(store, start) == []

    async def test_the_feed_goes_on_from_any_position(self, store: EntityStore, harness: Harness) -> None:
        """Pages add up to the feed, and behind each change's position come exactly the later ones."""
        harness.require(store, CHANGES)
        for n in range(5):
            await write(store, put("a", fields={"n": n}))
        for limit in (1, 2, 5, 100):
            told = await self.told(store, limit=limit)
            assert numbers(told) == [0, 1, 2, 3, 4]
            for i, change in enumerate(told):
                assert numbers(told[i + 1 :]) == numbers(await self.told(store, change.position, limit=limit))

    async def test_a_reader_at_the_end_can_wait(self, store: EntityStore, harness: Harness) -> None:
        """``next`` of an empty page is the place where the next change will be found, from the very start."""
        harness.require(store, CHANGES)
        waiting = (await store.changes()).next
        for n in range(3):
            await write(store, put("a", fields={"n": n}))
            await asyncio.sleep(self.feed_lag_seconds)
            page = await store.changes(waiting)
            assert [n] == numbers(page.changes)
            waiting = page.next
            assert list((await store.changes(waiting)).changes) == []

    async def test_each_key_is_told_in_its_order(self, store: EntityStore, harness: Harness) -> None:
        """Over many keys, versions of each key never go back in the feed."""
        harness.require(store, CHANGES)
        for turn in range(4):
            await store.write([put(f"{i}", fields={"n": turn}) for i in range(20)])
        told = await self.told(store, limit=7)
        for i in range(20):
            assert numbers([change for change in told if change.key == key(f"{i}")]) == [0, 1, 2, 3]

    async def test_an_expiry_is_told_once(self, store: EntityStore, harness: Harness) -> None:
        """The sweep tells ``expire`` with the last version; time alone tells nothing."""
        harness.require(store, CHANGES)
        (written,) = await write(store, put("a", kind="k1", expires_at=harness.clock.now() + MINUTE))
        start = await self.end(store)
        harness.clock.advance(MINUTE)
        assert await self.told(store, start) == []
        await store.expire(harness.clock.now())
        await store.expire(harness.clock.now())
        (told,) = await self.told(store, start)
        assert (Action.EXPIRE, "k1", written.version, None) == (told.action, told.kind, told.version, told.record)

    async def test_a_gap_is_an_error(self, store: EntityStore, harness: Harness) -> None:
        """A reader whose place has been trimmed hears of it; a reader at the end, or from the start, goes on."""
        harness.require(store, CHANGES)
        if self.feed_retention is None:
            pytest.skip("not tested: this adapter's feed is trimmed by its service")
        begin = (await store.changes()).next
        await write(store, put("a"), put("b"))
        behind = await self.end(store)
        harness.clock.advance(self.feed_retention + MINUTE)
        await store.expire(harness.clock.now())
        try:
            kept = sorted(change.key.sk for change in await self.told(store, begin))
            assert kept == ["a", "b"], "changes were trimmed in silence"
        except FeedGap:
            kept = []
        assert list((await store.changes(behind)).changes) == []
        await write(store, put("c"))
        for after, before in ((behind, []), (None, kept)):
            assert sorted(change.key.sk for change in await self.told(store, after)) == [*before, "c"]

    async def test_what_is_young_is_not_trimmed(self, store: EntityStore, harness: Harness) -> None:
        """A sweep leaves changes that are within the retention."""
        harness.require(store, CHANGES)
        begin = (await store.changes()).next
        await write(store, put("a", fields={"n": 1}))
        harness.clock.advance((self.feed_retention or MINUTE) - timedelta(seconds=1))
        await store.expire(harness.clock.now())
        assert numbers(await self.told(store, begin)) == [1]

    async def test_a_token_still_answers_after_a_sweep_under_a_clock_that_was_set_back(
        self, store: EntityStore, harness: Harness
    ) -> None:
        """A call whose token lives gets its first result again, also when changes younger than it have been trimmed."""
        harness.require(store, CHANGES)
        if self.feed_retention is None:
            pytest.skip("not tested: this adapter's feed is trimmed by its service")
        ahead = self.feed_retention + timedelta(hours=1)
        harness.clock.advance(ahead)
        first = await store.write([put("a")], atomic=True, token="once")
        harness.clock.advance(-ahead)
        await write(store, put("b"))
        harness.clock.advance(ahead - MINUTE)
        await store.expire(harness.clock.now())
        assert await store.write([put("a")], atomic=True, token="once") == first

    async def test_a_foreign_position_is_refused(self, store: EntityStore, harness: Harness) -> None:
        """What this feed did not issue is ``InvalidArgument``."""
        harness.require(store, CHANGES)
        await write(store, put("a"))
        altered = f"{(await store.changes()).next}{'0' * 5000}"
        for position in ("", "nonsense", "1", "-1", "a.b.c", "é.1", altered):
            with refused(InvalidArgument, position):
                await store.changes(FeedPosition(position))

    async def test_a_position_beyond_the_end_is_refused(self, store: EntityStore, harness: Harness) -> None:
        """A place of a feed that was longer, as after a restored backup, is not taken for one of this feed."""
        harness.require(store, CHANGES)
        await write(store, put("a"))
        longer = harness.fresh()
        other = await longer.started()
        for _ in range(5):
            await write(other, put("a"))
        foreign = await self.end(other)
        await other.close()
        with pytest.raises(InvalidArgument):
            await store.changes(foreign)

    async def test_a_bad_call_of_changes_is_refused(self, store: EntityStore, harness: Harness) -> None:
        """Arguments out of range or of the wrong type are ``InvalidArgument``."""
        harness.require(store, CHANGES)
        calls: list[dict[str, Any]] = [{"limit": 0}, {"limit": 1001}, {"limit": True}, {"after": 1}]
        for arguments in calls:
            with refused(InvalidArgument, str(arguments)):
                await store.changes(**arguments)


def place_of(record: Record) -> tuple[str, int]:
    """The sort key, then the version."""
    return record.key.sk, record.version


def numbers(changes: Sequence[Change]) -> list[object]:
    """The field ``n`` of each change's record."""
    return [None if change.record is None else change.record.fields["n"] for change in changes]
