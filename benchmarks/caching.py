"""What a hit in memory costs, what an entry weighs, and how often the memory tier hits, beside other caches.

    uv run --with-requirements benchmarks/peers/caching.txt python benchmarks/caching.py [--rounds 9] [--quick] [--json]

Rounds alternate between the programs, and the least CPU time of each counts, since other work on the machine can only
add to it. So the ratios are the facts, and the nanoseconds only say on which machine they were found. What a server or
a disk adds is measured by ``cache_redis.py`` and ``cache_disk.py``, which are run likewise.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from cache_peers import peer

from storycore.caching import Caching
from storycore.caching.memory_tier import Held, MemoryTier
from storycore.layers.checks import checked
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

KEYS = [f"story{number}" for number in range(1000)] * 10
FAR = time.time() + 10**8
Get = Callable[[str], Any]
AsyncGet = Callable[[str], Awaitable[Any]]


def held(key: str, size: int = 1) -> Held:
    """An entry that does not end."""
    return Held(FAR, key=key, kept=1, stored_at=0, size_bytes=size)


def tier(entries: int) -> MemoryTier:
    """A memory tier bounded in entries alone."""
    return MemoryTier(Environment().clock, max_bytes=10**12, max_entries=entries)


def gets() -> dict[str, Get]:
    """What looks a key up, by name; each holds all keys, with a time to live where the name says so."""
    mine = tier(10_000)
    for key in KEYS[:1000]:
        mine.put(held(key))
    programs: dict[str, Get] = {"dict.get": dict.fromkeys(KEYS, 1).get, "storycore get + ttl": mine.get}
    cachetools = peer("cachetools")
    dogpile = peer("dogpile.cache").make_region().configure("dogpile.cache.memory", expiration_time=3600)
    return programs | {
        "cachetools TTLCache.get": filled(cachetools.TTLCache(10_000, 3600), "__setitem__"),
        "cachetools LRUCache.get": filled(cachetools.LRUCache(10_000), "__setitem__"),
        "cachebox TTLCache.get": filled(peer("cachebox").TTLCache(10_000, 3600), "insert"),
        "moka_py get + ttl": filled(peer("moka_py").Moka(10_000, ttl=3600.0), "set"),
        "theine get": filled(peer("theine").Cache(10_000), "set"),
        "dogpile.cache memory get": filled(dogpile, "set"),
    }


def filled(cache: Any, put: str) -> Get:
    """A peer's ``get``, after all keys went in."""
    for key in KEYS[:1000]:
        getattr(cache, put)(key, 1)
    get: Get = cache.get
    return get


def sync_nanoseconds(programs: dict[str, Get], rounds: int) -> dict[str, float]:
    """The least CPU time of each program for one key."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _, (name, get) in itertools.product(range(rounds), programs.items()):
        begun = time.thread_time_ns()
        for key in KEYS:
            get(key)
        times[name].append((time.thread_time_ns() - begun) / len(KEYS))
    return {name: min(each) for name, each in times.items()}


async def async_nanoseconds(programs: dict[str, AsyncGet], rounds: int) -> dict[str, float]:
    """As ``sync_nanoseconds``; the loop's own cost is in all of them."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _, (name, get) in itertools.product(range(rounds), programs.items()):
        begun = time.thread_time_ns()
        for key in KEYS:
            await get(key)
        times[name].append((time.thread_time_ns() - begun) / len(KEYS))
    return {name: min(each) for name, each in times.items()}


async def bare(key: str) -> str:
    """A coroutine that does nothing, which everything else is compared with."""
    return key


@asynccontextmanager
async def caching() -> AsyncIterator[Caching]:
    """A cache over the port in memory."""
    async with checked(PortName.CACHE, open_cache(MemoryCacheConfig(), Environment())) as port:
        made = Caching(port)
        yield made
        await made.close()


def decorated(made: Caching) -> dict[str, AsyncGet]:
    """Our own ways to a hit: functions, a method, a region."""

    @made.cached("story:{key}", ttl=3600)
    async def story(key: str) -> str:
        return key

    class Service:
        @made.cached("service:{key}", ttl=3600)
        async def story(self, key: str) -> str:
            return key

    service: Any = Service()  # the type of a method names its object
    stories = made.region("region:{key}", str, ttl=3600)

    async def through_region(key: str) -> str | None:
        return await stories.get_or_load(load=bare, key=key)

    return {"storycore cached": story, "storycore cached method": service.story, "storycore region": through_region}


def decorated_peers() -> dict[str, AsyncGet]:
    """The peers' decorators for async functions."""
    cashews = peer("cashews").Cache()
    cashews.setup("mem://?size=10000&check_interval=0")
    return {
        "cachebox cached": peer("cachebox").cached(peer("cachebox").LRUCache(10_000))(bare),
        "moka_py cached": peer("moka_py").cached(maxsize=10_000)(bare),
        "aiocache cached": peer("aiocache").cached(ttl=3600)(bare),
        "cashews cached": cashews(ttl="1h", key="s:{key}")(bare),
    }


async def hits_of_decorators(rounds: int) -> dict[str, float]:
    """Nanoseconds of an async hit; the slow peers get few rounds."""
    async with caching() as made:
        quick = {"bare coroutine": bare, **decorated(made)}
        for program in quick.values():
            for key in KEYS[:1000]:
                await program(key)
        return {
            **await async_nanoseconds(quick, rounds),
            **await async_nanoseconds(decorated_peers(), max(2, rounds // 4)),
        }


async def stampede(tasks: int) -> int:
    """How many loads so many tasks cause that miss one key at once."""
    loads = 0
    async with caching() as made:

        @made.cached("story:{key}", ttl=3600)
        async def story(key: str) -> str:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.02)
            return key

        await asyncio.gather(*(story("one") for _ in range(tasks)))
    return loads


def entry_bytes(entries: int = 200_000) -> dict[str, float]:
    """Bytes an entry costs beside its key and value; a full tier that has evicted as many remembers ghosts too."""
    keys = [f"story:{number}" for number in range(2 * entries)]
    result = {}
    for name, count in (("filling", entries), ("full", 2 * entries)):
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        mine = tier(entries)
        for number, key in enumerate(keys[:count]):
            mine.put(Held(FAR + number, key=key, kept=None, stored_at=number + 1e15, size_bytes=900))
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        result[f"bytes of an entry, {name}"] = (after - before) / len(mine)
    return result


def skewed(luck: random.Random, exponent: float, count: int, keys: int = 100_000) -> list[int]:
    """Keys by Zipf's law, the ranks dealt anew."""
    weights = list(itertools.accumulate(1 / rank**exponent for rank in range(1, keys + 1)))
    ranks = luck.sample(range(keys), keys)
    return luck.choices(ranks, cum_weights=weights, k=count)


def traces(size: int) -> Iterator[tuple[str, Sequence[int]]]:
    """Accesses: skewed; with scans of cold keys between; with a loop that is larger than the cache; shifting."""
    luck = random.Random(7)
    plain = skewed(luck, 0.9, size)
    yield "zipf 0.9", plain
    step = size // 20
    scans = (range(10**7 + at, 10**7 + at + step // 2) for at in range(0, size, step))
    yield (
        "zipf 0.9 + scans",
        [*itertools.chain(*([*plain[i * step : (i + 1) * step], *s] for i, s in enumerate(scans)))],
    )
    loop = itertools.cycle(range(2 * 10**7, 2 * 10**7 + 8000))
    yield "zipf 1.0 + loop", [*itertools.chain(*zip(skewed(luck, 1.0, size // 2), loop, strict=False))]
    yield "zipf 1.0 shifting", [*itertools.chain(*(skewed(luck, 1.0, size // 5) for _ in range(5)))]


def tier_hits(trace: Sequence[int], size: int) -> float:
    """The share of a trace that the memory tier answers."""
    mine, hits = tier(size), 0
    for key in map(str, trace):
        if mine.get(key) is not None:
            hits += 1
        else:
            mine.put(held(key))
    return hits / len(trace)


def lru_hits(trace: Sequence[int], size: int) -> float:
    """The same of an LRU cache."""
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in kept:
            hits += 1
            kept.move_to_end(key)
            continue
        kept[key] = None
        if len(kept) > size:
            kept.popitem(last=False)
    return hits / len(trace)


def hit_ratios(size: int) -> dict[str, float]:
    """Our hits per LRU's, by trace and entries; and our own share."""
    result = {}
    for (name, trace), entries in itertools.product(traces(size), (1000, 5000)):
        mine, lru = tier_hits(trace, entries), lru_hits(trace, entries)
        result[f"hits {name}, {entries} entries, per LRU's"] = mine / lru
        result[f"hits {name}, {entries} entries"] = mine
    return result


def measure(rounds: int, size: int) -> dict[str, float]:
    """Everything, by name."""
    lookups = sync_nanoseconds(gets(), rounds)
    awaits = asyncio.run(hits_of_decorators(rounds))
    ratios = {f"{name} / dict.get": took / lookups["dict.get"] for name, took in lookups.items()}
    ratios["storycore get / cachetools TTLCache.get"] = (
        lookups["storycore get + ttl"] / lookups["cachetools TTLCache.get"]
    )
    ratios |= {f"{name} / bare coroutine": took / awaits["bare coroutine"] for name, took in awaits.items()}
    return {
        **{f"{name} ns": took for name, took in (lookups | awaits).items()},
        **ratios,
        **entry_bytes(),
        "loads in a stampede of 1000": asyncio.run(stampede(1000)),
        **hit_ratios(size),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the memory tier and the decorator.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="shorter traces")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = {
        name: round(value, 3) for name, value in measure(options.rounds, 40_000 if options.quick else 400_000).items()
    }
    print(json.dumps(result) if options.json else "\n".join(f"{name:55} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
