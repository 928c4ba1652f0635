"""What an entity store promises beyond one process: records outlive it, and several processes may write."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from storycore.errors import AlreadyExists, TransactionConflict
from storycore.ports.capabilities import Durability
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import Delete, EntityStore, Key, Patch, QueryPlan
from storycore.testing.entity_examples import content, find, key, put, walk, walk_changes, write
from storycore.testing.harness import Harness
from storycore.testing.processes import Child, Line, child

__all__ = ["EntityDurability"]

HERE: Final = "storycore.testing.entity_durability"


@pytest.mark.asyncio
class EntityDurability:
    """The part of the EntityStore suite that closes and races."""

    async def test_everything_is_there_after_opening_again(self, harness: Harness) -> None:
        """Records, indexes, versions, tokens and the feed outlive closing where durability is claimed."""
        store = await durable(harness)
        given = put(
            "a",
            fields={"f": 1},
            index_keys={1: Key("x", "1")},
            expires_at=harness.clock.now() + timedelta(1),
            body=b"b",
        )
        (first,) = await store.write([given], atomic=True, token="t")
        await write(store, put("b"), put("c"))
        (gone,) = await write(store, Delete(key=key("c")))
        feed = await walk_changes(store) if store.capabilities.has("entities.changes") else []
        await store.close()
        store = await harness.started()
        assert first.record == await find(store, "a")
        assert [first.record] == await walk(store, QueryPlan(pk="x", slot=1))
        assert [first] == await store.write([given], atomic=True, token="t")
        (anew,) = await write(store, put("c"))
        assert (anew.version or 0) > (gone.version or 0)
        if feed:
            assert feed == (await walk_changes(store))[: len(feed)]
            assert len(await walk_changes(store, feed[-1].position)) == 1
        await store.close()

    async def test_of_several_processes_one_creates(self, harness: Harness) -> None:
        """Each contested key is created by exactly one process; counters lose nothing."""
        store = await harness.started()
        if not store.capabilities.guarantees.multi_process:
            await store.close()
            pytest.skip("not claimed: several processes")
        await write(store, put("counter"))
        async with child(harness, f"{HERE}:_race", "one") as one, child(harness, f"{HERE}:_race", "two") as two:
            won = await _raced([one, two])
        assert sorted(f"{i}" for i in range(40)) == sorted(won)
        counter = await find(store, "counter")
        assert counter is not None
        assert counter.fields == {"n": 80}
        await store.close()

    async def test_a_process_sees_what_another_wrote(self, harness: Harness) -> None:
        """A write that returned in another process is read at once, and the other way round."""
        store = await harness.started()
        if not store.capabilities.guarantees.multi_process:
            await store.close()
            pytest.skip("not claimed: several processes")
        async with child(harness, f"{HERE}:_echo") as other:
            for n in range(10):
                await write(store, put("mine", fields={"n": n}))
                other.say(n)
                assert await other.hear() == n
                stored = await find(store, "theirs")
                assert content(put("theirs", fields={"n": n})) == content(stored)
            other.say(None)
        await store.close()


async def durable(harness: Harness) -> EntityStore:
    """The open store; skips the test where nothing outlives the process."""
    store: EntityStore = await harness.started()
    if store.capabilities.guarantees.durability is Durability.PROCESS:
        await store.close()
        pytest.skip("not claimed: durability beyond the process")
    return store


async def _race(store: EntityStore, line: Line, name: str) -> None:
    """Report readiness, wait for the start, create what all others create too, and report what was won."""
    line.say("ready")
    line.hear()
    won = []
    for i in range(40):
        await store.write([Patch(key=key("counter"), add={"n": 1})])
        try:
            await store.write([put(f"{i}", fields={"by": name}, when=ABSENT)], atomic=i % 2 == 0)
            won.append(f"{i}")
        except (AlreadyExists, TransactionConflict):
            pass
    line.say(won)


async def _raced(children: list[Child]) -> list[str]:
    for one in children:
        assert await one.hear() == "ready"
    for one in children:
        one.say("go")
    return [name for one in children for name in await one.hear()]


async def _echo(store: EntityStore, line: Line) -> None:
    """Answer each number with what the other process has written, having written the same."""
    while (number := line.hear()) is not None:
        await store.write([put("theirs", fields={"n": number})])
        mine = await find(store, "mine")
        line.say(None if mine is None else mine.fields["n"])
