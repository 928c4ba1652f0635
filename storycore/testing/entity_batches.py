"""What an entity store promises about several writes in one call: batches, atomic writes, tokens."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storycore.errors import AlreadyExists, InvalidArgument, NotFound, PartialFailure, TransactionConflict
from storycore.ports.conditions import ABSENT, PRESENT, Matches
from storycore.ports.entities import Check, Delete, EntityStore, Patch, Write, Written
from storycore.testing.entity_examples import content, find, key, put, write
from storycore.testing.harness import Harness

__all__ = ["EntityBatches"]


@pytest.mark.asyncio
class EntityBatches:
    """The part of the EntityStore suite that writes several records at once."""

    # Writes that stand each for itself.

    async def test_no_writes_write_nothing(self, store: EntityStore) -> None:
        """An empty call gives an empty result, atomic or not."""
        assert await store.write([]) == []
        assert await store.write([], atomic=True) == []

    @pytest.mark.parametrize("count", [1, 26, 130])
    async def test_results_come_in_the_order_of_the_writes(self, store: EntityStore, count: int) -> None:
        """Any number of writes is done in one call, with one result each."""
        names = [f"{i * 7919 % 1000:03d}" for i in range(count)]
        written = await store.write([put(name) for name in names])
        assert [key(name) for name in names] == [one.key for one in written]
        assert None not in await store.get([key(name) for name in names])

    async def test_a_failed_write_does_not_hold_up_the_others(self, store: EntityStore) -> None:
        """Without ``atomic`` each write stands for itself; ``PartialFailure`` tells each one's outcome."""
        await write(store, put("b"))
        writes: list[Write] = [put("a"), put("b", when=ABSENT), Delete(key=key("c"), when=PRESENT), put("d")]
        with pytest.raises(PartialFailure) as caught:
            await store.write(writes)
        assert [Written, AlreadyExists, NotFound, Written] == [type(outcome) for outcome in caught.value.outcomes]
        assert [record is not None for record in await store.get([w.key for w in writes])] == [True, True, False, True]

    # Atomic writes.

    async def test_an_atomic_write_does_all(self, store: EntityStore) -> None:
        """Put, patch, delete and check take effect together."""
        await write(store, put("b", fields={"n": 1}), put("c"), put("d"))
        results = await write(
            store, put("a"), Patch(key=key("b"), add={"n": 1}), Delete(key=key("c")), Check(key=key("d")), atomic=True
        )
        found = await store.get([key(name) for name in "abcd"])
        assert [record is not None for record in found] == [True, True, False, True]
        assert found[1] is not None
        assert found[1].fields == {"n": 2}
        assert [result.created for result in results] == [True, False, False, False]
        assert [found[0], found[1], None, None] == [result.record for result in results]
        assert found[3] is not None
        assert found[3].version == results[3].version

    async def test_a_refused_atomic_write_does_nothing(self, store: EntityStore) -> None:
        """One condition that does not hold undoes all; every failing position is named, and only those."""
        await write(store, put("b"), put("c", fields={"n": 1}))
        before = await store.get([key(name) for name in "abcd"])
        with pytest.raises(TransactionConflict) as caught:
            await write(
                store,
                put("a"),
                put("b", when=ABSENT),
                Patch(key=key("c"), add={"n": 1}),
                Check(key=key("d")),
                atomic=True,
            )
        assert {1: AlreadyExists, 3: NotFound} == {i: type(error) for i, error in caught.value.reasons.items()}
        assert before == await store.get([key(name) for name in "abcd"])

    async def test_a_check_guards_without_writing(self, store: EntityStore) -> None:
        """A check lets an atomic write go on or fail, and leaves its own record and version as they are."""
        (guard,) = await write(store, put("guard"))
        assert guard.version is not None
        await write(store, put("a"), Check(key=key("guard"), when=Matches(guard.version)), atomic=True)
        await write(store, put("b"), Check(key=key("none"), when=ABSENT), atomic=True)
        with pytest.raises(TransactionConflict):
            await write(store, put("c"), Check(key=key("guard"), when=ABSENT), atomic=True)
        stored = await find(store, "guard")
        assert stored == guard.record
        assert [await find(store, name) is not None for name in "abc"] == [True, True, False]

    async def test_a_hundred_writes_are_one_atomic_write(self, store: EntityStore) -> None:
        """The largest atomic call works, over many partitions."""
        writes = [put(f"{i}", pk=f"p{i % 7}") for i in range(100)]
        assert len(await store.write(writes, atomic=True)) == 100
        assert None not in await store.get([w.key for w in writes])

    # Tokens.

    async def test_a_token_makes_an_atomic_write_idempotent(self, store: EntityStore, harness: Harness) -> None:
        """The same call within 10 minutes gives the first result and writes nothing."""
        await write(store, put("n", fields={"n": 1}), put("gone"))
        writes: list[Write] = [
            put("a", fields={"s": frozenset({"x"})}, when=ABSENT),
            Patch(key=key("n"), add={"n": 1}),
            Delete(key=key("gone")),
        ]
        first = await store.write(writes, atomic=True, token="t")
        harness.clock.advance(timedelta(minutes=9))
        assert first == await store.write(writes, atomic=True, token="t")
        assert first[1].record == await find(store, "n")

    async def test_a_replayed_token_gives_the_first_result_also_later(self, store: EntityStore) -> None:
        """The first result comes back even when the records have been changed since."""
        writes = [put("a", fields={"f": 1})]
        first = await store.write(writes, atomic=True, token="t")
        await write(store, put("a", fields={"f": 2}))
        assert first == await store.write(writes, atomic=True, token="t")
        assert content(put("a", fields={"f": 2})) == content(await find(store, "a"))

    async def test_a_token_with_other_writes_is_refused(self, store: EntityStore) -> None:
        """A token belongs to its writes, whatever part of them differs."""
        await store.write([put("a", fields={"f": 1})], atomic=True, token="t")
        for other in (put("a", fields={"f": 2}), put("b", fields={"f": 1}), put("a"), Delete(key=key("a"))):
            with pytest.raises(InvalidArgument):
                await store.write([other], atomic=True, token="t")
        assert content(put("a", fields={"f": 1})) == content(await find(store, "a"))

    async def test_a_token_of_a_refused_write_may_be_used_again(self, store: EntityStore) -> None:
        """A failed write leaves no trace, so its token does not count as used."""
        writes = [Patch(key=key("a"), set={"f": 1})]
        with pytest.raises(TransactionConflict):
            await store.write(writes, atomic=True, token="t")
        await write(store, put("a"))
        await store.write(writes, atomic=True, token="t")
        assert content(put("a", fields={"f": 1})) == content(await find(store, "a"))
