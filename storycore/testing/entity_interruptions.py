"""What an entity store promises to callers that are cancelled: what they asked for is done whole or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import pytest

from storycore.ports.entities import Delete, EntityStore, Patch, QueryPlan, Record, Segment, Write
from storycore.testing.entity_durability import durable
from storycore.testing.entity_examples import P, content, find, key, put, walk, write
from storycore.testing.harness import Harness

__all__ = ["EntityInterruptions"]

MOMENTS: Final = 24
_PATIENCE: Final = 200
_PAUSE_SECONDS: Final = 0.005
_LONGEST_SECONDS: Final = 0.004

Calls = list[Write]

CHANGES: dict[str, Callable[[int], Calls]] = {
    "an atomic put": lambda n: [put(name, fields={"n": n}) for name in "abc"],
    "an atomic patch": lambda n: [Patch(key=key(name), add={"n": 1}) for name in "abc"],
    "an atomic patch of sets": lambda n: [Patch(key=key(name), include={"s": frozenset({f"{n}"})}) for name in "abc"],
    "an atomic delete": lambda n: [Delete(key=key(name)) for name in "abc"],
}
"""Atomic changes of three records that were alike and are alike again."""


@pytest.mark.asyncio
class EntityInterruptions:
    """The part of the EntityStore suite in which callers are cancelled at any moment."""

    @pytest.mark.parametrize("change", CHANGES)
    async def test_a_cancelled_atomic_write_is_done_whole_or_not_at_all(
        self, store: EntityStore, harness: Harness, change: str
    ) -> None:
        """Wherever it is interrupted, the state is the one before or the one after, never one between."""
        choose = random.Random(change)
        for moment in range(MOMENTS):
            before = [await _settled(store, put(name, fields={"n": 0})) for name in "abc"]
            await _interrupted(store.write(CHANGES[change](moment), atomic=True), moment, choose)
            await _alike(store, before)
            harness.count("cancelled calls")

    async def test_a_cancelled_write_counts_once_at_most(self, store: EntityStore, harness: Harness) -> None:
        """An addition whose caller was cancelled is done once or not at all, and one that was heard of exactly once."""
        choose = random.Random(7)
        await write(store, put("a", fields={"n": 0}))
        heard: set[str] = set()
        for moment in range(MOMENTS):
            patch = Patch(key=key("a"), add={"n": 1}, include={"who": frozenset({f"{moment}"})})
            if await _interrupted(store.write([patch]), moment, choose):
                heard.add(f"{moment}")
            record = await find(store, "a")
            assert record is not None
            who = record.fields.get("who", frozenset())
            assert isinstance(who, frozenset)
            assert (len(who), True) == (record.fields["n"], heard <= who)
            harness.count("cancelled calls")

    async def test_a_cancelled_batch_leaves_whole_records(self, store: EntityStore, harness: Harness) -> None:
        """Of writes that stand each for itself any may be done, but each record is an old one or a new one."""
        choose = random.Random(8)
        for moment in range(MOMENTS):
            names = [f"{i:02d}" for i in range(30)]
            await store.write([put(name, fields={"n": 0}, body=b"old") for name in names])
            await _interrupted(store.write([put(name, fields={"n": 1}, body=b"new") for name in names]), moment, choose)
            found = await _still(store, *names)
            expected = [content(put(name, fields={"n": n}, body=b)) for name in names for n, b in NEW_AND_OLD]
            assert all(content(record) in expected for record in found)
            harness.count("cancelled calls")

    async def test_a_cancelled_read_harms_no_later_one(self, store: EntityStore, harness: Harness) -> None:
        """Whoever reads next gets an answer to the own question, not to the one that was given up."""
        choose = random.Random(9)
        await store.write([put(f"{i:02d}", fields={"n": i}) for i in range(40)])
        for moment in range(MOMENTS):
            for reading in (store.get([key("01")]), store.query(QueryPlan(pk=P)), store.scan(Segment())):
                await _interrupted(reading, moment, choose)
                harness.count("cancelled calls")
            name = f"{moment:02d}"
            assert content(put(name, fields={"n": moment})) == content(await find(store, name))
        assert [f"{i:02d}" for i in range(40)] == [record.key.sk for record in await walk(store, QueryPlan(pk=P))]

    async def test_a_store_closes_while_callers_are_cancelled(self, harness: Harness) -> None:
        """Closing waits for nobody who has gone, and opening again finds what the others wrote."""
        store = await durable(harness)
        calls = [asyncio.create_task(write(store, put(f"{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.wait_for(store.close(), 30)
        store = await harness.started()
        assert None not in await store.get([key(f"{n}") for n in range(1, 10, 2)])
        await store.close()


NEW_AND_OLD = ((0, b"old"), (1, b"new"))


async def _interrupted(call: Coroutine[Any, Any, object], moment: int, choose: random.Random) -> bool:
    """Cancel a call after some turns of the loop, or some time; whether it had answered by then."""
    task = asyncio.create_task(call)
    if moment % 2:
        await asyncio.sleep(choose.random() * _LONGEST_SECONDS)
    else:
        for _ in range(moment // 2):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return not task.cancelled()


async def _settled(store: EntityStore, change: Write) -> Record | None:
    return (await store.write([change]))[0].record


async def _alike(store: EntityStore, before: Sequence[Record | None]) -> None:
    """All three records are as before or all have changed; a service may still be at it for a moment."""

    async def is_whole() -> bool:
        found = await store.get([key(name) for name in "abc"])
        return len({old == new for old, new in zip(before, found, strict=True)}) == 1

    assert await _soon(is_whole), f"half of an atomic write: {await store.get([key(name) for name in 'abc'])}"


async def _still(store: EntityStore, *names: str) -> list[Record | None]:
    """The records once they no longer change."""
    seen: list[list[Record | None]] = [await store.get([key(name) for name in names])]

    async def is_still() -> bool:
        await asyncio.sleep(_PAUSE_SECONDS)
        seen.append(await store.get([key(name) for name in names]))
        return seen[-1] == seen[-2]

    assert await _soon(is_still), "the records never come to rest"
    return seen[-1]


async def _soon(holds: Callable[[], Awaitable[bool]]) -> bool:
    for _ in range(_PATIENCE):
        if await holds():
            return True
        await asyncio.sleep(_PAUSE_SECONDS)
    return False
