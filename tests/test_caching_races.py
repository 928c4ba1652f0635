"""Whatever comes between, a value that was loaded before an invalidation is not served after it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from storycore.caching import CachedEntities, Caching, Region
from storycore.errors import Unavailable
from storycore.layers.checks import checked
from storycore.memory.cache import MemoryCache
from storycore.memory.config import MemoryCacheConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.cache import Acquired, Cache, CacheItem, Fill
from storycore.ports.capabilities import Capabilities, Guarantees
from storycore.ports.entities import Key, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

R = TypeVar("R")

POINTS = range(60)
"""More turns of the event loop than a whole read through the slow cache takes."""


class SlowCache(MemoryCache):
    """A cache that takes some turns of the event loop before and after each step, as a network does."""

    def __init__(self, env: Environment, luck: random.Random | None, *, is_shared: bool) -> None:
        super().__init__(MemoryCacheConfig(), env)
        self._luck = luck
        self._is_shared = is_shared

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantees=Guarantees(multi_process=self._is_shared))

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return await self._slowly(lambda: MemoryCache.get(self, keys))

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        return await self._slowly(lambda: MemoryCache.acquire(self, keys, lease=lease, refresh=refresh))

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        return await self._slowly(lambda: MemoryCache.fill(self, fills))

    async def put(self, items: Sequence[CacheItem]) -> None:
        await self._slowly(lambda: MemoryCache.put(self, items))

    async def invalidate(self, keys: Sequence[str]) -> int:
        return await self._slowly(lambda: MemoryCache.invalidate(self, keys))

    async def counters(self, names: Sequence[str]) -> list[int]:
        return await self._slowly(lambda: MemoryCache.counters(self, names))

    async def bump(self, names: Sequence[str]) -> list[int]:
        return await self._slowly(lambda: MemoryCache.bump(self, names))

    async def clear(self, prefix: str = "") -> int:
        return await self._slowly(lambda: MemoryCache.clear(self, prefix))

    async def _slowly(self, step: Callable[[], Coroutine[Any, Any, R]]) -> R:
        await turns(1 if self._luck is None else self._luck.choice((0, 1, 2, 5)))
        found = await step()
        await turns(1 if self._luck is None else self._luck.choice((0, 1, 2, 12)))
        return found


class Source:
    """A number that changes; loading it takes turns of the event loop after it was read."""

    def __init__(self) -> None:
        self.version = 0
        self.loads = 0

    async def load(self, name: str) -> int:
        self.loads += 1
        found = self.version
        await turns(15)
        return found


@asynccontextmanager
async def slow_port(seed: int | None = None, *, is_shared: bool = True) -> AsyncIterator[tuple[Cache, Environment]]:
    env = Environment(clock=ManualClock(), random=random.Random(3))
    port = checked(PortName.CACHE, SlowCache(env, None if seed is None else random.Random(seed), is_shared=is_shared))
    async with port:
        yield port, env


def region_of(caching: Caching) -> Region[int]:
    return caching.region("number:{name}", int, ttl=60, tags=("all",), lease=timedelta(seconds=1))


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["key", "tag", "clear", "put"])
@pytest.mark.parametrize("is_stored", [True, False])
async def test_an_invalidation_at_any_point_of_a_read_wins(how: str, is_stored: bool) -> None:
    """After it has returned, every read gives the newest value, from either tier, also one that joins a load."""
    for point in POINTS:
        async with slow_port(point, is_shared=False) as (port, env):
            caching, source = Caching(port, env), Source()
            region = region_of(caching)
            if is_stored:
                await region.get_or_load(name="n", load=source.load)
                caching.clear_l1()
            spoiler = asyncio.create_task(_after(0, _spoil_source(source, caching, region, how)))
            readers = [
                asyncio.create_task(_after(turn, region.get_or_load(name="n", load=source.load)))
                for turn in (0, point % 20, point % 31)
            ]
            assert await spoiler
            assert await region.get_or_load(name="n", load=source.load) == 1, point
            await asyncio.gather(*readers)
            assert await region.get_or_load(name="n", load=source.load) == 1, point
            caching.clear_l1()
            assert await region.get_or_load(name="n", load=source.load) == 1, point
            await caching.close()


@pytest.mark.parametrize("how", ["key", "tag", "clear", "put"])
@pytest.mark.parametrize("memory", [0, "auto"])
async def test_an_invalidation_by_another_process_at_any_point_wins(how: str, memory: Any) -> None:
    """A reader who comes after it never joins an older load; memory may lag, if it is used, by its ``l1_ttl``."""
    for point in POINTS:
        async with slow_port(point) as (port, env):
            mine, theirs, source = Caching(port, env, l1_ttl=memory), Caching(port, env), Source()
            region, other = region_of(mine), region_of(theirs)
            reader = asyncio.create_task(region.get_or_load(name="n", load=source.load))
            await turns(point)
            assert await _spoil_source(source, theirs, other, how)
            if memory == 0:
                assert await region.get_or_load(name="n", load=source.load) == 1, point
            await reader
            if memory != 0:
                assert isinstance(env.clock, ManualClock)
                env.clock.advance(5)
            assert await region.get_or_load(name="n", load=source.load) == 1, point
            await mine.close()
            await theirs.close()


async def test_a_copy_in_memory_lives_at_most_its_l1_ttl() -> None:
    """What another process invalidated is served from memory for 5 seconds at most."""
    async with slow_port() as (port, env):
        mine, theirs, source = Caching(port, env), Caching(port, env), Source()
        region = region_of(mine)
        assert await region.get_or_load(name="n", load=source.load) == 0
        source.version = 1
        await region_of(theirs).invalidate(name="n")
        clock = env.clock
        assert isinstance(clock, ManualClock)
        clock.advance(timedelta(seconds=5) - timedelta(microseconds=1))
        assert await region.get_or_load(name="n", load=source.load) == 0
        clock.advance(timedelta(microseconds=1))
        assert await region.get_or_load(name="n", load=source.load) == 1


async def test_an_unshared_port_lets_memory_keep_the_full_ttl() -> None:
    """Where no other process can invalidate, copies live as long as their values."""
    async with slow_port(is_shared=False) as (port, env):
        region, source = region_of(Caching(port, env)), Source()
        await region.get_or_load(name="n", load=source.load)
        clock = env.clock
        assert isinstance(clock, ManualClock)
        clock.advance(53)
        entry = await region.entry(name="n")
        assert entry is not None
        assert (entry.tier, entry.age) == ("memory", timedelta(seconds=53))


async def test_a_thousand_readers_of_two_processes_load_once() -> None:
    """In a process they share one flight; the other process waits for the lease and finds the value."""
    async with slow_port() as (port, env):
        one, two, source = Caching(port, env), Caching(port, env), Source()
        readers = [region_of(c).get_or_load(name="n", load=source.load) for c in (one, two) for _ in range(500)]
        assert await asyncio.gather(*readers) == [0] * 1000
        assert source.loads == 1
        assert one.stats().total.joined == 499
        assert (two.stats().total.shared_hits, two.stats().total.waited) == (500, 1)


async def test_a_cancelled_leader_does_not_cancel_the_joiners() -> None:
    """The load goes on for those who still wait; when nobody does, it ends and its lease is free."""
    async with slow_port() as (port, env):
        region, source = region_of(Caching(port, env)), Source()
        leader = asyncio.create_task(region.get_or_load(name="n", load=source.load))
        joiners = [asyncio.create_task(region.get_or_load(name="n", load=source.load)) for _ in range(3)]
        await turns(3)
        leader.cancel()
        assert await asyncio.gather(*joiners) == [0, 0, 0]
        assert leader.cancelled()
        assert source.loads == 1


@pytest.mark.parametrize("how", ["key", "tag", "clear", "writing"])
async def test_a_write_that_another_process_overtakes_stores_nothing_old(how: str) -> None:
    """At whatever point of it the other one writes and invalidates, or writes in the same way."""
    for point in range(0, 60, 2):
        async with slow_port(point) as (port, env):
            one, other = (Caching(port, env, l1_ttl=0) for _ in range(2))
            source, regions = Source(), [region_of(each) for each in (one, other)]
            writer = asyncio.create_task(_write_through(source, regions[0]))
            await _after(point, _rewrite(source, other, regions[1], how))
            await writer
            for region in regions:
                assert await region.get_or_load(name="n", load=source.load) == 2, point
            await one.close()
            await other.close()


async def test_a_write_is_stored_when_nobody_comes_between() -> None:
    """Without a load afterwards; while it is under way nobody gets what was there before; after an error it is gone."""
    async with slow_port() as (port, env):
        caching, source = Caching(port, env), Source()
        region = region_of(caching)
        await region.get_or_load(name="n", load=source.load)
        async with region.writing(name="n") as writing:
            assert await region.entry(name="n") is None
            writing.put(7)
        assert writing.confirmed
        assert await region.get_or_load(name="n", load=source.load) == 7
        async with region.writing(name="n") as silent:
            pass
        assert silent.confirmed
        assert await region.entry(name="n") is None
        with pytest.raises(ZeroDivisionError):
            async with region.writing(name="n") as failing:
                failing.put(8)
                raise ZeroDivisionError
        assert await region.entry(name="n") is None
        assert await region.get_or_load(name="n", load=source.load) == 0
        await caching.close()


async def _rewrite(source: Source, caching: Caching, region: Region[int], how: str) -> None:
    if how == "writing":
        return await _write_through(source, region)
    source.version += 1
    assert await _spoil(caching, region, how)
    return None


async def _write_through(source: Source, region: Region[int]) -> None:
    async with region.writing(name="n") as writing:
        await turns(3)
        source.version += 1
        found = source.version
        await turns(9)
        writing.put(found)


@pytest.mark.parametrize("is_invalidated", [True, False])
async def test_closing_ends_every_load_and_tells_who_waited(is_invalidated: bool) -> None:
    """Also a load whose key was invalidated meanwhile; its readers were not cancelled, so they get an error."""
    async with slow_port() as (port, env):
        caching = Caching(port, env)
        region, started, ended = region_of(caching), asyncio.Event(), asyncio.Event()

        async def hang(name: str) -> int:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 1

        readers = [asyncio.create_task(region.get_or_load(name="n", load=hang)) for _ in range(2)]
        await started.wait()
        if is_invalidated:
            await region.invalidate(name="n")
        await caching.close()
        assert ended.is_set()
        found = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(one) for one in found] == [Unavailable] * 2


async def test_a_cancelled_close_still_ends_every_load() -> None:
    """The loads are cancelled before anything is waited for."""
    async with slow_port() as (port, env):
        caching = Caching(port, env)
        region, started = region_of(caching), asyncio.Event()

        async def hang(name: str) -> int:
            started.set()
            await asyncio.Event().wait()
            return 1

        reader = asyncio.create_task(region.get_or_load(name="n", load=hang))
        await started.wait()
        closing = asyncio.create_task(caching.close())
        asyncio.get_running_loop().call_soon(closing.cancel)
        with pytest.raises(Unavailable, match="closed"):
            await reader


async def test_a_reader_who_is_cancelled_at_any_point_leaves_no_lease_behind() -> None:
    """Also while the lease is on its way to him: the next reader need not wait for its time to pass."""
    for point in POINTS[:30]:
        async with slow_port(point) as (port, env):
            caching, source = Caching(port, env), Source()
            region = region_of(caching)
            reader = asyncio.create_task(region.get_or_load(name="n", load=source.load))
            await turns(point)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await turns(60)
            [found] = await port.acquire([region.key(name="n")], lease=timedelta(seconds=1))
            assert (found.value is None) == (found.lease is not None), point
            await caching.close()


async def test_when_every_reader_is_cancelled_so_is_the_load() -> None:
    """The lease is given back, so that the next reader need not wait."""
    async with slow_port() as (port, env):
        region, started = region_of(Caching(port, env)), asyncio.Event()
        ended = asyncio.Event()

        async def hang(name: str) -> int:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 1

        readers = [asyncio.create_task(region.get_or_load(name="n", load=hang)) for _ in range(2)]
        await started.wait()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await ended.wait()
        await turns(10)
        assert (await port.acquire([region.key(name="n")], lease=timedelta(seconds=1)))[0].lease is not None


async def test_a_waiting_reader_loads_for_himself_after_the_leases_time() -> None:
    """A process that died while loading keeps nobody waiting longer, and what is loaded meanwhile is not kept."""
    async with slow_port() as (port, env):
        caching, source = Caching(port, env), Source()
        region = caching.region("n:{name}", int, ttl=60, lease=timedelta(milliseconds=20))
        await port.acquire([region.key(name="n")], lease=timedelta(seconds=60))
        assert await region.get_or_load(name="n", load=source.load) == 0
        assert (region.stats().waited, region.stats().fills) == (1, 0)
        assert await region.entry(name="n") is None


async def test_a_write_through_cached_entities_at_any_point_of_a_read_wins() -> None:
    """A reader of this process never gets an older record than a returned write left."""
    for point in POINTS:
        async with (
            slow_port(point) as (port, env),
            checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as inner,
        ):
            caching = Caching(port, env)
            store, key = CachedEntities(inner, caching), Key("p", "s")
            await store.write([Put(key=key, kind="k", body=b"old")])
            reader = asyncio.create_task(store.get([key], consistent=False))
            await turns(point)
            await store.write([Put(key=key, kind="k", body=b"new")])
            for keys in ([key], [key, Key("p", "absent")]):
                record = (await store.get(keys, consistent=False))[0]
                assert record is not None
                assert record.body == b"new", point
            await reader
            record = (await store.get([key], consistent=False))[0]
            assert record is not None
            assert record.body == b"new", point
            await caching.close()


async def _after(count: int, work: Coroutine[Any, Any, R]) -> R:
    await turns(count)
    return await work


async def _spoil_source(source: Source, caching: Caching, region: Region[int], how: str) -> bool:
    source.version = 1
    return await _spoil(caching, region, how)


async def _spoil(caching: Caching, region: Region[int], how: str) -> bool:
    if how == "tag":
        return await caching.invalidate_tags("all")
    if how == "clear":
        return await caching.clear()
    if how == "put":
        return await region.put(1, name="n")
    return await region.invalidate(name="n")
