"""The whole cache over an adapter: processes that read, write, are cancelled and meet faults, in any order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Final

import pytest

from storycore.caching import Caching, Region
from storycore.ports.cache import Cache
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.faults import Fault, Faults, by_chance
from storycore.testing.harness import Harness

__all__ = ["CacheStacks"]

_KEYS: Final = (1,)
_ROUNDS: Final = 30
_SLOW_SECONDS: Final = 0.004
"""Longer than an invalidation takes."""
_FAULTS: Final = (Fault.BEFORE, Fault.LOST, Fault.AFTER, Fault.THROTTLED)


class CacheStacks:
    """Tests of ``storycore.caching`` over the adapter."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("rate", [0.0, 0.1], ids=["a sound tier", "a tier with faults"])
    @pytest.mark.parametrize("seed", range(2))
    async def test_no_process_serves_what_was_invalidated(self, harness: Harness, seed: int, rate: float) -> None:
        """No read fails or is older than an invalidation that was confirmed before it; in the end all agree."""
        first: Cache = await harness.started()
        shared = first.capabilities.guarantees.multi_process
        ports = [first, await harness.started(), await harness.started()] if shared else [first]
        try:
            await _History(harness, ports, random.Random(seed), rate).run()
        finally:
            for port in ports:
                await port.close()


class _Process:
    """One process: its cache without copies in memory, so that all it serves is the shared tier's or loaded."""

    def __init__(self, port: Cache, env: Environment, faults: Faults) -> None:
        self.caching = Caching(faults.around(port), env, l1_ttl=0, degraded_ttl=0)
        self.region: Region[int] = self.caching.region(
            "n:{k}", int, ttl=30, tags=("all",), max_stale=timedelta(seconds=5), refresh_at=0.5, lease=2
        )
        self.floors: dict[int, int] = dict.fromkeys(_KEYS, 0)


class _History:
    """Reads and writes of all processes at the same time, and what each read may give."""

    def __init__(self, harness: Harness, ports: list[Cache], luck: random.Random, rate: float) -> None:
        env = Environment(clock=harness.clock, random=random.Random(luck.random()))
        self._harness = harness
        self._luck = luck
        self._faults = Faults(PortName.CACHE)
        self._rate = rate
        self._versions: dict[int, int] = dict.fromkeys(_KEYS, 0)
        self._processes = [_Process(port, env, self._faults) for port in ports]

    async def run(self) -> None:
        """The history, then healing, then agreement."""
        self._faults.plan(by_chance(self._luck, self._rate, *_FAULTS))
        try:
            for _ in range(_ROUNDS):
                await self._round()
            self._faults.plan(())
            self._harness.clock.advance(60)
            for process in self._processes:
                for k, version in self._versions.items():
                    assert await process.region.get_or_load(k=k, load=self._load) == version
                assert process.caching.stats().pending_invalidations == 0
        finally:
            for process in self._processes:
                await process.caching.close()

    async def _round(self) -> None:
        """A few calls at once; some callers are cancelled."""
        luck = self._luck
        calls: list[Coroutine[Any, Any, None]] = []
        for process in self._processes:
            calls += [self._read(process, luck.choice(_KEYS)) for _ in range(luck.choice((0, 0, 1, 3)))]
            if luck.random() < 0.4:
                calls.append(self._write(process, luck.choice(_KEYS), luck.choice(("key", "tag", "all"))))
        luck.shuffle(calls)
        tasks = [asyncio.ensure_future(call) for call in calls]
        await _turns(luck.randint(0, 10))
        if tasks and luck.random() < 0.3:
            luck.choice(tasks).cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        if luck.random() < 0.3:
            self._harness.clock.advance(luck.choice([0.5, 3, 16]))

    async def _read(self, process: _Process, k: int) -> None:
        floor = process.floors[k]
        found = await process.region.get_or_load(k=k, load=self._load)
        assert found is not None
        assert floor <= found <= self._versions[k], f"{found} was served after {floor} had been confirmed"

    async def _write(self, process: _Process, k: int, how: str) -> None:
        """Change the source, then invalidate; a confirmed invalidation binds all, another this process alone."""
        await (asyncio.sleep(_SLOW_SECONDS / 4) if self._luck.random() < 0.5 else _turns(self._luck.randint(0, 6)))
        self._versions[k] += 1
        version = self._versions[k]
        await _turns(self._luck.randint(0, 3))
        confirmed = await self._invalidate(process, k, how)
        for other in self._processes if confirmed else [process]:
            other.floors[k] = max(other.floors[k], version)

    async def _invalidate(self, process: _Process, k: int, how: str) -> bool:
        if how == "tag":
            return await process.caching.invalidate_tags("all")
        if how == "all":
            return await process.caching.clear()
        return await process.region.invalidate(k=k)

    async def _load(self, k: int) -> int:
        found = self._versions[k]
        await (asyncio.sleep(_SLOW_SECONDS) if self._luck.random() < 0.6 else _turns(self._luck.randint(0, 6)))
        return found


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
