"""Planned faults are what they say they are: before or after the effect, known or unknown, or a cancellation."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.errors import Effect, StorycoreError, Throttled, Unavailable
from storycore.ports.entities import Key, Put
from storycore.ports.lifecycle import PortName
from storycore.testing.faults import Fault, Faults, Injected, by_chance
from storycore.testing.harness import Harness

KEY = Key("p", "a")
PUT = Put(key=KEY, kind="k")

MEANT: dict[Fault, tuple[type[StorycoreError], Effect, bool]] = {
    Fault.BEFORE: (Unavailable, Effect.NONE, False),
    Fault.THROTTLED: (Throttled, Effect.NONE, False),
    Fault.LOST: (Unavailable, Effect.UNKNOWN, False),
    Fault.AFTER: (Unavailable, Effect.UNKNOWN, True),
}
"""The error, what it says of the effect, and whether the write is done."""


@pytest.fixture
def faults() -> Faults:
    return Faults(PortName.ENTITIES)


@pytest.fixture
async def store(tmp_path: Path, faults: Faults) -> AsyncIterator[Any]:
    async with Harness(PortName.ENTITIES, "memory", {}, tmp_path).make() as inner:
        yield faults.around(inner)


async def is_there(store: Any) -> bool:
    return await store.get([KEY]) != [None]


@pytest.mark.parametrize("fault", MEANT, ids=str)
async def test_a_write_fails_as_planned(store: Any, faults: Faults, fault: Fault) -> None:
    """The error tells the truth about the effect, or that it is unknown."""
    error, effect, done = MEANT[fault]
    faults.plan([fault])
    with pytest.raises(error) as caught:
        await store.write([PUT])
    assert (caught.value.effect, await is_there(store), fault.is_done) == (effect, done, done)
    assert faults.injected == [Injected("write", fault)]


@pytest.mark.parametrize(("fault", "done"), [(Fault.CANCELLED_BEFORE, False), (Fault.CANCELLED_AFTER, True)])
async def test_a_task_is_cancelled_as_planned(store: Any, faults: Faults, fault: Fault, done: bool) -> None:
    """The task ends as one that somebody cancelled."""
    faults.plan([fault])
    task = asyncio.create_task(store.write([PUT]))
    await asyncio.wait([task])
    assert (task.cancelled(), await is_there(store)) == (True, done)


async def test_a_failed_read_has_no_effect(store: Any, faults: Faults) -> None:
    """Of a read nobody needs to ask whether it happened."""
    faults.plan([Fault.LOST])
    with pytest.raises(Unavailable) as caught:
        await store.get([KEY])
    assert caught.value.effect is Effect.NONE


async def test_calls_behind_the_plan_go_through(store: Any, faults: Faults) -> None:
    """``None`` lets a call through, and so does the end of the plan."""
    faults.plan([None, Fault.BEFORE])
    await store.write([PUT])
    with pytest.raises(Unavailable):
        await store.write([PUT])
    await store.write([PUT])
    faults.plan([Fault.BEFORE, Fault.BEFORE])
    faults.plan([])
    assert await is_there(store)


async def test_only_the_named_operations_fail(tmp_path: Path) -> None:
    """Other operations do not use the plan up."""
    faults = Faults(PortName.ENTITIES, operations={"write"})
    async with Harness(PortName.ENTITIES, "memory", {}, tmp_path).make() as inner:
        store = faults.around(inner)
        faults.plan([Fault.BEFORE])
        assert await store.get([KEY]) == [None]
        with pytest.raises(Unavailable):
            await store.write([PUT])


async def test_faults_are_a_plugin(faults: Faults) -> None:
    """An application's store fails where its test plans it."""
    async with storycore.open("memory", plugins=[faults]) as store:
        faults.plan([Fault.BEFORE])
        with pytest.raises(Unavailable, match="planned"):
            await store.users.find("ada")


def test_chance_is_seeded_and_keeps_its_rate() -> None:
    """The same seed gives the same plan, with about as many faults as asked for."""
    one, other = (
        list(itertools.islice(by_chance(random.Random(7), 0.25, Fault.BEFORE, Fault.AFTER), 1000)) for _ in range(2)
    )
    assert one == other
    assert {None, Fault.BEFORE, Fault.AFTER} == set(one)
    assert 200 < 1000 - one.count(None) < 300
