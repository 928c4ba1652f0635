"""What an event sink promises beyond one process: events outlive it, and several processes may emit."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from storycore.ports.capabilities import Durability
from storycore.ports.events import EventSink
from storycore.testing.event_examples import DATA, NOON, event, walk
from storycore.testing.harness import Harness
from storycore.testing.processes import Child, Line, child

__all__ = ["EventDurability"]

HERE: Final = "storycore.testing.event_durability"


class EventDurability:
    """The part of the EventSink suite that closes, kills and races."""

    @pytest.mark.asyncio
    async def test_everything_is_there_after_opening_again(self, harness: Harness) -> None:
        """Events, offsets, known ids and the last offset outlive closing where durability is claimed."""
        store = await harness.started()
        if store.capabilities.guarantees.durability is Durability.PROCESS:
            await store.close()
            pytest.skip("not claimed: durability beyond the process")
        first = await store.emit([event(name, data=data) for name, data in DATA.items()])
        before = await store.read()
        await store.close()
        store = await harness.started()
        assert before == await store.read()
        assert all(one.duplicate for one in await store.emit([event(name) for name in DATA]))
        await store.trim(NOON + timedelta(1))
        await store.close()
        store = await harness.started()
        (last,) = await store.emit([event("last")])
        await store.close()
        assert last.offset > max(one.offset for one in first)

    @pytest.mark.asyncio
    async def test_what_was_acknowledged_survives_a_kill(self, harness: Harness) -> None:
        """After a writer is killed every acknowledged event is there, and every call is there whole or not at all."""
        store = await harness.started()
        if store.capabilities.guarantees.durability is Durability.PROCESS:
            await store.close()
            pytest.skip("not claimed: durability beyond the process")
        await store.close()
        async with child(harness, f"{HERE}:_emit_for_ever") as writer:
            acknowledged = [await writer.hear() for _ in range(30)]
            await writer.kill()
        store = await harness.started()
        found = await walk(store)
        assert (await store.health(deep=True)).ok
        await store.close()
        assert [name for call in acknowledged for name in call] == found[: 3 * len(acknowledged)]
        assert len(found) % 3 == 0

    @pytest.mark.asyncio
    async def test_processes_agree_on_who_was_first(self, harness: Harness) -> None:
        """Of several processes that emit the same ids one is first for each id; all learn the same offset."""
        store = await harness.started()
        if not store.capabilities.guarantees.multi_process:
            await store.close()
            pytest.skip("not claimed: several processes")
        async with child(harness, f"{HERE}:_race", 40) as one, child(harness, f"{HERE}:_race", 40) as two:
            calls = await _raced([one, two])
        assert sorted(f"e{i}" for i in range(40)) == sorted(name for name, _, duplicate in calls if not duplicate)
        assert len({(name, offset) for name, offset, _ in calls}) == 40
        assert sorted(await walk(store)) == sorted(f"e{i}" for i in range(40))
        await store.close()


async def _emit_for_ever(store: EventSink, line: Line) -> None:
    """Emit three events a call and report each call once it has returned."""
    n = 0
    while True:
        line.say([one.id for one in await store.emit([event(f"{n + i:06}") for i in range(3)])])
        n += 3


async def _race(store: EventSink, line: Line, count: int) -> None:
    """Report readiness, wait for the start, emit the same ids as everybody else, and report what became of them."""
    line.say("ready")
    line.hear()
    emitted = [(await store.emit([event(f"e{i}")]))[0] for i in range(count)]
    line.say([(one.id, one.offset, one.duplicate) for one in emitted])


async def _raced(children: list[Child]) -> list[tuple[str, int, bool]]:
    for one in children:
        assert await one.hear() == "ready"
    for one in children:
        one.say("go")
    return [tuple(line) for one in children for line in await one.hear()]
