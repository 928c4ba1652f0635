"""What an entity store promises about several writes in one call: batches, atomic writes, tokens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from storycore.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PartialFailure,
    TransactionConflict,
    VersionConflict,
)
from storycore.ports.conditions import ABSENT, PRESENT, Matches
from storycore.ports.entities import Check, Delete, EntityStore, Key, Patch, Write, Written
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

    async def test_results_come_in_the_order_of_the_writes(self, store: EntityStore) -> None:
        """Any number of writes is done in one call, with one result each."""
        for count in (1, 26, 130):
            keys = [Key(f"{count}", f"{i * 7919 % 1000:03d}") for i in range(count)]
            written = await store.write([put(each.sk, pk=each.pk) for each in keys])
            assert keys == [one.key for one in written]
            assert None not in await store.get(keys)

    async def test_a_failed_write_does_not_hold_up_the_others(self, store: EntityStore) -> None:
        """Without ``atomic`` each write stands for itself; ``PartialFailure`` tells each one's outcome."""
        await write(store, put("b"))
        writes: list[Write] = [put("a"), put("b", when=ABSENT), Delete(key=key("c"), when=PRESENT), put("d")]
        with pytest.raises(PartialFailure) as caught:
            await store.write(writes)
        assert [Written, AlreadyExists, NotFound, Written] == [type(outcome) for outcome in caught.value.outcomes]
        assert [record is not None for record in await store.get([w.key for w in writes])] == [True, True, False, True]

    async def test_every_failure_of_a_long_batch_has_its_place(self, store: EntityStore) -> None:
        """However a service cuts a batch, each outcome stands where its write stood, and all other writes are done."""
        count = 301
        names = [f"{i:03d}" for i in range(count)]
        await store.write([put(name, body=b"old") for name in names[::3]])
        with pytest.raises(PartialFailure) as caught:
            await store.write([put(name, body=b"new", when=ABSENT) for name in names])
        assert [i for i in range(count) if i % 3 == 0] == sorted(caught.value.errors)
        assert {AlreadyExists} == {type(error) for error in caught.value.errors.values()}
        done = [outcome.key.sk for outcome in caught.value.outcomes if isinstance(outcome, Written)]
        assert [name for i, name in enumerate(names) if i % 3] == done
        bodies = [b"" if record is None else record.body for record in await store.get([key(name) for name in names])]
        assert [b"new" if i % 3 else b"old" for i in range(count)] == bodies

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

    async def test_every_reason_is_named_with_what_is_stored(self, store: EntityStore, harness: Harness) -> None:
        """Each failing position has the error that the write alone would have had, with the version that is there."""
        past = harness.clock.now()
        (one, two, _) = await write(store, put("1"), put("2"), put("old", expires_at=past))
        assert one.version is not None
        assert two.version is not None
        with pytest.raises(TransactionConflict) as caught:
            await write(
                store,
                put("1", when=ABSENT),
                Patch(key=key("none")),
                Delete(key=key("2"), when=Matches(one.version)),
                put("fine"),
                Check(key=key("old"), when=Matches(one.version)),
                Check(key=key("old2"), when=ABSENT),
                atomic=True,
            )
        reasons = caught.value.reasons
        assert {0: AlreadyExists, 1: NotFound, 2: VersionConflict, 4: VersionConflict} == {
            i: type(error) for i, error in reasons.items()
        }
        assert [two.version, None] == [getattr(reasons[i], "current", "") for i in (2, 4)]
        assert await find(store, "fine") is None

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

    async def test_a_token_belongs_to_every_part_of_its_writes(self, store: EntityStore) -> None:
        """Whatever differs in one write makes it another call: the order of fields alone does not."""
        await write(store, put("b", fields={"n": 1, "s": frozenset("x")}))
        first: list[Write] = [put("a", fields={"f": 1, "g": 2}, body=b"b"), Patch(key=key("b"), add={"n": 1})]
        results = await store.write(first, atomic=True, token="t")
        for number, others in enumerate(_variants(first)):
            with pytest.raises(InvalidArgument):
                await store.write(others, atomic=True, token="t")
                raise AssertionError(f"variant {number} was accepted: {others}")
        same: list[Write] = [put("a", fields={"g": 2, "f": 1}, body=b"b"), first[1]]
        assert results == await store.write(same, atomic=True, token="t")

    async def test_a_token_takes_equal_values_for_the_same(self, store: EntityStore) -> None:
        """A number may be written otherwise and an expiry told in another zone; the last of 38 digits counts."""
        noon = datetime(2100, 1, 1, 12, tzinfo=UTC)
        east = noon.astimezone(timezone(timedelta(hours=5)))
        long = Decimal("1.2345678901234567890123456789012345678")
        first = await store.write([put("a", fields={"d": Decimal("1.10")}, expires_at=noon)], atomic=True, token="t")
        again = await store.write([put("a", fields={"d": Decimal("1.1")}, expires_at=east)], atomic=True, token="t")
        assert [each.version for each in first] == [each.version for each in again]
        await store.write([put("b", fields={"d": long})], atomic=True, token="u")
        with pytest.raises(InvalidArgument):
            other = Decimal("1.2345678901234567890123456789012345679")
            await store.write([put("b", fields={"d": other})], atomic=True, token="u")

    async def test_a_token_remembers_what_was_handed_in(self, store: EntityStore) -> None:
        """Changing a mapping after the call does not change what its token stands for."""
        fields: dict[str, Any] = {"f": 1}
        first = await store.write([put("a", fields=fields)], atomic=True, token="t")
        fields["f"] = 2
        assert first == await store.write([put("a", fields={"f": 1})], atomic=True, token="t")
        with pytest.raises(InvalidArgument):
            await store.write([put("a", fields=fields)], atomic=True, token="t")

    async def test_a_token_is_free_after_its_time(self, store: EntityStore, harness: Harness) -> None:
        """After ten minutes the same call writes anew, and so may another one."""
        (first,) = await store.write([put("a")], atomic=True, token="t")
        harness.clock.advance(timedelta(minutes=10, seconds=1))
        (again,) = await store.write([put("a")], atomic=True, token="t")
        assert (again.version or 0) > (first.version or 0)
        harness.clock.advance(timedelta(minutes=10, seconds=1))
        await store.write([put("b")], atomic=True, token="t")
        assert await find(store, "b") is not None

    async def test_concurrent_calls_with_one_token_write_once(self, store: EntityStore) -> None:
        """Repeating a call while it is still under way does not double it."""
        await write(store, put("a"))
        writes = [Patch(key=key("a"), add={"n": 1})]
        calls = (_insisted(store, writes, "t") for _ in range(8))
        results = await asyncio.gather(*calls)
        assert [results[0]] * 8 == results
        assert content(put("a", fields={"n": 1})) == content(await find(store, "a"))

    async def test_a_token_of_a_refused_write_may_be_used_again(self, store: EntityStore) -> None:
        """A failed write leaves no trace, so its token does not count as used."""
        writes = [Patch(key=key("a"), set={"f": 1})]
        with pytest.raises(TransactionConflict):
            await store.write(writes, atomic=True, token="t")
        await write(store, put("a"))
        await store.write(writes, atomic=True, token="t")
        assert content(put("a", fields={"f": 1})) == content(await find(store, "a"))


def _variants(writes: list[Write]) -> list[list[Write]]:
    """Calls that differ from the given one, a put and a patch, in one part."""
    one, other = writes
    puts: list[dict[str, Any]] = [
        {"key": key("c")},
        {"kind": "k2"},
        {"expires_at": datetime(2100, 1, 1, tzinfo=UTC)},
        {"index_keys": {1: key("x")}},
        {"fields": {"f": 1}},
        {"fields": {"f": True, "g": 2}},
        {"body": b""},
        {"when": ABSENT},
    ]
    patches: list[dict[str, Any]] = [
        {"add": {"n": 2}},
        {"add": {}, "set": {"n": 1}},
        {"set": {"m": 1}},
        {"unset": frozenset({"m"})},
        {"include": {"s": frozenset("y")}},
        {"exclude": {"s": frozenset("y")}},
        {"body": b""},
        {"index_keys": {}},
        {"expires_at": None},
    ]
    fewer: list[list[Write]] = [[one], [other], [other, one]]
    return (
        fewer
        + [[replace(one, **change), other] for change in puts]
        + [[one, replace(other, **change)] for change in patches]
    )


async def _insisted(store: EntityStore, writes: list[Patch], token: str) -> list[Written]:
    """Repeat a call that lost a race against itself."""
    while True:
        try:
            return await store.write(writes, atomic=True, token=token)
        except TransactionConflict:
            await asyncio.sleep(0)
