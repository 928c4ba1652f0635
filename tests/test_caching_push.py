"""A shared tier that tells what others change: copies in memory live as long as their values, and never longer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from storycore.caching import Caching, Region
from storycore.errors import Unavailable
from storycore.layers.checks.forward import Forward
from storycore.memory.cache import MemoryCache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.cache import Acquired, Cache, CacheItem, Changed, Fill, KeyPage, Lease, Listener
from storycore.ports.capabilities import Capabilities, Guarantees, Support
from storycore.ports.environment import Environment
from storycore.testing.clock import ManualClock


class Wire:
    """What is on its way to a client; it arrives when the test says so, in order, or is lost with the connection."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.pending: list[Changed] = []

    def deliver(self) -> None:
        """Let all of it arrive."""
        for changed in self.pending:
            if self.listener is not None:
                self.listener(changed)
        self.pending.clear()

    def cut(self) -> None:
        """Lose the connection, and with it what is on its way."""
        self.pending.clear()
        if self.listener is not None:
            self.listener(None)


class Client(Forward[MemoryCache]):
    """One of several clients of a cache, which tells each what the others change."""

    def __init__(self, inner: MemoryCache, wires: list[Wire]) -> None:
        super().__init__(inner)
        self.wire = Wire()
        self.refuses = 0
        self._wires = wires
        wires.append(self.wire)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(features={"cache.push": Support.NATIVE}, guarantees=Guarantees(multi_process=True))

    async def listen(self, listener: Listener) -> Callable[[], None]:
        if self.refuses:
            self.refuses -= 1
            raise Unavailable("Nobody listens yet.")
        self.wire.listener = listener

        def stop() -> None:
            self.wire.listener = None

        return stop

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return await self.inner.get(keys)

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        return await self.inner.acquire(keys, lease=lease, refresh=refresh)

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        took = await self.inner.fill(fills)
        self._tell(Changed(keys=[fill.lease.key for fill in fills]))
        return took

    async def release(self, leases: Sequence[Lease]) -> None:
        await self.inner.release(leases)

    async def put(self, items: Sequence[CacheItem]) -> None:
        await self.inner.put(items)
        self._tell(Changed(keys=[item.key for item in items]))

    async def invalidate(self, keys: Sequence[str]) -> int:
        found = await self.inner.invalidate(keys)
        self._tell(Changed(keys=list(keys)))
        return found

    async def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        return await self.inner.touch(keys, ttl)

    async def counters(self, names: Sequence[str]) -> list[int]:
        return await self.inner.counters(names)

    async def bump(self, names: Sequence[str]) -> list[int]:
        found = await self.inner.bump(names)
        self._tell(Changed(counters=list(names)))
        return found

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        return await self.inner.keys(prefix, after=after, limit=limit)

    async def clear(self, prefix: str = "") -> int:
        keys = (await self.inner.keys(prefix)).keys
        found = await self.inner.clear(prefix)
        self._tell(Changed(keys=keys))
        return found

    def _tell(self, changed: Changed) -> None:
        for wire in self._wires:
            if wire is not self.wire:
                wire.pending.append(changed)


class Bench:
    """Several processes on one cache, and a source."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.env = Environment(clock=self.clock, random=random.Random(11))
        self.port = MemoryCache(MemoryCacheConfig(), self.env)
        self.wires: list[Wire] = []
        self.made: list[Caching] = []
        self.version = 0
        self.loads = 0

    def process(self, **options: Any) -> tuple[Client, Caching, Region[int]]:
        """Another process."""
        client = Client(self.port, self.wires)
        port: Cache = client
        caching = Caching(port, self.env, **options)
        self.made.append(caching)
        return client, caching, caching.region("n:{k}", int, ttl=600, jitter=0, tags=("t:{k}",))

    async def load(self, k: int) -> int:
        self.loads += 1
        return self.version


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with made.port:
        yield made
        for caching in made.made:
            await caching.close()


async def listening(bench: Bench, region: Region[int], client: Client) -> None:
    """Read something, so that the process listens from now on."""
    await region.get_or_load(k=99, load=bench.load)
    for _ in range(5):
        await asyncio.sleep(0)
    assert client.wire.listener is not None
    bench.loads = 0


async def test_a_copy_lives_as_long_as_its_value_and_is_served_from_memory(bench: Bench) -> None:
    """Far beyond the five seconds of a tier that tells nothing."""
    client, _, region = bench.process()
    await listening(bench, region, client)
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(599)
    await region.get_or_load(k=1, load=bench.load)
    assert (region.stats().memory_hits, bench.loads) == (1, 1)
    bench.clock.advance(1)
    await region.get_or_load(k=1, load=bench.load)
    assert bench.loads == 2


@pytest.mark.parametrize("how", ["key", "tag", "clear", "put"])
async def test_what_another_process_changes_is_gone_when_it_is_told(bench: Bench, how: str) -> None:
    """By key, by tag, all of it, or replaced."""
    client, _, region = bench.process()
    _, caching, other = bench.process()
    await listening(bench, region, client)
    await region.get_or_load(k=1, load=bench.load)
    bench.version = 1
    if how == "key":
        await other.invalidate(k=1)
    elif how == "tag":
        await caching.invalidate_tags("t:1")
    elif how == "clear":
        await caching.clear()
    else:
        await other.put(1, k=1)
    client.wire.deliver()
    assert await region.get_or_load(k=1, load=bench.load) == 1


async def test_a_lost_connection_empties_the_memory(bench: Bench) -> None:
    """What changed meanwhile was not told."""
    client, caching, region = bench.process()
    _, _, other = bench.process()
    await listening(bench, region, client)
    await region.get_or_load(k=1, load=bench.load)
    bench.version = 1
    await other.invalidate(k=1)
    client.wire.cut()
    assert caching.stats().memory_entries == 0
    assert await region.get_or_load(k=1, load=bench.load) == 1


async def test_a_change_that_is_told_during_a_read_keeps_its_copy_out(bench: Bench) -> None:
    """What the read brings is older, or may be."""
    client, caching, region = bench.process()
    await listening(bench, region, client)
    caching.clear_l1()
    for told in (Changed(keys=[region.key(k=1)]), Changed(counters=["default:t:1"]), None):

        async def load(k: int, told: Changed | None = told) -> int:
            assert client.wire.listener is not None
            client.wire.listener(told)
            return 0

        await region.get_or_load(k=1, load=load)
        assert caching.stats().memory_entries == 0
        await region.invalidate(k=1)


async def test_until_the_port_listens_copies_live_only_a_short_time(bench: Bench) -> None:
    """A port that refuses is asked again after a while."""
    client, _, region = bench.process()
    client.refuses = 1
    await region.get_or_load(k=1, load=bench.load)
    await asyncio.sleep(0)
    bench.clock.advance(5)
    await region.get_or_load(k=1, load=bench.load)
    assert region.stats().shared_hits == 1
    await listening(bench, region, client)


async def test_a_given_l1_ttl_holds_all_the_same(bench: Bench) -> None:
    """Whoever says how long gets that, and nothing listens."""
    client, _, region = bench.process(l1_ttl=2)
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(2)
    await region.get_or_load(k=1, load=bench.load)
    assert (region.stats().memory_hits, client.wire.listener) == (0, None)


async def test_a_closed_cache_listens_no_more(bench: Bench) -> None:
    """The port is told so."""
    client, caching, region = bench.process()
    await listening(bench, region, client)
    await caching.close()
    assert client.wire.listener is None


async def test_what_was_read_before_anybody_listened_is_kept_for_a_short_time_only(bench: Bench) -> None:
    """Listening may begin between a read and its copy: nobody will be told of that value's next change."""
    client, _, region = bench.process()
    _, _, other = bench.process()
    await other.get_or_load(k=1, load=bench.load)
    answered = asyncio.Event()
    get = client.inner.get

    async def slow(keys: Sequence[str]) -> list[bytes | None]:
        found = await get(keys)
        await answered.wait()
        return found

    client.inner.get = slow  # type: ignore[method-assign]  # the answer is on its way while listening begins
    reading = asyncio.create_task(region.get_or_load(k=1, load=bench.load))
    while client.wire.listener is None:
        await asyncio.sleep(0)
    client.inner.get = get  # type: ignore[method-assign]  # as it was
    bench.version = 1
    answered.set()
    assert await reading == 0
    await other.invalidate(k=1)
    bench.clock.advance(5)
    assert await region.get_or_load(k=1, load=bench.load) == 1


async def test_what_a_sync_function_keeps_in_memory_alone_lives_a_short_time(bench: Bench) -> None:
    """Nobody is told of its changes, for it was never read from the cache."""
    client, caching, region = bench.process()
    await listening(bench, region, client)

    @caching.cached("alone:{k}", ttl=600)
    def alone(k: int) -> int:
        return bench.version

    assert alone(1) == 0
    bench.version = 1
    assert alone(1) == 0
    bench.clock.advance(5)
    assert alone(1) == 1
