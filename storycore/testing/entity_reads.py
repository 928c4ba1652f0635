"""What an entity store promises about reads: by key, by partition, by index, and of everything."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from storycore.errors import InvalidArgument, Unsupported
from storycore.ports.entities import Delete, EntityStore, Key, Patch, Position, QueryPlan, Record, Segment
from storycore.testing.entity_examples import BAD_PLANS, ORDERED, P, content, key, put, walk, walk_segment, write

__all__ = ["EntityReads"]

LETTERS = "abcdefg"
RANGES: list[tuple[str | None, str | None, str]] = [
    (None, None, "abcdefg"),
    ("c", None, "cdefg"),
    (None, "c", "ab"),
    ("b", "e", "bcd"),
    ("bb", "ee", "cde"),
    ("c", "c", ""),
    ("h", None, ""),
    (None, "a", ""),
]


@pytest.mark.asyncio
class EntityReads:
    """The part of the EntityStore suite that reads.

    Args:
        index_lag_seconds: how long an index of the tested adapter may lag behind a write.
    """

    index_lag_seconds: ClassVar[float] = 0.0

    async def listed(self, store: EntityStore, plan: QueryPlan) -> list[str]:
        """The sort keys that a query of an index lists once its lag is over."""
        await asyncio.sleep(self.index_lag_seconds)
        return names(await walk(store, plan))

    # By key.

    async def test_get_answers_in_the_order_of_the_keys(self, store: EntityStore) -> None:
        """Missing records are ``None``, keys may repeat, and no keys give no records."""
        await write(store, put("a"), put("b"))
        found = await store.get([key("b"), key("x"), key("a"), key("b")])
        assert [key("b"), None, key("a"), key("b")] == [None if record is None else record.key for record in found]
        assert await store.get([]) == []

    async def test_any_number_of_keys_is_read(self, store: EntityStore) -> None:
        """More keys than one request of any service takes are read in one call."""
        await store.write([put(f"{i}") for i in range(0, 250, 2)])
        for count in (17, 101, 250):
            found = await store.get([key(f"{i}") for i in range(count)])
            assert [i % 2 == 0 for i in range(count)] == [record is not None for record in found]

    async def test_reads_see_every_write_that_returned(self, store: EntityStore) -> None:
        """A consistent get and a consistent query of the table see the write before them."""
        for n in range(20):
            await write(store, put("a", fields={"n": n}))
            (record,) = await store.get([key("a")], consistent=True)
            page = await store.query(QueryPlan(pk=P, consistent=True))
            assert record is not None
            assert ({"n": n}, [record]) == (record.fields, list(page.records))

    async def test_an_eventual_read_shows_a_state_that_was(self, store: EntityStore) -> None:
        """Without ``consistent`` a read may be behind, but what it shows was written once, and whole."""
        written: list[Record | None] = [None]
        for n in range(10):
            written += [each.record for each in await write(store, put("a", fields={"n": n}, body=b"%d" % n))]
            (found,) = await store.get([key("a")], consistent=False)
            page = await store.query(QueryPlan(pk=P, consistent=False))
            assert found in written
            assert all(record in written for record in page.records)

    # The table in order.

    async def test_a_query_lists_one_partition(self, store: EntityStore) -> None:
        """Other partitions do not show, also not those whose name begins alike; an unknown one is empty."""
        await write(store, put("a"), put("b"), put("c", pk="p2"), put("d", pk="P"), put("e", pk="p "))
        assert names(await walk(store, QueryPlan(pk=P))) == ["a", "b"]
        assert await walk(store, QueryPlan(pk="q")) == []

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_a_query_is_in_the_order_of_bytes(self, store: EntityStore, reverse: bool) -> None:
        """Sort keys are in the order of their UTF-8 bytes, and ``reverse`` is its mirror."""
        await store.write([put(name) for name in random.Random(7).sample(ORDERED, len(ORDERED))])
        expected = ORDERED[::-1] if reverse else ORDERED
        assert expected == names(await walk(store, QueryPlan(pk=P, reverse=reverse)))

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_a_range_has_a_first_and_an_end(self, store: EntityStore, reverse: bool) -> None:
        """``low`` is inclusive and ``high`` exclusive, in both directions."""
        await store.write([put(letter) for letter in LETTERS])
        for low, high, expected in RANGES:
            found = names(await walk(store, QueryPlan(pk=P, low=low, high=high, reverse=reverse)))
            assert list(reversed(expected) if reverse else expected) == found

    @pytest.mark.parametrize("slot", [None, 1])
    @pytest.mark.parametrize("reverse", [False, True])
    async def test_pages_add_up_to_the_partition(self, store: EntityStore, reverse: bool, slot: int | None) -> None:
        """Pages of any size give every record once and in order."""
        await store.write([put(letter, index_keys={1: key("same")}) for letter in LETTERS])
        await asyncio.sleep(self.index_lag_seconds)
        for limit in (1, 2, 3, 6, 7, 8):
            found = names(await walk(store, QueryPlan(pk=P, slot=slot, limit=limit, reverse=reverse)))
            assert list(reversed(LETTERS) if reverse else LETTERS) == found, limit

    async def test_next_is_none_only_at_the_end(self, store: EntityStore) -> None:
        """A page that is cut by its limit says where to go on."""
        await store.write([put(letter) for letter in LETTERS])
        page = await store.query(QueryPlan(pk=P, limit=3))
        assert names(page.records) == ["a", "b", "c"]
        assert page.next == Position(key("c"))

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_a_position_needs_no_record(self, store: EntityStore, reverse: bool) -> None:
        """A query goes on behind a record that is gone, or that never was, within the bounds of its range."""
        await store.write([put(letter) for letter in LETTERS])
        await write(store, Delete(key=key("d")))
        plan = QueryPlan(pk=P, reverse=reverse)
        assert names(await walk(store, replace(plan, after=Position(key("d"))))) == list("cba" if reverse else "efg")
        assert names(await walk(store, replace(plan, after=Position(key("dd"))))) == list("cba" if reverse else "efg")
        bounded = replace(plan, low="b", high="f")
        before, behind = (key("z"), key("a")) if reverse else (key("a"), key("z"))
        assert names(await walk(store, replace(bounded, after=Position(before)))) == list("ecb" if reverse else "bce")
        assert await walk(store, replace(bounded, after=Position(behind))) == []

    async def test_a_query_may_leave_the_bodies_out(self, store: EntityStore) -> None:
        """Without bodies everything else is there."""
        given = put("a", fields={"f": 1}, index_keys={1: key("x")}, body=b"body")
        await write(store, given)
        await asyncio.sleep(self.index_lag_seconds)
        for slot in (None, 1):
            (record,) = await walk(store, QueryPlan(pk=P, slot=slot, bodies=False))
            assert content(replace(given, body=b"")) == content(record)

    async def test_large_records_are_paged_without_loss(self, store: EntityStore) -> None:
        """A partition of many times what a service answers at once is walked whole, in both directions."""
        sizes = {f"{i:02d}": 200 * 1024 + i for i in range(30)}
        for name, size in sizes.items():
            await write(store, put(name, body=b"x" * size))
        for reverse in (False, True):
            found = await walk(store, QueryPlan(pk=P, limit=1000, reverse=reverse))
            assert sizes == {record.key.sk: len(record.body) for record in found}

    # Indexes.

    async def test_an_index_lists_what_has_its_key(self, store: EntityStore) -> None:
        """A record without a key in a slot is not listed there; the slots are apart."""
        await write(store, put("a", index_keys={1: Key("x", "1")}), put("b"), put("c", index_keys={2: Key("x", "1")}))
        assert await self.listed(store, QueryPlan(pk="x", slot=1)) == ["a"]
        assert await self.listed(store, QueryPlan(pk="x", slot=2)) == ["c"]
        assert await self.listed(store, QueryPlan(pk="x", slot=8)) == []

    async def test_all_eight_indexes_are_there(self, store: EntityStore) -> None:
        """One record may be listed in every slot, under different keys."""
        given = put("a", index_keys={slot: Key(f"x{slot}", f"{slot}") for slot in range(1, 9)})
        await write(store, given)
        await asyncio.sleep(self.index_lag_seconds)
        for slot in range(1, 9):
            (record,) = await walk(store, QueryPlan(pk=f"x{slot}", slot=slot))
            assert content(given) == content(record)

    @pytest.mark.parametrize("limit", [1, 2, 100])
    @pytest.mark.parametrize("reverse", [False, True])
    async def test_index_order_is_total(self, store: EntityStore, reverse: bool, limit: int) -> None:
        """Records are in the order of index sort key, pk, sk, whatever the page size."""
        places = [("1", "b", "z"), ("2", "a", "y"), ("2", "a", "z"), ("2", "b", "a"), ("3", "a", "a")]
        writes = [put(sk, pk=pk, index_keys={1: Key("x", at)}) for at, pk, sk in places]
        await store.write(sorted(writes, key=lambda w: w.key.sk))
        await asyncio.sleep(self.index_lag_seconds)
        found = await walk(store, QueryPlan(pk="x", slot=1, reverse=reverse, limit=limit))
        assert (places[::-1] if reverse else places) == [(r.index_keys[1].sk, r.key.pk, r.key.sk) for r in found]

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_a_range_of_an_index(self, store: EntityStore, reverse: bool) -> None:
        """Bounds of an index are bounds of the index's sort key."""
        await store.write([put(f"{7 - i}", index_keys={1: key(letter)}) for i, letter in enumerate(LETTERS)])
        await asyncio.sleep(self.index_lag_seconds)
        for low, high, expected in RANGES:
            found = await walk(store, QueryPlan(pk=P, slot=1, low=low, high=high, reverse=reverse, limit=2))
            assert list(reversed(expected) if reverse else expected) == [record.index_keys[1].sk for record in found]

    async def test_a_position_in_an_index_needs_no_record(self, store: EntityStore) -> None:
        """A query of an index goes on between records of the same index key."""
        await write(store, *(put(name, index_keys={1: Key("x", "same")}) for name in ("a", "b", "c")))
        after = Position(key("bb"), Key("x", "same"))
        assert await self.listed(store, QueryPlan(pk="x", slot=1, after=after)) == ["c"]
        assert await self.listed(store, QueryPlan(pk="x", slot=1, after=after, reverse=True)) == ["b", "a"]
        outside = Position(key("a"), Key("x", "a"))
        assert await self.listed(store, QueryPlan(pk="x", slot=1, after=outside, low="same")) == ["a", "b", "c"]

    async def test_an_index_follows_every_write(self, store: EntityStore) -> None:
        """A record is listed exactly under its present index key: after a put, a patch and a delete."""
        one, two = QueryPlan(pk="one", slot=1), QueryPlan(pk="two", slot=1)
        await write(store, put("a", index_keys={1: Key("one", "1")}))
        assert (await self.listed(store, one), await self.listed(store, two)) == (["a"], [])
        await write(store, put("a", index_keys={1: Key("two", "1")}))
        assert (await self.listed(store, one), await self.listed(store, two)) == ([], ["a"])
        await write(store, Patch(key=key("a"), index_keys={1: Key("one", "2")}))
        assert (await self.listed(store, one), await self.listed(store, two)) == (["a"], [])
        await write(store, Patch(key=key("a"), index_keys={}))
        assert (await self.listed(store, one), await self.listed(store, two)) == ([], [])
        await write(store, Patch(key=key("a"), index_keys={1: Key("two", "3")}))
        await write(store, Delete(key=key("a")))
        assert (await self.listed(store, one), await self.listed(store, two)) == ([], [])

    async def test_an_index_shows_the_present_record(self, store: EntityStore) -> None:
        """A patch that does not touch the index keys still shows in the index."""
        await write(store, put("a", fields={"n": 1}, index_keys={1: Key("x", "1")}))
        (written,) = await write(store, Patch(key=key("a"), add={"n": 1}, body=b"new"))
        await asyncio.sleep(self.index_lag_seconds)
        assert [written.record] == await walk(store, QueryPlan(pk="x", slot=1))

    # How a query is answered.

    async def test_explaining_is_claimed_or_refused(self, store: EntityStore) -> None:
        """Without the feature ``explain`` is ``Unsupported``; with it every good plan has an account that is JSON."""
        plans = [QueryPlan(pk=P), QueryPlan(pk=P, low="a", high="b", reverse=True, after=Position(key("a")))]
        plans += [QueryPlan(pk="x", slot=slot, limit=slot, bodies=False) for slot in (1, 8)]
        if not store.capabilities.has("entities.explain"):
            with pytest.raises(Unsupported) as caught:
                await store.explain(plans[0])
            assert caught.value.feature == "entities.explain"
            return
        for name, bad in BAD_PLANS.items():
            with pytest.raises(InvalidArgument):
                await store.explain(bad)
                pytest.fail(f"{name} was explained")
        for plan in plans:
            account = await store.explain(plan)
            assert account
            assert json.loads(json.dumps(account)) == account

    # Everything.

    async def test_only_what_was_written_is_there(self, store: EntityStore) -> None:
        """What a store keeps for itself, of tokens, versions and what was deleted, shows in no read."""
        await store.write([put("a"), Delete(key=key("none"))], atomic=True, token="t")
        await write(store, put("b", index_keys={1: Key("x", "1")}))
        await write(store, Delete(key=key("b")))
        await asyncio.sleep(self.index_lag_seconds)
        assert names(await walk_segment(store, Segment(), limit=1)) == ["a"]
        assert names(await walk(store, QueryPlan(pk=P))) == ["a"]
        for slot in range(1, 9):
            assert await walk(store, QueryPlan(pk="x", slot=slot)) == []

    async def test_segments_partition_the_store(self, store: EntityStore) -> None:
        """Every record is in exactly one segment, once, whatever the page size."""
        writes = [put(f"{sk}", pk=f"p{pk}", fields={"n": sk}, body=b"b") for pk in range(5) for sk in range(5)]
        await store.write(writes)
        for of, limit in itertools.product((1, 2, 3, 7), (1, 4, 1000)):
            found = [r for i in range(of) for r in await walk_segment(store, Segment(i, of), limit=limit)]
            assert len(found) == len(writes), (of, limit)
            assert {w.key: content(w) for w in writes} == {record.key: content(record) for record in found}

    async def test_a_scan_finds_odd_keys(self, store: EntityStore) -> None:
        """Paging one by one over keys of every kind misses none."""
        await store.write([put("a", pk=name) for name in ORDERED])
        found = await walk_segment(store, Segment(), limit=1)
        assert sorted(record.key.pk for record in found) == ORDERED

    async def test_a_record_that_stays_is_scanned_once(self, store: EntityStore) -> None:
        """Writes and deletes during a walk neither hide nor repeat a record that was there all the time."""
        await store.write([put(f"{i:02d}") for i in range(40)])
        found: list[str] = []
        after: Position | None = None
        for turn in range(100):
            page = await store.scan(Segment(), after=after, limit=5)
            found += names(page.records)
            after = page.next
            if after is None:
                break
            await write(store, put(f"new{turn:02d}"), Delete(key=key(f"{turn:02d}")), Patch(key=key("39"), body=b"x"))
        stayed = [f"{i:02d}" for i in range(10, 40)]
        assert stayed == sorted(name for name in found if name in stayed)


def names(records: Sequence[Record]) -> list[str]:
    """The sort keys of records."""
    return [record.key.sk for record in records]
