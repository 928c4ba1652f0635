"""The cache on Redis against redis-py's asyncio client, in one run on one server.

    python benchmarks/cache_redis.py [--rounds 5] [--seconds 0.5] [--json]

storycore's side is the port of an opened store behind its checks, with a deadline of 50 ms for each command; redis-py
has a pool and hiredis, and gives what the server gives. Values are 1 KB. In each round every program does everything
once, in turn, and the medians count, for other work on the machine comes and goes; a ratio is the median of the
rounds' ratios. Needs `storycore-redis[testing]`, which brings the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from storycore_redis.cache import open_cache
from storycore_redis.config import RedisConfig
from storycore_redis.testing import server

from storycore.layers.checks import checked
from storycore.ports.cache import Cache, CacheItem, Fill
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

KEYS = [f"key:{i}" for i in range(100)]
VALUE = bytes(range(256)) * 4
TTL = timedelta(hours=1)
GOALS = {
    "GET, 50 tasks": "operations per second: at least 6x",
    "GET, one task": "median time: at most 0.5x",
    "MGET of 100": "median time: at most 0.5x",
    "miss: acquire and fill, against GET and SET": "processor time: at most 2.5x",
}

Act = Callable[[int], Awaitable[object]]


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


def jobs(cache: Cache, client: Any) -> Mapping[str, tuple[int, Act, Act]]:  # redis-py has no precise types
    """Each job: how many tasks, by storycore, by redis-py."""

    async def miss(number: int) -> None:
        key = f"miss:{number}"
        (got,) = await cache.acquire([key], lease=TTL)
        if got.lease is not None:
            await cache.fill([Fill(got.lease, VALUE, TTL)])

    async def plain_miss(number: int) -> None:
        await client.get(f"plain:{number}")
        await client.set(f"plain:{number}", VALUE, px=3_600_000)

    return {
        "GET, 50 tasks": (50, lambda i: cache.get([KEYS[i % 100]]), lambda i: client.get(KEYS[i % 100])),
        "GET, one task": (1, lambda i: cache.get([KEYS[i % 100]]), lambda i: client.get(KEYS[i % 100])),
        "MGET of 100": (1, lambda _: cache.get(KEYS), lambda _: client.mget(KEYS)),
        "miss: acquire and fill, against GET and SET": (50, miss, plain_miss),
    }


async def run(place: Mapping[str, object], rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """All jobs, and the ratios of storycore to redis-py."""
    settings = RedisConfig.model_validate({**place, "namespace": "benchmark"})
    client = Redis(host=str(place["host"]), port=int(str(place["port"])), password=str(place["password"]))
    cache: Cache = checked(PortName.CACHE, open_cache(settings, Environment()))
    pairs: dict[str, list[tuple[Measured, Measured]]] = {name: [] for name in GOALS}
    async with cache, client:
        await cache.put([CacheItem(key, VALUE, TTL) for key in KEYS])
        await client.mset(dict.fromkeys(KEYS, VALUE))
        for _ in range(rounds):
            await client.delete(*[f"plain:{i}" for i in range(1000)])
            for name, (tasks, ours, theirs) in jobs(cache, client).items():
                await cache.clear("miss:")
                one = await measured(ours, tasks=tasks, seconds=seconds)
                pairs[name].append((one, await measured(theirs, tasks=tasks, seconds=seconds)))
    return {name: summary(found) for name, found in pairs.items()}


def summary(pairs: list[tuple[Measured, Measured]]) -> dict[str, float]:
    """Medians of both programs, and of their ratios."""
    found: dict[str, float] = {}
    for measure in ("rate", "p50", "cpu"):
        ours = [getattr(one, measure) for one, _ in pairs]
        theirs = [getattr(other, measure) for _, other in pairs]
        found[f"storycore {measure}"] = statistics.median(ours)
        found[f"redis-py {measure}"] = statistics.median(theirs)
        found[f"ratio {measure}"] = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="The cache on Redis against redis-py.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with server() as place:
        found = asyncio.run(run(place, chosen.rounds, chosen.seconds))
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for name, row in found.items():
        print(f"{name}   (goal: {GOALS[name]})")
        for measure, unit in (("rate", "/s"), ("p50", "us p50"), ("cpu", "us cpu")):
            ours, theirs, ratio = (row[f"{who} {measure}"] for who in ("storycore", "redis-py", "ratio"))
            print(f"    {unit:8} storycore {ours:10.1f}   redis-py {theirs:10.1f}   ratio {ratio:6.2f}")


if __name__ == "__main__":
    main()
