"""Deadlines: what begins within a block ends in time, whichever port, layer or cache it goes through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest

import storycore
from storycore.caching import Caching
from storycore.errors import DeadlineExceeded, Effect, InvalidArgument, Unavailable
from storycore.hooks import hookimpl
from storycore.layers.around import OPERATIONS, Interceptor, Operation
from storycore.layers.deadline import Deadline, Deadlines, bounded, remaining
from storycore.layers.retry import Retrying, RetrySettings
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.entities import Key
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import User

T = TypeVar("T")

ENTITIES = OPERATIONS[PortName.ENTITIES]
CACHE = OPERATIONS[PortName.CACHE]


async def forever() -> str:
    await asyncio.Event().wait()
    return "never"


async def at_once() -> str:
    return "done"


@pytest.mark.parametrize(("name", "effect"), [("get", Effect.NONE), ("write", Effect.UNKNOWN)])
async def test_an_operation_is_cancelled_when_the_deadline_passes(name: str, effect: Effect) -> None:
    """Of a read nothing can have happened, of a write it is not known."""
    begun = time.monotonic()
    async with Deadline(0.02):
        with pytest.raises(DeadlineExceeded, match=f"entities.{name} was not done by its deadline") as caught:
            await Deadlines()(ENTITIES[name], forever)
    assert caught.value.effect is effect
    assert time.monotonic() - begun < 2


async def test_behind_the_deadline_nothing_begins() -> None:
    """A write that was not begun has not happened."""
    calls: list[str] = []

    async def write() -> None:
        calls.append("write")

    async with Deadline(0):
        with pytest.raises(DeadlineExceeded, match="was not begun") as caught:
            await Deadlines()(ENTITIES["write"], write)
    assert (calls, caught.value.effect) == ([], Effect.NONE)


async def test_behind_the_block_there_is_no_deadline() -> None:
    """The block's end is the deadline's, also where the block failed."""
    with pytest.raises(DeadlineExceeded):
        async with Deadline(0):
            await Deadlines()(ENTITIES["get"], at_once)
    assert remaining() is None
    assert await Deadlines()(ENTITIES["get"], at_once) == "done"


@pytest.mark.parametrize(("outer", "inner"), [(5, 50), (50, 5)])
async def test_of_nested_deadlines_the_sooner_holds(outer: float, inner: float) -> None:
    """An inner block can shorten the outer one's time and cannot extend it."""
    async with Deadline(outer), Deadline(inner):
        left = remaining()
    assert left is not None
    assert 4 < left <= 5


async def test_a_deadline_travels_into_tasks_that_are_started_in_its_block() -> None:
    """A gathering is bounded as a whole."""
    async with Deadline(0.01):
        answers = await asyncio.gather(
            *(Deadlines()(ENTITIES["get"], forever) for _ in range(3)), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [DeadlineExceeded] * 3


async def test_a_timeout_of_the_operations_own_is_not_taken_for_the_deadline() -> None:
    """Only the deadline's own end is told as such."""

    async def fails() -> None:
        raise TimeoutError("the operation's own")

    async with Deadline(5):
        with pytest.raises(TimeoutError, match="the operation's own"):
            await bounded("The call", Effect.NONE, fails)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), True, "2"])
def test_a_deadline_is_a_number_of_seconds(seconds: float) -> None:
    """Anything else is refused where it is made."""
    with pytest.raises(InvalidArgument, match="number of seconds"):
        Deadline(seconds)


async def test_retrying_does_not_sleep_beyond_the_deadline() -> None:
    """The failure itself is raised, at once, instead of a pause that nobody can use."""
    calls: list[float] = []

    async def fails() -> None:
        calls.append(time.monotonic())
        raise Unavailable("down")

    retrying = Retrying(RetrySettings(attempts=4, base_seconds=60, cap_seconds=60), Environment().random)
    async with Deadline(0.05):
        with pytest.raises(Unavailable, match="down"):
            await retrying(ENTITIES["get"], fails)
    assert len(calls) == 1


async def test_what_changes_the_cache_is_not_bounded() -> None:
    """An invalidation has to happen, for the next reader's sake."""
    async with Deadline(0):
        assert await Deadlines()(CACHE["invalidate"], at_once) == "done"
        with pytest.raises(DeadlineExceeded):
            await Deadlines()(CACHE["get"], at_once)


async def test_a_shared_load_outlives_the_deadline_of_the_caller_who_began_it() -> None:
    """Who waits longer gets the value; who cannot wait hears of his own deadline."""
    env = Environment()
    port = open_cache(MemoryCacheConfig(), env)
    await port.open()
    caching = Caching(port, env)
    region = caching.region("slow:{id}", str, ttl=60)
    gate = asyncio.Event()

    async def load(id: str) -> str:  # noqa: A002 - the parameter's name
        await gate.wait()
        left = await Deadlines()(ENTITIES["get"], at_once)
        return f"{id} {left}"

    async def hurried() -> None:
        async with Deadline(0.02):
            await region.get_or_load(id="1", load=load)

    first = asyncio.create_task(hurried())
    await asyncio.sleep(0)
    second = asyncio.create_task(region.get_or_load(id="1", load=load))
    with pytest.raises(DeadlineExceeded, match="load of a cached value"):
        await first
    gate.set()
    assert await second == "1 done"
    await caching.close()
    await port.close()


class Slow:
    """Operations of the entity port that hang, when asked to."""

    slot: ClassVar[int] = 15

    def __init__(self) -> None:
        self.hangs = False

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        if self.hangs and operation.port is PortName.ENTITIES:
            await asyncio.Event().wait()
        return await proceed()

    @hookimpl
    def storycore_layers(self, port: PortName, adapter: str) -> list[Interceptor]:
        return [self]


async def test_a_stores_operations_end_by_the_deadline() -> None:
    """Reads through the cache and writes alike; afterwards the store serves as before."""
    slow = Slow()
    async with storycore.open("memory", plugins=[slow]) as store:
        await store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
        slow.hangs = True
        async with store.deadline(0.02):
            with pytest.raises(DeadlineExceeded):
                await store.users.get("ada")
            with pytest.raises(DeadlineExceeded, match="was not begun"):
                await store.users.save(User(user_id="bob", email="bob@example.com", username="bob"))
        slow.hangs = False
        assert (await store.users.get("ada")).username == "ada"
        assert await store.users.find("bob") is None


def test_a_sync_store_keeps_deadlines(tmp_path: Path) -> None:
    """The deadline is the calling thread's own."""
    slow = Slow()
    with storycore.open_sync("memory", plugins=[slow]) as store:
        store.entities.get([Key("a", "b")])
        slow.hangs = True
        with store.deadline(0.02), pytest.raises(DeadlineExceeded, match=r"entities\.get"):
            store.entities.get([Key("a", "b")])
        slow.hangs = False
        assert store.entities.get([Key("a", "b")]) == [None]
