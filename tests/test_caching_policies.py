"""Policies of a region: refreshing before the end, timeouts of loads, and what a loader may say about its value."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from storycore.caching import Caching, Fetched, Region, Tier
from storycore.errors import ConfigError, DeadlineExceeded, Unavailable
from storycore.layers.checks import checked
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.cache import Cache, CacheItem
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock


class Bench:
    """A region's source: a version that changes, and loads that can be held up or fail."""

    def __init__(self, port: Cache, env: Environment, clock: ManualClock) -> None:
        self.port = port
        self.env = env
        self.clock = clock
        self.caching = Caching(port, env)
        self.made = [self.caching]
        self.version = 0
        self.loads = 0
        self.error: Exception | None = None
        self.takes = timedelta(0)
        self.gate = asyncio.Event()
        self.gate.set()

    def process(self, **options: Any) -> Caching:
        """Another process on the same port."""
        self.made.append(Caching(self.port, self.env, **options))
        return self.made[-1]

    async def load(self, k: int) -> int:
        """The version as it was when the load began."""
        self.loads += 1
        found = self.version
        await self.gate.wait()
        self.clock.advance(self.takes)
        if self.error is not None:
            raise self.error
        return found

    async def load_many(self, wanted: Sequence[Mapping[str, object]]) -> list[int]:
        """As ``load``, for many."""
        return [await self.load(1) for _ in wanted][:1] * len(wanted)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = ManualClock()
    env = Environment(clock=clock, random=random.Random(7))
    async with checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env)) as port:
        made = Bench(port, env, clock)
        yield made
        made.gate.set()
        for caching in made.made:
            await caching.close()


async def settle(done: Callable[[], bool]) -> None:
    """Let background work go on until a condition holds."""
    for _ in range(200):
        if done():
            return
        await asyncio.sleep(0)
    raise AssertionError("the background work did not come to its end")


async def test_a_value_that_is_due_is_served_and_loaded_again_in_the_background(bench: Bench) -> None:
    """From ``refresh_at`` of its ttl on, once for all readers, who wait for nothing."""
    region = bench.caching.region("n:{k}", int, ttl=100, jitter=0, refresh_at=0.8)
    assert await region.get_or_load(k=1, load=bench.load) == 0
    bench.version = 1
    bench.clock.advance(79)
    assert (await region.get_or_load(k=1, load=bench.load), bench.loads) == (0, 1)
    bench.clock.advance(1)
    bench.gate.clear()
    assert [await region.get_or_load(k=1, load=bench.load) for _ in range(50)] == [0] * 50
    await settle(lambda: bench.loads == 2)
    bench.gate.set()
    await settle(lambda: region.stats().refreshes == 1)
    assert (await region.get_or_load(k=1, load=bench.load), bench.loads) == (1, 2)
    bench.clock.advance(79)
    assert (await region.get_or_load(k=1, load=bench.load), bench.loads) == (1, 2), "it is fresh for its whole ttl"


async def test_of_two_processes_one_refreshes(bench: Bench) -> None:
    """The lease is taken while the old value stays, so the other serves it and loads nothing."""
    regions = [
        caching.region("n:{k}", int, ttl=100, jitter=0, refresh_at=0.5) for caching in (bench.caching, bench.process())
    ]
    for region in regions:
        await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(60)
    bench.gate.clear()
    assert [await region.get_or_load(k=1, load=bench.load) for region in regions * 3] == [0] * 6
    await settle(lambda: bench.loads == 2)
    bench.gate.set()
    await settle(lambda: sum(region.stats().refreshes for region in regions) == 1)
    assert bench.loads == 2


@pytest.mark.parametrize("how", ["key", "tag", "clear", "another process"])
async def test_an_invalidation_keeps_out_a_refresh(bench: Bench, how: str) -> None:
    """What a refresh read before it does not come back, wherever the invalidation was called."""
    region = bench.caching.region("n:{k}", int, ttl=100, jitter=0, refresh_at=0.5, tags=("t",))
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(60)
    bench.gate.clear()
    await region.get_or_load(k=1, load=bench.load)
    await settle(lambda: bench.loads == 2)
    bench.version = 1
    if how == "another process":
        bench.caching.clear_l1()
        await bench.process().region("n:{k}", int, ttl=100, tags=("t",)).invalidate(k=1)
    else:
        await {"key": lambda: region.invalidate(k=1), "tag": lambda: bench.caching.invalidate_tags("t")}.get(
            how, bench.caching.clear
        )()
    bench.gate.set()
    await settle(lambda: region.stats().refused == 1)
    assert await region.get_or_load(k=1, load=bench.load) == 1


async def test_a_refresh_that_fails_costs_nobody_anything(bench: Bench) -> None:
    """The value is served to its end, the lease is free, and then it is loaded as ever."""
    region = bench.caching.region("n:{k}", int, ttl=100, jitter=0, refresh_at=0.5)
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(60)
    bench.error = Unavailable("The source is down.")
    assert await region.get_or_load(k=1, load=bench.load) == 0
    await settle(lambda: region.stats().load_errors == 1)
    assert await region.get_or_load(k=1, load=bench.load) == 0
    bench.error = None
    bench.clock.advance(40)
    assert await region.get_or_load(k=1, load=bench.load) == 0
    assert bench.loads == 3


async def test_a_refresh_that_failed_is_not_tried_again_at_every_read(bench: Bench) -> None:
    """Also where no copy in memory stands before it: the source has its peace for a while."""
    region = bench.process(l1_ttl=0).region("n:{k}", int, ttl=100, jitter=0, refresh_at=0.5)
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(60)
    bench.error = Unavailable("The source is down.")
    for _ in range(20):
        assert await region.get_or_load(k=1, load=bench.load) == 0
        await asyncio.sleep(0)
    await settle(lambda: region.stats().load_errors == 1)
    assert bench.loads == 2


async def test_many_that_are_due_are_loaded_again_in_one_call(bench: Bench) -> None:
    """One background load of all that is due; what is not due is left alone."""
    region = bench.caching.region("n:{k}", int, ttl=100, jitter=0, refresh_at=0.5)
    asked: list[list[object]] = []

    async def load_many(wanted: Sequence[Mapping[str, object]]) -> list[int]:
        asked.append([one["k"] for one in wanted])
        return [bench.version for _ in wanted]

    wanted = [{"k": k} for k in range(4)]
    await region.get_or_load_many(wanted[:3], load_many=load_many)
    bench.clock.advance(60)
    await region.get_or_load_many(wanted[3:], load_many=load_many)
    bench.version = 1
    assert await region.get_or_load_many(wanted, load_many=load_many) == [0, 0, 0, 0]
    await settle(lambda: region.stats().refreshes == 3)
    assert asked == [[0, 1, 2], [3], [0, 1, 2]]
    assert await region.get_or_load_many(wanted, load_many=load_many) == [1, 1, 1, 0]


async def test_an_early_refresh_comes_the_sooner_the_longer_the_load_took(bench: Bench) -> None:
    """Moments are drawn at random before the end, on average by the time of the load; the end is never passed."""
    region = bench.caching.region("n:{k}", int, ttl=1000, jitter=0, early_refresh=1)
    policy = region.slot({"k": 1}).policy
    moments = [1000 - policy.refresh_from(0, 1000, 100, bench.env.random.random()) for _ in range(2000)]
    assert min(moments) >= 0
    assert max(moments) <= 1000
    assert 90 < sum(moments) / len(moments) < 110
    assert policy.refresh_from(0, 1000, 0, 0.999) == 1000, "a load that takes no time needs no head start"
    assert policy.refresh_from(0, 1000, 10**9, 0.9) == 0


async def test_the_time_of_a_load_travels_to_other_processes(bench: Bench) -> None:
    """A process that never loaded refreshes early as well."""
    bench.takes = timedelta(seconds=5)
    region = bench.caching.region("n:{k}", int, ttl=100, jitter=0, early_refresh=100)
    other = bench.process().region("n:{k}", int, ttl=100, jitter=0, early_refresh=100)
    for k in range(5):
        await region.get_or_load(k=k, load=bench.load)
        assert await other.get_or_load(k=k, load=bench.load) == 0
        await asyncio.sleep(0)
    await settle(lambda: other.stats().refreshes > 0)


async def test_closing_ends_a_refresh(bench: Bench) -> None:
    """Nothing is left running, and the lease is given back."""
    region = bench.caching.region("n:{k}", int, ttl=100, jitter=0, refresh_at=0.5)
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(60)
    bench.gate.clear()
    await region.get_or_load(k=1, load=bench.load)
    await settle(lambda: bench.loads == 2)
    await bench.caching.close()
    (got,) = await bench.port.acquire([region.key(k=1)], lease=timedelta(seconds=1), refresh=True)
    assert got.lease is not None


async def outdated(bench: Bench, **options: Any) -> Region[int]:
    """A region with a value at ``k=1`` that is past its ttl, which may stand in for an hour."""
    region = bench.caching.region("n:{k}", int, ttl=10, jitter=0, max_stale=3600, **options)
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(11)
    bench.version = 1
    return region


async def test_after_the_soft_timeout_an_older_value_is_served_and_the_load_goes_on(bench: Bench) -> None:
    """Also when all who asked have been served: the value is there for the next reader."""
    region = await outdated(bench, soft_timeout=0.01)
    bench.gate.clear()
    readers = [region.get_or_load(k=1, load=bench.load) for _ in range(20)]
    assert await asyncio.gather(*readers) == [0] * 20
    assert (bench.loads, region.stats().stale_hits) == (2, 20)
    bench.gate.set()
    await settle(lambda: region.stats().fills == 2)
    assert (await region.get_or_load(k=1, load=bench.load), bench.loads) == (1, 2)


async def test_without_an_older_value_the_soft_timeout_changes_nothing(bench: Bench) -> None:
    """The readers wait for the load, of which there is one."""
    region = bench.caching.region("n:{k}", int, ttl=10, max_stale=60, soft_timeout=0.001)
    bench.gate.clear()
    readers = [asyncio.create_task(region.get_or_load(k=1, load=bench.load)) for _ in range(5)]
    await asyncio.sleep(0.005)
    bench.gate.set()
    assert (await asyncio.gather(*readers), bench.loads) == ([0] * 5, 1)


async def test_a_soft_timeout_never_serves_what_was_invalidated(bench: Bench) -> None:
    """Another process invalidates while the load goes on: the older value is gone, and the load is waited for."""
    region = await outdated(bench, soft_timeout=0.01)
    bench.gate.clear()
    reader = asyncio.create_task(region.get_or_load(k=1, load=bench.load))
    await settle(lambda: bench.loads == 2)
    await bench.process().region("n:{k}", int, ttl=10).invalidate(k=1)
    await asyncio.sleep(0.02)
    assert not reader.done()
    bench.gate.set()
    assert await reader == 1


async def test_a_cancelled_reader_within_the_soft_timeout_ends_the_load(bench: Bench) -> None:
    """He was the only one, so nobody needs it."""
    region = await outdated(bench, soft_timeout=10)
    bench.gate.clear()
    reader = asyncio.create_task(region.get_or_load(k=1, load=bench.load))
    await settle(lambda: bench.loads == 2)
    reader.cancel()
    await asyncio.wait([reader])
    (got,) = await bench.port.acquire([region.key(k=1)], lease=timedelta(seconds=1), refresh=True)
    assert got.lease is not None


async def test_a_load_beyond_the_hard_timeout_has_failed(bench: Bench) -> None:
    """It is cancelled; the older value stands in where it may, else the reader is told."""
    region = await outdated(bench, hard_timeout=0.01)
    bench.gate.clear()
    assert await region.get_or_load(k=1, load=bench.load) == 0
    with pytest.raises(DeadlineExceeded, match="hard timeout"):
        await region.get_or_load(k=2, load=bench.load)
    with pytest.raises(DeadlineExceeded):
        await region.get_or_load_many([{"k": 3}], load_many=bench.load_many)
    assert region.stats().load_errors == 3
    bench.gate.set()
    assert await region.get_or_load(k=2, load=bench.load) == 1


async def test_an_own_timeout_of_the_loader_is_raised_as_it_is(bench: Bench) -> None:
    """The hard timeout claims only what is its own."""

    async def load(k: int) -> int:
        raise TimeoutError("mine")

    region = bench.caching.region("n:{k}", int, ttl=10, hard_timeout=60)
    with pytest.raises(TimeoutError, match="mine"):
        await region.get_or_load(k=1, load=load)


async def test_older_values_stand_in_for_a_failing_load_of_many(bench: Bench) -> None:
    """If there are such for all that is missing; else the error is raised."""
    region = await outdated(bench)
    bench.error = Unavailable("The source is down.")
    assert await region.get_or_load_many([{"k": 1}, {"k": 1}], load_many=bench.load_many) == [0, 0]
    with pytest.raises(Unavailable):
        await region.get_or_load_many([{"k": 1}, {"k": 2}], load_many=bench.load_many)
    bench.error = None
    assert await region.get_or_load_many([{"k": 1}, {"k": 2}], load_many=bench.load_many) == [1, 1]


async def test_an_older_value_stands_in_up_to_max_stale_and_not_beyond(bench: Bench) -> None:
    """Nor after an invalidation."""
    region = await outdated(bench)
    bench.error = Unavailable("The source is down.")
    bench.clock.advance(3598)
    assert await region.get_or_load(k=1, load=bench.load) == 0
    bench.clock.advance(1)
    with pytest.raises(Unavailable):
        await region.get_or_load(k=1, load=bench.load)
    bench.error = None
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(11)
    await region.invalidate(k=1)
    bench.error = Unavailable("The source is down.")
    with pytest.raises(Unavailable):
        await region.get_or_load(k=1, load=bench.load)


async def test_an_entry_tells_its_tier_age_and_whether_it_is_stale(bench: Bench) -> None:
    """Looking loads nothing and counts nothing."""
    region = bench.caching.region("n:{k}", int, ttl=10, jitter=0, max_stale=60)
    assert await region.entry(k=1) is None
    await region.get_or_load(k=1, load=bench.load)
    bench.clock.advance(3)
    found = await region.entry(k=1)
    assert found is not None
    assert (found.value, found.tier, found.age, found.stale) == (0, Tier.MEMORY, timedelta(seconds=3), False)
    bench.caching.clear_l1()
    found = await region.entry(k=1)
    assert found is not None
    assert (found.tier, found.stale) == (Tier.SHARED, False)
    bench.clock.advance(10)
    found = await region.entry(k=1)
    assert found is not None
    assert (found.value, found.tier, found.age, found.stale) == (0, Tier.STALE, timedelta(seconds=13), True)
    bench.clock.advance(60)
    assert await region.entry(k=1) is None
    assert (region.stats().hits, bench.loads) == (0, 1)


async def test_a_loader_may_say_how_long_its_value_is_fresh(bench: Bench) -> None:
    """Exactly, instead of the region's ttl with its jitter; also of nothing."""
    region = bench.caching.region("n:{k}", int, ttl=1000, jitter=1)

    async def load(k: int) -> Fetched[int]:
        bench.loads += 1
        return Fetched(None if k == 2 else k, ttl=5)

    for k, expected in ((1, 1), (2, None)):
        bench.loads = 0
        assert await region.get_or_load(k=k, load=load) == expected
        bench.clock.advance(4.9)
        assert (await region.get_or_load(k=k, load=load), bench.loads) == (expected, 1)
        bench.clock.advance(0.1)
        assert (await region.get_or_load(k=k, load=load), bench.loads) == (expected, 2)


async def test_a_value_that_is_not_to_be_kept_is_handed_out_and_kept_nowhere(bench: Bench) -> None:
    """Of one load and of many; the older value is gone as well."""
    region = await outdated(bench)

    async def load(k: int) -> Fetched[int]:
        return Fetched(7, keep=False)

    async def load_many(wanted: Sequence[object]) -> list[Fetched[int]]:
        return [Fetched(8, keep=False) for _ in wanted]

    assert await region.get_or_load(k=1, load=load) == 7
    assert await region.entry(k=1) is None
    assert await region.get_or_load_many([{"k": 1}, {"k": 2}], load_many=load_many) == [8, 8]
    assert [await region.entry(k=k) for k in (1, 2)] == [None, None]


async def test_signed_values_are_read_with_the_key_that_signed_them(bench: Bench) -> None:
    """Another key, no key, and a key that signs no more but is still known."""
    made = {
        name: bench.process(l1_ttl=0, signing_keys=keys).region("n:{k}", int, ttl=60)
        for name, keys in {
            "a": ["first"],
            "b": ["second"],
            "none": [],
            "rotated": [b"second", b"first"],
        }.items()
    }
    await made["a"].get_or_load(k=1, load=bench.load)
    found = {name: await region.entry(k=1) is not None for name, region in made.items()}
    assert found == {"a": True, "b": False, "none": False, "rotated": True}
    await made["none"].get_or_load(k=1, load=bench.load)
    found = {name: await region.entry(k=1) is not None for name, region in made.items()}
    assert found == {"a": False, "b": False, "none": True, "rotated": False}


async def test_a_signed_value_that_was_changed_in_any_byte_is_a_miss(bench: Bench) -> None:
    """As is one that was cut, lies under another key, or belongs to another namespace."""
    region = bench.process(l1_ttl=0, signing_keys=["secret"]).region("n:{k}", int, ttl=60)
    other = bench.process(l1_ttl=0, signing_keys=["secret"], namespace="other").region("n:{k}", int, ttl=60)
    await region.get_or_load(k=1, load=bench.load)
    key = region.key(k=1)
    (sealed,) = await bench.port.get([key])
    assert sealed is not None

    async def stored(place: str, data: bytes) -> None:
        await bench.port.put([CacheItem(place, data, timedelta(seconds=60))])

    for i in range(len(sealed)):
        await stored(key, sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :])
        assert await region.entry(k=1) is None
        await stored(key, sealed[:i])
        assert await region.entry(k=1) is None
    await stored(region.key(k=2), sealed)
    await stored(other.key(k=1), sealed)
    assert [await region.entry(k=2), await other.entry(k=1)] == [None, None]
    await stored(key, sealed)
    assert await region.entry(k=1) is not None


@pytest.mark.parametrize(
    ("option", "value"),
    [("refresh_at", 1.1), ("refresh_at", -0.1), ("early_refresh", -1.0), ("soft_timeout", 0), ("hard_timeout", -1)],
)
async def test_policies_out_of_range_are_refused(bench: Bench, option: str, value: float) -> None:
    """When the region is declared; the error names the setting."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigError, match=option):
        bench.caching.region("n:{k}", int, ttl=60, **options)
