"""What an entity store promises about size: the largest of everything is kept, and reads of much are whole."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pytest

from storycore.errors import TooLarge
from storycore.ports.entities import EntityStore, Key, Patch, Put, QueryPlan, Segment
from storycore.ports.item_size import ITEM_BYTES, item_size
from storycore.testing.entity_examples import P, content, find, key, put, walk, walk_segment, write

__all__ = ["EntitySizes"]

MEBIBYTE: Final = 1024 * 1024

SHAPES: dict[str, dict[str, Any]] = {
    "a body": {},
    "text": {"fields": {"f": "é" * 1000}},
    "whole numbers": {"fields": {f"n{i}": 10**38 - 1 - i for i in range(500)}},
    "negative numbers": {"fields": {f"n{i}": -i for i in range(500)}},
    "round numbers": {"fields": {f"n{i}": 10**i for i in range(125)}},
    "floats": {"fields": {f"n{i}": i / 3 for i in range(500)}},
    "decimals": {"fields": {f"n{i}": Decimal(i).scaleb(-7) for i in range(500)}},
    "truths": {"fields": {f"t{i}": i % 2 == 0 for i in range(500)}},
    "sets": {"fields": {f"s{i}": frozenset(str(n) for n in range(i + 1)) for i in range(100)}},
    "long names": {"fields": {f"{i:0255}": i for i in range(100)}},
    "index keys": {"index_keys": {slot: Key("é" * 1000, "\0\1" * 200) for slot in range(1, 9)}},
    "a long kind": {"kind": "é" * 127},
}
"""Records of every shape, to which a body is added until they are as large as may be."""


@pytest.mark.asyncio
class EntitySizes:
    """The part of the EntityStore suite that fills stores to the brim."""

    async def test_the_largest_record_of_any_shape_is_kept(self, store: EntityStore) -> None:
        """What counts 400 KiB by the port's rule is stored, whatever it consists of, and one byte more is refused."""
        for shape, parts in SHAPES.items():
            room = ITEM_BYTES - item_size(put("a", **parts))
            full = put("a", **parts, body=b"x" * room)
            await write(store, full)
            assert content(full) == content(await find(store, "a")), shape
            with pytest.raises(TooLarge) as caught:
                await write(store, put("a", **parts, body=b"x" * (room + 1)))
            assert (caught.value.limit, caught.value.actual) == (ITEM_BYTES, ITEM_BYTES + 1), shape
            assert sum(caught.value.breakdown.values()) == caught.value.actual, shape

    async def test_a_patch_may_fill_a_record_to_the_brim(self, store: EntityStore) -> None:
        """A patch that leaves exactly 400 KiB goes on; one byte or one member more is refused."""
        await write(store, put("a", fields={"s": frozenset({"m"})}))
        stored = await find(store, "a")
        assert stored is not None
        room = ITEM_BYTES - item_size(stored)
        await write(store, Patch(key=key("a"), body=b"x" * room))
        for more in (Patch(key=key("a"), body=b"x" * (room + 1)), Patch(key=key("a"), include={"s": frozenset("n")})):
            with pytest.raises(TooLarge):
                await write(store, more)
        stored = await find(store, "a")
        assert stored is not None
        assert (ITEM_BYTES, frozenset({"m"})) == (item_size(stored), stored.fields["s"])

    async def test_the_largest_atomic_write_is_done(self, store: EntityStore) -> None:
        """Four MiB in one call are written whole, and one byte more is refused whole."""
        writes = [put(f"{i:02d}", body=b"x" * 400_000) for i in range(10)]
        bare = item_size(put("10"))
        room = 4 * MEBIBYTE - sum(item_size(each) for each in writes) - bare
        with pytest.raises(TooLarge) as caught:
            await store.write([*writes, put("10", body=b"x" * (room + 1))], atomic=True)
        assert (caught.value.limit, caught.value.actual) == (4 * MEBIBYTE, 4 * MEBIBYTE + 1)
        assert await walk_segment(store, Segment()) == []
        await store.write([*writes, put("10", body=b"x" * room)], atomic=True)
        assert len(await walk(store, QueryPlan(pk=P))) == 11

    async def test_ninety_nine_writes_and_a_token_are_one_atomic_write(self, store: EntityStore) -> None:
        """A token takes the place of one of the 100 writes."""
        writes = [put(f"{i:03d}") for i in range(100)]
        with pytest.raises(TooLarge) as caught:
            await store.write(writes, atomic=True, token="t" * 36)
        assert (caught.value.limit, caught.value.actual) == (99, 100)
        assert len(await store.write(writes[:99], atomic=True, token="t" * 36)) == 99
        assert len(await walk(store, QueryPlan(pk=P, limit=1000))) == 99

    async def test_more_than_any_service_answers_at_once_is_read(self, store: EntityStore) -> None:
        """Seventeen MB are written in one call, read in one call, and walked in one index and one segment."""
        index = {1: Key("x", "same")}
        sizes = {key(f"{i:02d}"): 390_000 + i for i in range(45)}
        await store.write([Put(key=k, kind="k", index_keys=index, body=b"x" * n) for k, n in sizes.items()])
        read = await store.get([*sizes, *list(sizes)[:3]])
        assert [*sizes.values(), *list(sizes.values())[:3]] == [-1 if r is None else len(r.body) for r in read]
        for found in (
            await walk(store, QueryPlan(pk="x", slot=1, limit=1000)),
            await walk_segment(store, Segment(), limit=1000),
        ):
            assert sizes == {record.key: len(record.body) for record in found}
