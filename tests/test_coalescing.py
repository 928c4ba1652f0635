"""Gets of one moment: one call of the store, and nobody notices that he shared it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

import storycore
from storycore.errors import InvalidKey, Throttled, Unavailable
from storycore.hooks import hookimpl
from storycore.layers.coalescing import CoalescedEntities
from storycore.layers.deadline import Deadline, bounded, remaining
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import MemoryEntityStore
from storycore.plugins import Adapter
from storycore.ports.capabilities import Capabilities, Support
from storycore.ports.entities import Key, Put, Record
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, PortName
from storycore.story import User


class Counting(MemoryEntityStore):
    """Tells which keys each get asked for; can hang, fail, and claims that many keys cost little."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.calls: list[tuple[list[str], bool]] = []
        self.gate: asyncio.Event | None = None
        self.error: BaseException | None = None
        self.seen: list[float | None] = []

    @property
    def info(self) -> AdapterInfo:
        return AdapterInfo(adapter="counting")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(features={"entities.changes": Support.NATIVE, "entities.batch_get": Support.NATIVE})

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        self.calls.append(([key.sk for key in keys], consistent))
        self.seen.append(remaining())
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().get(keys, consistent=consistent)


async def opened(**records: bytes) -> tuple[Counting, CoalescedEntities]:
    inner = Counting(Environment())
    await inner.open()
    await inner.write([Put(key=Key("p", sk), kind="k", body=body, fields={"n": 1}) for sk, body in records.items()])
    return inner, CoalescedEntities(inner)


async def read(store: CoalescedEntities, *sks: str, consistent: bool = True) -> list[bytes | None]:
    found = await store.get([Key("p", sk) for sk in sks], consistent=consistent)
    return [None if record is None else record.body for record in found]


async def test_gets_of_one_moment_are_one_call_with_each_key_once() -> None:
    """Everybody gets his own answers, in the order of his own keys."""
    inner, store = await opened(a=b"A", b=b"B")
    answers = await asyncio.gather(read(store, "a"), read(store, "b", "a"), read(store, "x", "x"), read(store))
    assert answers == [[b"A"], [b"B", b"A"], [None, None], []]
    assert inner.calls == [(["a", "b", "x"], True), ([], True)] or inner.calls == [([], True), (["a", "b", "x"], True)]


async def test_gets_of_different_moments_are_different_calls() -> None:
    """Who asks after a call has gone out gets what is there then."""
    inner, store = await opened(a=b"A")
    assert await read(store, "a") == [b"A"]
    await store.write([Put(key=Key("p", "a"), kind="k", body=b"new")])
    assert await read(store, "a") == [b"new"]
    assert inner.calls == [(["a"], True)] * 2


async def test_consistent_gets_are_not_mixed_with_others() -> None:
    """Nobody gets an older answer than he asked for, nor pays for a newer one."""
    inner, store = await opened(a=b"A")
    await asyncio.gather(read(store, "a"), read(store, "a", consistent=False))
    assert sorted(inner.calls) == [(["a"], False), (["a"], True)]


async def test_a_long_get_goes_alone() -> None:
    """It would make the others wait, and fills a call by itself."""
    inner, store = await opened()
    await asyncio.gather(read(store, *map(str, range(100))), read(store, "a"))
    assert sorted(len(keys) for keys, _ in inner.calls) == [1, 100]


async def test_nobody_shares_a_mapping_with_another() -> None:
    """What one caller does to a record's fields is his own affair."""
    _, store = await opened(a=b"A")
    [[mine], [yours]] = await asyncio.gather(store.get([Key("p", "a")]), store.get([Key("p", "a")]))
    assert mine is not None
    assert yours is not None
    mine.fields["n"] = 99  # type: ignore[index]  # what nobody should do
    assert yours.fields == {"n": 1}


async def test_a_caller_who_is_cancelled_disturbs_nobody() -> None:
    """The call goes on for the others, and ends with the last of them."""
    inner, store = await opened(a=b"A")
    inner.gate = asyncio.Event()
    callers = [asyncio.create_task(read(store, "a")) for _ in range(3)]
    while not inner.calls:
        await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    inner.gate.set()
    first, *others = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert others == [[b"A"], [b"A"]]


async def test_when_all_callers_have_gone_the_call_is_cancelled() -> None:
    """Nothing runs on for nobody; a call that has not gone out yet never does."""
    inner, store = await opened(a=b"A")
    inner.gate = asyncio.Event()
    caller = asyncio.create_task(read(store, "a"))
    while not inner.calls:
        await asyncio.sleep(0)
    [flying] = store._flying
    caller.cancel()
    await asyncio.gather(caller, flying, return_exceptions=True)
    assert (flying.cancelled(), store._flying) == (True, set())
    early = asyncio.create_task(read(store, "a"))
    await asyncio.sleep(0)
    early.cancel()
    await asyncio.gather(early, return_exceptions=True)
    await asyncio.sleep(0)
    assert len(inner.calls) == 1


async def test_an_error_of_the_call_reaches_all_its_callers() -> None:
    """And only them: the next get is a new call."""
    inner, store = await opened(a=b"A")
    inner.error = Throttled("slow down")
    answers = await asyncio.gather(*(read(store, "a") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Throttled] * 3
    inner.error = None
    assert await read(store, "a") == [b"A"]


async def test_closing_ends_the_calls_under_way() -> None:
    """Whoever waits hears why."""
    inner, store = await opened(a=b"A")
    inner.gate = asyncio.Event()
    caller = asyncio.create_task(read(store, "a"))
    while not inner.calls:
        await asyncio.sleep(0)
    await store.close()
    with pytest.raises(Unavailable, match="closed during the call"):
        await caller


async def test_a_shared_call_stands_under_nobodys_deadline() -> None:
    """Each caller keeps his own, which is around the call and not inside."""
    inner, store = await opened(a=b"A")

    async def hurried() -> object:
        async with Deadline(0.01):
            return await bounded("The get", storycore.errors.Effect.NONE, lambda: read(store, "a"))

    inner.gate = asyncio.Event()
    first = asyncio.create_task(hurried())
    second = asyncio.create_task(read(store, "a"))
    with pytest.raises(storycore.errors.DeadlineExceeded):
        await first
    inner.gate.set()
    assert (await second, inner.seen) == ([b"A"], [None])


MADE: list[Counting] = []


def open_counting(config: MemoryConfig, env: Environment) -> Counting:
    """The counting store, remembered for the test."""
    MADE.append(Counting(env))
    return MADE[-1]


class Plugin:
    """Brings the adapter ``counting``."""

    @hookimpl
    def storycore_adapters(self) -> list[Adapter]:
        return [Adapter(name="counting", ports={PortName.ENTITIES: f"{__name__}:open_counting"}, config=MemoryConfig)]


async def test_a_store_gathers_gets_where_the_adapter_says_that_it_pays() -> None:
    """A bad key fails its own caller before anything is gathered."""
    async with storycore.open("memory", overrides={"entities": "counting://"}, plugins=[Plugin()]) as store:
        await store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
        MADE[-1].calls.clear()
        answers = await asyncio.gather(
            store.users.get("ada", consistent=True),
            store.users.find("bob", consistent=True),
            store.entities.get([Key("", "bad")]),
            return_exceptions=True,
        )
    assert (answers[0].username, answers[1], type(answers[2])) == ("ada", None, InvalidKey)  # type: ignore[union-attr]
    assert len(MADE[-1].calls) == 1
    assert len(MADE[-1].calls[0][0]) == 2
