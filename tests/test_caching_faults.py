"""A shared tier that fails: reads go on with the loader, and no invalidation is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from storycore.caching import Caching, Region
from storycore.errors import Unavailable
from storycore.memory.cache import MemoryCache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.capabilities import Capabilities, Guarantees
from storycore.ports.environment import Environment
from storycore.testing.clock import ManualClock

_OPERATIONS = ("get", "acquire", "fill", "release", "put", "invalidate", "counters", "bump", "clear")


class FailingCache(MemoryCache):
    """The reference, shared by processes, whose operations fail while their names are in ``broken``."""

    broken: frozenset[str] = frozenset()
    error: type[BaseException] = Unavailable

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantees=Guarantees(multi_process=True))

    def __getattribute__(self, name: str) -> Any:
        if name in _OPERATIONS and name in self.broken:
            return self._fail
        return super().__getattribute__(name)

    async def _fail(self, *args: object, **kwargs: object) -> Any:
        await asyncio.sleep(0)
        raise self.error("The cache is down.")


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.env = Environment(clock=self.clock)
        self.port = FailingCache(MemoryCacheConfig(), self.env)
        self.caching = Caching(self.port, self.env)
        self.region: Region[int] = self.caching.region("n:{k}", int, ttl=600, tags=("t",), jitter=0)
        self.version = 0
        self.loads = 0

    async def load(self, k: int) -> int:
        self.loads += 1
        await asyncio.sleep(0)
        return self.version

    async def read(self, k: int = 1) -> int | None:
        return await self.region.get_or_load(k=k, load=self.load)

    def other(self) -> Region[int]:
        return Caching(self.port, self.env, l1_ttl=0).region("n:{k}", int, ttl=600, tags=("t",), jitter=0)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with made.port:
        yield made
        made.port.broken = frozenset()
        await made.caching.close()


@pytest.mark.parametrize("operation", ["get", "acquire", "fill", "release", "counters"])
@pytest.mark.parametrize("error", [Unavailable, RuntimeError])
async def test_a_fault_never_fails_a_read(bench: Bench, operation: str, error: type[BaseException]) -> None:
    """Whatever the tier raises, the value is loaded; once it works again, it is used again."""
    bench.port.broken, bench.port.error = frozenset({operation}), error
    assert await bench.read() == 0
    assert await bench.region.get_or_load_many([{"k": 1}, {"k": 2}], load_many=_ones) in ([1, 1], [0, 1])
    bench.port.broken = frozenset()
    bench.clock.advance(11)
    await bench.read(3)
    loads = bench.loads
    await bench.read(3)
    assert bench.loads == loads


async def test_a_load_is_shared_while_the_tier_is_down(bench: Bench) -> None:
    """The source does not pay for the cache: readers share one load, and once the tier is let alone, a short copy."""
    bench.port.broken = frozenset(_OPERATIONS)
    assert await asyncio.gather(*(bench.read() for _ in range(200))) == [0] * 200
    assert bench.loads == 1
    bench.clock.advance(0.9)
    assert (await bench.read(), bench.loads) == (0, 1)
    bench.clock.advance(0.2)
    assert (await bench.read(), bench.loads) == (0, 2)


@pytest.mark.parametrize("how", ["key", "tag", "clear", "put", "writing"])
async def test_an_unconfirmed_invalidation_is_repeated_before_the_tier_serves(bench: Bench, how: str) -> None:
    """It says so by ``False``; until it is confirmed nothing is read from the tier here, and then it is done."""
    assert await bench.read() == 0
    bench.version = 1
    bench.port.broken = frozenset({"invalidate", "bump", "clear", "fill"})
    assert not await _spoil(bench, how)
    assert bench.caching.stats().pending_invalidations == 1
    assert await bench.read() == 1
    assert await bench.read() == 1, "the old value is still in the shared tier, which may not serve"
    bench.port.broken = frozenset()
    bench.clock.advance(10)
    assert await bench.read() == 1
    assert bench.caching.stats().pending_invalidations == 0
    assert await bench.other().get_or_load(k=1, load=bench.load) == 1


async def test_pending_invalidations_are_repeated_in_the_background(bench: Bench) -> None:
    """Also when this process reads nothing more, the others see it soon after the tier has come back."""
    await bench.read()
    bench.version = 1
    bench.port.broken = frozenset({"invalidate"})
    await bench.region.invalidate(k=1)
    bench.port.broken = frozenset()
    for _ in range(100):
        await asyncio.sleep(0.005)
        if not bench.caching.stats().pending_invalidations:
            break
    assert await bench.other().get_or_load(k=1, load=bench.load) == 1


async def test_closing_tries_once_more(bench: Bench) -> None:
    """What is pending is delivered by ``close`` if the tier answers."""
    await bench.read()
    bench.port.broken = frozenset({"invalidate"})
    await bench.region.invalidate(k=1)
    bench.port.broken = frozenset()
    await bench.caching.close()
    assert await bench.other().entry(k=1) is None


async def test_closing_waits_for_a_delivery_that_is_under_way(bench: Bench) -> None:
    """A reader delivers what is pending; the port may be closed once the cache is."""
    await bench.read()
    bench.port.broken = frozenset({"invalidate"})
    await bench.region.invalidate(k=1)
    bench.port.broken = frozenset()
    bench.clock.advance(10)
    delivered = asyncio.Event()

    async def slowly(keys: Sequence[str]) -> int:
        await asyncio.sleep(0.01)
        delivered.set()
        return await MemoryCache.invalidate(bench.port, keys)

    bench.port.invalidate = slowly  # type: ignore[method-assign]  # a slow network
    reader = asyncio.create_task(bench.read(2))
    await asyncio.sleep(0)
    await bench.caching.close()
    assert delivered.is_set()
    await asyncio.wait([reader])
    assert await bench.other().entry(k=1) is None


async def test_too_many_pending_invalidations_clear_the_namespace(bench: Bench) -> None:
    """The outbox is bounded: beyond ten thousand it stands for everything."""
    await bench.read()
    bench.port.broken = frozenset({"invalidate"})
    await bench.region.invalidate_many({"k": k} for k in range(2, 10_010))
    assert bench.caching.stats().pending_invalidations == 1
    bench.clock.advance(10)
    await bench.read(5)
    assert await bench.other().entry(k=1) is None


async def test_a_cancelled_invalidation_is_not_lost(bench: Bench) -> None:
    """Nobody knows whether it arrived, so it is repeated."""
    await bench.read()
    bench.version = 1
    bench.port.broken, bench.port.error = frozenset({"invalidate"}), asyncio.CancelledError
    with pytest.raises(asyncio.CancelledError):
        await bench.region.invalidate(k=1)
    assert bench.caching.stats().pending_invalidations == 1
    bench.port.broken = frozenset()
    bench.clock.advance(10)
    assert await bench.read() == 1


async def test_a_load_from_before_a_failed_invalidation_is_not_filled(bench: Bench) -> None:
    """The lease still lives in the tier, but this process knows better."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def load(k: int) -> int:
        started.set()
        await go_on.wait()
        return 0

    reader = asyncio.create_task(bench.region.get_or_load(k=1, load=load))
    await started.wait()
    bench.version = 1
    bench.port.broken = frozenset({"invalidate"})
    await bench.region.invalidate(k=1)
    go_on.set()
    assert await reader == 0
    assert await bench.port.get([bench.region.key(k=1)]) == [None]
    assert bench.region.stats().refused == 1


async def test_nobody_joins_an_older_load_while_the_tier_is_down(bench: Bench) -> None:
    """A reader who comes after an invalidation in this process loads anew, although no lease was there to die."""
    bench.port.broken = frozenset(_OPERATIONS)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def load(k: int) -> int:
        started.set()
        await go_on.wait()
        return 0

    reader = asyncio.create_task(bench.region.get_or_load(k=1, load=load))
    await started.wait()
    bench.version = 1
    await bench.region.invalidate(k=1)
    later = asyncio.create_task(bench.read())
    await asyncio.sleep(0.01)
    go_on.set()
    assert (await later, await reader) == (1, 0)


@pytest.mark.parametrize("how", ["put", "writing"])
@pytest.mark.parametrize("broken", ["acquire", "fill", "counters"])
async def test_a_value_that_cannot_be_stored_leaves_no_older_one(bench: Bench, how: str, broken: str) -> None:
    """The key is invalidated instead, at once or when the tier answers again."""
    await bench.read()
    bench.version = 1
    bench.port.broken = frozenset({broken})
    assert await _spoil(bench, how)
    assert await bench.region.entry(k=1) is None
    bench.version = 2
    bench.port.broken = frozenset({broken, "invalidate"})
    assert not await _spoil(bench, how)
    bench.port.broken = frozenset()
    bench.clock.advance(timedelta(seconds=10))
    assert await bench.read() == 2
    assert await bench.other().get_or_load(k=1, load=bench.load) == 2


async def _spoil(bench: Bench, how: str) -> bool:
    if how == "tag":
        return await bench.caching.invalidate_tags("t")
    if how == "clear":
        return await bench.caching.clear()
    if how == "put":
        return await bench.region.put(1, k=1)
    if how == "writing":
        async with bench.region.writing(k=1) as writing:
            writing.put(1)
        return writing.confirmed
    return await bench.region.invalidate(k=1)


async def _ones(missing: Sequence[object]) -> list[int | None]:
    return [1 for _ in missing]
