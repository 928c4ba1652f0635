"""The cache on Redis beside other clients, in one run on one server.

    uv run --with-requirements benchmarks/peers/caching.txt python benchmarks/cache_redis.py [--rounds 5] [--json]

storycore's side is the port of an opened store behind its checks, with a deadline for each command; the others give
what the server gives. Values are 1 KB. In each round every program does everything once, in turn, and medians count,
for other work on the machine comes and goes; a ratio is the median of the rounds' ratios. Processor time is that of
the client. Needs `storycore-redis[testing]`, which brings the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cache_peers import Program, peer, redis_peers
from storycore_redis._link import SingleLink
from storycore_redis._names import Names
from storycore_redis.cache import open_cache
from storycore_redis.config import RedisConfig
from storycore_redis.testing import server

from storycore.caching import Caching
from storycore.layers.checks import checked
from storycore.ports.cache import Cache, CacheItem, Fill
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

KEYS = [f"key:{i}" for i in range(100)]
VALUE = bytes(range(256)) * 4
TTL = timedelta(hours=1)
NAMESPACE = "benchmark"
GOALS = {
    "GET, 50 tasks": "operations per second: at least 6x redis-py",
    "GET, one task": "median time: at most 0.5x redis-py",
    "MGET of 100": "median time: at most 0.5x redis-py",
    "miss": "acquire and fill, against GET and SET: processor time at most 2.5x redis-py",
    "hit, one task": "operations per second: at least 0.95x a raw GET on the same connection",
    "hit, 50 tasks": "the same with 50 tasks",
    "breaker open": "median time: at most 50 us more than the load itself",
}

Act = Callable[[int], Awaitable[object]]
Job = tuple[int, Mapping[str, Act]]
"""How many tasks, and what each program does; what the others are compared with comes last."""


@dataclass(frozen=True)
class Measured:
    """One program at one job: operations per second, median microseconds, processor microseconds per operation."""

    rate: float
    p50: float
    cpu: float


async def measured(act: Act, *, tasks: int, seconds: float) -> Measured:
    """Do it again and again in so many tasks."""
    spans: list[float] = []
    until = time.perf_counter() + seconds

    async def work(number: int) -> None:
        while (begun := time.perf_counter()) < until:
            await act(number + len(spans))
            spans.append(time.perf_counter() - begun)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work(i) for i in range(tasks)))
    taken, used = time.perf_counter() - begun, time.process_time() - cpu
    return Measured(len(spans) / taken, statistics.median(spans) * 1e6, used / len(spans) * 1e6)


def reads(cache: Cache, peers: Mapping[str, Program]) -> dict[str, Job]:
    """Every program reads; redis-py comes last."""
    programs = {
        "storycore": Program(lambda key: cache.get([key]), cache.get),
        **{name: program for name, program in peers.items() if name != "redis-py"},
        "redis-py": peers["redis-py"],
    }
    one = {name: _reading(program) for name, program in programs.items()}
    at_once = {name: act for name, act in one.items() if programs[name].is_async}
    many = {name: _reading_many(program) for name, program in programs.items()}
    return {"GET, 50 tasks": (50, at_once), "GET, one task": (1, one), "MGET of 100": (1, many)}


def _reading(program: Program) -> Act:
    return lambda number: program.get(KEYS[number % 100])


def _reading_many(program: Program) -> Act:
    return lambda _: program.get_many(KEYS)


def misses(cache: Cache, client: Any) -> dict[str, Job]:
    """A miss that is filled, and what it would be without leases; redis-py has no precise types."""

    async def leased(number: int) -> None:
        (got,) = await cache.acquire([f"miss:{number}"], lease=TTL)
        if got.lease is not None:
            await cache.fill([Fill(got.lease, VALUE, TTL)])

    async def plain(number: int) -> None:
        await client.get(f"plain:{number}")
        await client.set(f"plain:{number}", VALUE, px=3_600_000)

    return {"miss": (50, {"storycore": leased, "redis-py": plain})}


async def hits(cache: Cache) -> dict[str, Job]:
    """A hit under the lease protocol, by the port and by a region without a tier in memory, and a bare GET."""
    link = cache.native(SingleLink)
    names = [Names(NAMESPACE).value(key) for key in KEYS]
    region = Caching(cache, l1_ttl=0, command_timeout=1).region("hit:{number}", bytes, ttl=3600)
    for number in range(100):
        await region.put(VALUE, number=number)

    async def value(number: int) -> bytes:
        raise AssertionError(f"{number} is no hit")

    programs: dict[str, Act] = {
        "storycore's port": lambda number: cache.get([KEYS[number % 100]]),
        "storycore's region": lambda number: region.get_or_load(load=value, number=number % 100),
        "raw GET": lambda number: link.call(("GET", names[number % 100])),
    }
    return {"hit, one task": (1, programs), "hit, 50 tasks": (50, programs)}


async def outage(stack: AsyncExitStack) -> dict[str, Job]:
    """A read by a region whose server has gone, and the load alone."""
    place = stack.enter_context(gone := server())
    cache = await stack.enter_async_context(_cache(place, deadline_ms=50))
    caching = Caching(cache, l1_ttl=0, command_timeout=0.05)
    stack.push_async_callback(caching.close)
    region = caching.region("down:{number}", bytes, ttl=3600)

    async def value(number: int) -> bytes:
        return VALUE

    gone.__exit__(None, None, None)
    for number in range(10):
        await region.get_or_load(load=value, number=number)
    return {
        "breaker open": (
            1,
            {"storycore's region": lambda number: region.get_or_load(load=value, number=number), "load": value},
        )
    }


async def run(place: Mapping[str, object], rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """All jobs: what was measured by program, and the ratios to the last one."""
    found: dict[str, list[dict[str, Measured]]] = {}
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(_cache(place))
        peers = await stack.enter_async_context(redis_peers(place, KEYS, VALUE))
        client = await stack.enter_async_context(
            peer("redis.asyncio").Redis(host=place["host"], port=int(str(place["port"])), password=place["password"])
        )
        await cache.put([CacheItem(key, VALUE, TTL) for key in KEYS])
        jobs = {**reads(cache, peers), **misses(cache, client), **await hits(cache), **await outage(stack)}
        for _ in range(rounds):
            await client.flushdb()
            await cache.put([CacheItem(key, VALUE, TTL) for key in KEYS])
            jobs |= await hits(cache)
            for name, (tasks, programs) in jobs.items():
                row = {who: await measured(act, tasks=tasks, seconds=seconds) for who, act in programs.items()}
                found.setdefault(name, []).append(row)
    return {name: summary(rows) for name, rows in found.items()}


def _cache(place: Mapping[str, object], *, deadline_ms: int = 500) -> Cache:
    settings = RedisConfig.model_validate({**place, "namespace": NAMESPACE, "deadline_ms": deadline_ms})
    made: Cache = checked(PortName.CACHE, open_cache(settings, Environment()))
    return made


def summary(rows: list[dict[str, Measured]]) -> dict[str, Any]:
    """Medians by program, and of the ratios to the last one."""
    *_, base = rows[0]
    return {
        who: {
            measure: {
                "median": statistics.median(getattr(row[who], measure) for row in rows),
                "ratio": statistics.median(getattr(row[who], measure) / getattr(row[base], measure) for row in rows),
            }
            for measure in ("rate", "p50", "cpu")
        }
        for who in rows[0]
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="The cache on Redis beside other clients.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with server() as place:
        found = asyncio.run(run(place, chosen.rounds, chosen.seconds))
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for name, programs in found.items():
        print(f"{name}   (goal: {GOALS[name]})")
        for who, row in programs.items():
            shown = (f"{row[m]['median']:10.1f} {u} ({row[m]['ratio']:5.2f}x)" for m, u in UNITS.items())
            print(f"    {who:20}", *shown)


UNITS = {"rate": "/s", "p50": "us p50", "cpu": "us cpu"}

if __name__ == "__main__":
    main()
