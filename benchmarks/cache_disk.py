"""The cache on disk beside diskcache in threads, with 32 tasks, in one run.

    python benchmarks/cache_disk.py [--rounds 5] [--json]

storycore's side is the port of an opened store behind its checks; diskcache is called with ``asyncio.to_thread``, as an
async application would, and keeps its own settings. Values are 1 KB. The rounds take turns, and a ratio is the median
of theirs. Needs `storycore-diskcache`, which brings diskcache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from cache_peers import peer
from storycore_diskcache.cache import open_cache
from storycore_diskcache.config import DiskcacheConfig

from storycore.layers.checks import checked
from storycore.ports.cache import Cache, CacheItem
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

KEYS = [f"key:{i}" for i in range(1000)]
VALUE = bytes(range(256)) * 4
TTL = timedelta(hours=1)
TASKS = 32
GOALS = {"get": 3, "set": 5}

Act = Callable[[str], Awaitable[object]]


async def rate(act: Act, seconds: float) -> float:
    """Operations per second by all tasks together."""
    count = 0
    until = time.perf_counter() + seconds

    async def work(number: int) -> None:
        nonlocal count
        while time.perf_counter() < until:
            await act(KEYS[(number + count) % len(KEYS)])
            count += 1

    begun = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(TASKS)))
    return count / (time.perf_counter() - begun)


def jobs(cache: Cache, other: object) -> dict[str, tuple[Act, Act]]:
    """Each job by storycore and by diskcache, which has no types."""
    plain_get, plain_set = getattr(other, "get"), getattr(other, "set")  # noqa: B009
    return {
        "get": (lambda key: cache.get([key]), lambda key: asyncio.to_thread(plain_get, key)),
        "set": (
            lambda key: cache.put([CacheItem(key, VALUE, TTL)]),
            lambda key: asyncio.to_thread(plain_set, key, VALUE, expire=3600),
        ),
    }


async def run(folder: Path, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Both jobs by both programs."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in GOALS}
    cache: Cache = checked(PortName.CACHE, open_cache(DiskcacheConfig(path=folder / "ours"), Environment()))
    await cache.ensure()
    with peer("diskcache").Cache(str(folder / "theirs")) as other:
        async with cache:
            await cache.put([CacheItem(key, VALUE, TTL) for key in KEYS])
            for key in KEYS:
                other.set(key, VALUE, expire=3600)
            for _ in range(rounds):
                for name, (ours, theirs) in jobs(cache, other).items():
                    found[name].append((await rate(ours, seconds), await rate(theirs, seconds)))
    return {name: summary(pairs) for name, pairs in found.items()}


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Medians of both programs, and of their ratios."""
    return {
        "storycore": statistics.median(ours for ours, _ in pairs),
        "diskcache": statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="The cache on disk beside diskcache in threads.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storycore-benchmark-") as folder:
        found = asyncio.run(run(Path(folder), chosen.rounds, chosen.seconds))
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for name, row in found.items():
        shown = f"storycore {row['storycore']:9.0f} /s   diskcache {row['diskcache']:9.0f} /s   {row['ratio']:5.2f}x"
        print(f"{name}, {TASKS} tasks: {shown}   (goal: {GOALS[name]}x)")


if __name__ == "__main__":
    main()
