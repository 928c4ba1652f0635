"""The decorator: functions, async and sync, whose results are cached under their parameters."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from storycore.caching import Caching
from storycore.errors import ConfigError, InvalidArgument
from storycore.layers.checks import checked
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.cache import Cache
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

R = TypeVar("R")


class User(BaseModel):
    id: str
    name: str = ""


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Cache]:
    async with checked(PortName.CACHE, open_cache(MemoryCacheConfig(), ENV)) as opened:
        yield opened


ENV = Environment(clock=ManualClock())


async def test_an_async_function_is_called_once_per_key(port: Cache) -> None:
    """Positions, keywords and defaults name the same key; the template may use attributes of parameters."""
    calls: list[tuple[str, int]] = []

    @Caching(port, ENV).cached("feed:{user.id}:{page}", ttl=60, ignore=("db",))
    async def feed(user: User, page: int = 1, *, db: object = None) -> list[str]:
        """The user's feed."""
        calls.append((user.id, page))
        return [f"{user.id}{page}"]

    for found in (await feed(User(id="a")), await feed(user=User(id="a", name="x"), page=1, db=object())):
        assert found == ["a1"]
    assert await feed(User(id="a"), 2) == ["a2"]
    assert calls == [("a", 1), ("a", 2)]
    assert feed.key(User(id="a")) == "default:feed:a:1"
    assert await feed.invalidate(User(id="a"))
    await feed(User(id="a"))
    assert len(calls) == 3
    assert (feed.stats().memory_hits, feed.stats().misses, feed.stats().invalidations) == (1, 3, 1)
    assert (feed.__name__, feed.__doc__) == ("feed", "The user's feed.")


async def test_a_template_without_placeholders_takes_all_parameters(port: Cache) -> None:
    """``"api_response"`` stands for the name followed by every parameter."""

    @Caching(port, ENV).cached("api_response", ttl=300)
    async def respond(param: str, page: int = 1) -> str | None:
        return f"{param}{page}" if param else None

    assert [await respond("x"), await respond("x", 2), await respond("")] == ["x1", "x2", None]
    assert respond.key("x") == "default:api_response:x:1"
    await respond("")
    assert respond.stats().memory_hits == 1


async def test_methods_are_cached_per_parameters(port: Cache) -> None:
    """``self`` is no part of the key; key and invalidate work on the method."""
    cached = Caching(port, ENV).cached

    class Service:
        calls = 0

        @cached("double:{n}", ttl=60)
        async def double(self, n: int) -> int:
            self.calls += 1
            return 2 * n

        @cached("half:{n}", ttl=60)
        def half(self, n: int) -> int:
            self.calls += 1
            return n // 2

    service = Service()
    assert [await service.double(2), await service.double(n=2), service.half(4), service.half(4)] == [4, 4, 2, 2]
    assert service.calls == 2
    assert service.double.key(2) == "default:double:2"
    await service.double.invalidate(2)
    await service.double(2)
    assert service.calls == 3


async def test_calls_that_do_not_fit_are_refused(port: Cache) -> None:
    """A wrong call is an ``InvalidArgument`` that names the function."""

    @Caching(port, ENV).cached("f:{a}", ttl=60)
    async def f(a: int) -> int:
        return a

    with pytest.raises(InvalidArgument, match="f\\(\\)"):
        await f(1, 2)  # type: ignore[call-arg]  # the point of the test


async def test_declarations_are_checked_when_decorated(port: Cache) -> None:
    """Unknown names, forgotten parameters, no return type, generators and ``*args`` are a ``ConfigError``."""
    cached = Caching(port, ENV).cached

    async def plain(a: int, b: int) -> int:
        return a + b

    async def untyped(a):  # type: ignore[no-untyped-def]  # the point of the test
        return a

    async def generator(a: int) -> AsyncIterator[int]:
        yield a

    def sync_generator(a: int) -> Iterator[int]:
        yield a

    async def variadic(*a: int) -> int:
        return sum(a)

    for template, ignore, function in (
        ("f:{a}", (), plain),
        ("f:{a}:{b}:{c}", (), plain),
        ("f:{a}", ("b", "c"), plain),
        ("f:{a}", (), untyped),
        ("f:{a}", (), generator),
        ("f:{a}", (), sync_generator),
        ("f:{a}", (), variadic),
        ("f", (), variadic),
    ):
        with pytest.raises(ConfigError):
            cached(template, ttl=60, ignore=ignore)(function)
    assert await cached("f:{a}", ttl=60, ignore=("b",))(plain)(1, 2) == 3


async def test_a_sync_function_on_an_event_loop_is_served_by_memory(port: Cache) -> None:
    """It never waits for the shared tier, obeys tags of this process, and says how to invalidate."""
    caching, calls = Caching(port, ENV), []

    @caching.cached("s:{n}", ttl=60, tags=("t",))
    def square(n: int) -> int:
        calls.append(n)
        return n * n

    assert [square(3), square(3)] == [9, 9]
    assert (await port.keys()).keys == []
    await caching.invalidate_tags("t")
    assert square(3) == 9
    assert square.invalidate(3)
    assert square(3) == 9
    assert calls == [3, 3, 3]


class LoopThread:
    """An event loop in a thread of its own, as a sync application has it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.run(made.loop.shutdown_default_executor())
    made.close()


def test_a_sync_function_with_a_runner_goes_through_both_tiers(thread: LoopThread) -> None:
    """Threads share one call, and another process finds the value in the shared tier."""
    port = checked(PortName.CACHE, open_cache(MemoryCacheConfig(), ENV))
    thread.run(port.open())
    calls: list[int] = []

    def square(n: int) -> int:
        calls.append(n)
        return n * n

    one, two = (Caching(port, ENV, run=thread.run).cached("s:{n}", ttl=60)(square) for _ in range(2))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, [3] * 40)) == [9] * 40
    assert (two(3), calls) == (9, [3])
    assert one.invalidate(3)
    assert (one(3), calls) == (9, [3, 3])

    async def on_the_loop() -> None:
        with pytest.raises(InvalidArgument):
            one.invalidate(3)
        assert await one.invalidate_async(3)

    thread.run(on_the_loop())
    assert (one(3), calls) == (9, [3, 3, 3])
    thread.run(port.close())


def test_threads_share_one_call_without_a_runner() -> None:
    """Of many threads that miss the same key one calls the function; other keys are not held up."""
    calls: list[int] = []
    begun = threading.Barrier(2)

    @Caching(open_cache(MemoryCacheConfig(), ENV), ENV).cached("s:{n}", ttl=60)
    def square(n: int) -> int:
        begun.wait(5)
        calls.append(n)
        return n * n

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(square, [1, 2] * 20)) == [1, 4] * 20
    assert sorted(calls) == [1, 2]


def test_an_invalidation_during_a_sync_call_wins() -> None:
    """The call's caller gets its result, and the next caller a new one."""
    calls: list[int] = []

    @Caching(open_cache(MemoryCacheConfig(), ENV), ENV).cached("s:{n}", ttl=60)
    def count(n: int) -> int:
        calls.append(n)
        if len(calls) == 1:
            count.invalidate(n)
        return len(calls)

    assert [count(1), count(1), count(1)] == [1, 2, 2]


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["call", "change", "invalidate", "wait"]), st.integers(0, 1))))
def test_sync_and_async_functions_give_the_same(steps: list[tuple[str, int]]) -> None:
    """One trace of calls, changes of the source, invalidations and time has equal results and equal counts."""

    async def in_order() -> tuple[list[object], list[object]]:
        clock = ManualClock()
        env = Environment(clock=clock, random=random.Random(1))
        version = 0

        def read(n: int) -> int | None:
            if n and version % 3 == 2:
                raise ValueError(version)
            return None if version % 3 == 1 else version

        async def read_async(n: int) -> int | None:
            return read(n)

        async with checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env)) as port:
            caching = Caching(port, env)
            one = caching.cached("one:{n}", ttl=5, negative_ttl=5, jitter=0)(read)
            two = caching.cached("two:{n}", ttl=5, negative_ttl=5, jitter=0)(read_async)
            sync: list[object] = []
            told: list[object] = []
            for name, n in steps:
                if name == "call":
                    sync.append(_outcome(lambda n=n: one(n)))  # type: ignore[misc]
                    told.append(await _outcome_of(two(n)))
                elif name == "invalidate":
                    one.invalidate(n)
                    await two.invalidate(n)
                else:
                    version += name == "change"
                    clock.advance(3 * (name == "wait"))
            counts = [[each.stats().hits, each.stats().misses, each.stats().loads] for each in (one, two)]
            await caching.close()
        return [*sync, *counts[0]], [*told, *counts[1]]

    first, second = asyncio.run(in_order())
    assert first == second


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except ValueError as exc:
        return str(exc)


async def _outcome_of(call: Coroutine[Any, Any, object]) -> object:
    try:
        return await call
    except ValueError as exc:
        return str(exc)
